//! How the server handles WebSocket frames, as transcripts of the bytes sent both ways. The cases
//! are those of the Autobahn test suite (its numbers are in the modules' first lines), and those
//! that clients are known to cause.

mod closing;
mod compression;
mod framing;
mod limits;
mod peer;
mod text;

use std::net::SocketAddr;
use std::time::Duration;

use ddp_server::sockjs::{self, Connection};
use ddp_server::{Server, ServerConfig};
use tokio::net::TcpListener;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where messages come back unchanged.
const ECHO: &str = "/echo/websocket";
/// Where they come back in SockJS frames.
const SOCKJS_ECHO: &str = "/echo/000/abcdefgh/websocket";
/// The paths of DDP, without SockJS frames and with them.
const DDP: [&str; 2] = ["/websocket", "/sockjs/000/abcdefgh/websocket"];

/// The largest message that the server accepts on the paths of DDP.
const MESSAGE_BYTES_MAX: usize = 1000;

async fn echo(mut connection: Connection) {
    while let Some(text) = connection.recv().await {
        connection.send(&text).await;
    }
}

/// Serves DDP, and an echo beside it.
async fn serve() -> SocketAddr {
    let mut config = ServerConfig::default();
    config.message_bytes_max = MESSAGE_BYTES_MAX;
    // On a busy machine a client may take long to send what the server refuses.
    config.close_timeout = PATIENCE;
    let server = Server::builder().config(config).build();
    let echo = sockjs::router("/echo", sockjs::SockJsConfig::default(), echo);
    let app = server.router().merge(echo);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve_with(listener, app).await });
    address
}
