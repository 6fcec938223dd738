//! DDP beside an axum application's own routes, on one port and with the same state: a message sent
//! by HTTP reaches all subscribers at once.
//!
//! ```sh
//! cargo run --bin inside_axum
//! curl --data 'Hello' http://127.0.0.1:3000/messages
//! ```

use axum::Router;
use axum::extract;
use axum::http::StatusCode;
use axum::routing::{get, post};
use ddp_server::{Collection, Cursor, MemoryCollection, Server, State};
use tracing_subscriber::EnvFilter;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Message {
    text: String,
}
const MESSAGES: Collection<Message> = Collection::new("messages");
type Messages = MemoryCollection<Message>;

/// A publication: its `State` is that of `ddp_server`.
async fn all(State(messages): State<Messages>) -> Cursor<Message> {
    messages.find()
}

/// A route: its `State` is axum's.
async fn send(extract::State(messages): extract::State<Messages>, text: String) -> StatusCode {
    match messages.insert(&Message { text }) {
        Ok(_) => StatusCode::CREATED,
        Err(error) => {
            tracing::error!(%error, "a message could not be kept");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong: handlers that failed, and what routes log by themselves. RUST_LOG=debug
    // also logs each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let messages = Messages::new(&MESSAGES);
    let server = Server::builder().publish("messages", all).with_state(messages.clone());
    let own = Router::new()
        .route("/health", get(async || "ok"))
        .route("/messages", post(send))
        .with_state(messages);
    // `serve_with` also tells DDP the clients' addresses; with `axum::serve` that takes
    // `into_make_service_with_connect_info::<SocketAddr>()`.
    server.serve_with(ddp_examples::listen().await?, own.merge(server.router())).await?;
    Ok(())
}
