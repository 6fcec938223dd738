//! A server without a database: messages live as long as the program, each with its sender's
//! address.
//!
//! ```sh
//! cargo run --bin in_memory
//! ```

use ddp_server::extract::{Connection, Params};
use ddp_server::{Collection, Cursor, Error, MemoryCollection, Server, ServerConfig, State};
use tracing_subscriber::EnvFilter;

#[derive(serde::Serialize, serde::Deserialize)]
struct Message {
    text: String,
    from: Option<String>,
}
const MESSAGES: Collection<Message> = Collection::new("messages");

/// The same queries as over PostgreSQL, and just as live: all subscribers see what any method
/// inserts.
async fn all(State(messages): State<MemoryCollection<Message>>) -> Cursor<Message> {
    messages.find()
}

async fn send(
    State(messages): State<MemoryCollection<Message>>,
    connection: Connection,
    Params((text,)): Params<(String,)>,
) -> Result<String, Error> {
    if text.trim().is_empty() {
        return Err(Error::client("empty-text", "A message needs text"));
    }
    let from = connection.client_address().map(str::to_owned);
    messages.insert(&Message { text, from })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong: handlers that failed, arguments that did not fit. RUST_LOG=debug also
    // logs each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let server = Server::builder()
        // Behind a proxy, HTTP_FORWARDED_COUNT=1 gives the client's address instead of the proxy's.
        .config(ServerConfig::from_env()?)
        .publish("messages", all)
        .method("messages.send", send)
        .with_state(MemoryCollection::new(&MESSAGES));
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
