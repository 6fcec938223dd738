//! A plugin: something with a state of its own that adds to any server. This one tells who is online,
//! live, by a publication to every client, a method, a hook for connections and a route of HTTP.
//!
//! ```sh
//! cargo run --bin plugin
//! ```

use axum::Router;
use axum::routing::get;
use ddp_server::extract::{Connection, Params};
use ddp_server::{
    Collection, Cursor, Error, MemoryCollection, Plugged, Plugin, PluginBuilder, Server, State,
};
use tracing_subscriber::EnvFilter;

#[derive(serde::Serialize, serde::Deserialize)]
struct Guest {
    name: String,
}

#[derive(Clone)]
struct WhoIsOnline(MemoryCollection<Guest>);

impl Plugin for WhoIsOnline {
    type State = Self;

    fn define(self, plugin: PluginBuilder<Self>) -> Plugged {
        let (joining, counted) = (self.0.clone(), self.0.clone());
        plugin
            .publish_universal(guests)
            .method("online.rename", rename)
            .params(["name"])
            .on_connection(move |connection| join(&joining, connection))
            .routes(Router::new().route("/online", get(async move || count(&counted).await)))
            .with_state(self)
    }
}

async fn guests(State(online): State<WhoIsOnline>) -> Cursor<Guest> {
    online.0.find()
}

async fn rename(
    State(online): State<WhoIsOnline>,
    connection: Connection,
    Params((name,)): Params<(String,)>,
) -> Result<bool, Error> {
    online.0.update(connection.id(), |guest| guest.name = name)
}

/// A guest is there for as long as its connection is.
fn join(guests: &MemoryCollection<Guest>, connection: &Connection) {
    let guest = Guest { name: "somebody".to_owned() };
    if let Err(error) = guests.insert_with_id(connection.id(), &guest) {
        tracing::error!(%error, "a guest could not be noted");
    }
    let (guests, id) = (guests.clone(), connection.id().to_owned());
    connection.on_close(move || {
        guests.remove(&id);
    });
}

/// The answer to `GET /online`.
async fn count(guests: &MemoryCollection<Guest>) -> Result<String, String> {
    let guests = guests.find().fetch().await.map_err(|error| error.to_string())?;
    Ok(guests.len().to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong: handlers that failed, arguments that did not fit. RUST_LOG=debug also tells
    // of each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let online = WhoIsOnline(MemoryCollection::new(&Collection::new("guests")));
    let server = Server::builder().plugin(online).build();
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
