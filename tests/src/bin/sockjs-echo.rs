//! The server that the public test-suite of the SockJS protocol expects, at `PORT` (8081) and
//! `BIND` (127.0.0.1):
//!
//! - `/echo` sends back what it receives, and ends streaming responses after 4096 bytes;
//! - `/disabled_websocket_echo` is the same without WebSocket;
//! - `/cookie_needed_echo` is the same with the cookie `JSESSIONID`;
//! - `/close` closes each session at once.
//!
//! `SOCKJS_URL`, if set, is where the iframe page finds the client library.

use axum::Router;
use ddp_server::sockjs::Connection;
use ddp_server::sockjs::SockJsConfig;
use ddp_server::sockjs::router;
use tokio::net::TcpListener;

async fn echo(mut connection: Connection) {
    while let Some(text) = connection.recv().await {
        connection.send(&text).await;
    }
}

async fn close(connection: Connection) {
    connection.close(3000, "Go away!").await;
}

/// The four services.
fn app() -> Router {
    let mut options = SockJsConfig::default();
    options.response_bytes_max = 4096;
    if let Ok(url) = std::env::var("SOCKJS_URL") {
        options.sockjs_url = url;
    }
    let mut disabled_websocket = options.clone();
    disabled_websocket.websocket = false;
    let mut cookie_needed = options.clone();
    cookie_needed.jsessionid = true;
    Router::new()
        .merge(router("/echo", options.clone(), echo))
        .merge(router("/disabled_websocket_echo", disabled_websocket, echo))
        .merge(router("/cookie_needed_echo", cookie_needed, echo))
        .merge(router("/close", options, close))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bind = std::env::var("BIND").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 8081_u16,
    };
    let listener = TcpListener::bind((bind, port)).await?;
    println!("SockJS echo at http://{}", listener.local_addr()?);
    axum::serve(listener, app()).await?;
    Ok(())
}
