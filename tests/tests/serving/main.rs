//! How connections are accepted, limited and served, over TLS, too, and how a server ends.

mod arrivals;
mod closing;
mod deadlines;
mod limits;
mod origins;
mod signals;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use ddp_server::{Server, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The headers of a WebSocket's handshake.
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Serves on a free port.
async fn serve(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.clone();
    tokio::spawn(async move { server.serve(listener).await });
    address
}

fn server(change: impl FnOnce(&mut ServerConfig)) -> Server {
    let mut config = ServerConfig::default();
    change(&mut config);
    Server::builder().config(config).build()
}

/// What the server sends until it closes; whatever it has sent if that takes too long.
async fn rest(mut socket: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(read.is_ok(), "not closed after {text:?}");
    text
}

/// Makes a request on an open connection, and returns the head of the answer.
async fn ask(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    headers: &str,
) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer");
    String::from_utf8(head).unwrap()
}

/// The status of the answer to a request on a connection of its own; 0 if there is none.
async fn status(address: SocketAddr, path: &str, headers: &str) -> u16 {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = ask(&mut socket, path, headers).await;
    head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}
