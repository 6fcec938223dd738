//! A WebSocket between two ends of one process, without a socket and without HTTP.

use axum::http::request::Parts;
use bytes::Bytes;
use tokio::io::DuplexStream;

use super::AnyTransport;
use super::open::{ConnectionInfo, RAW_WEBSOCKET};
use super::websocket::WebSocket;

/// The server's end of a plain WebSocket that is already open, and what the opening request would
/// have said about the client.
pub(crate) fn open(
    io: DuplexStream,
    request: &Parts,
    message_bytes_max: usize,
    forwarded_count: usize,
) -> (AnyTransport, ConnectionInfo) {
    let socket = WebSocket::new(io, Bytes::new(), message_bytes_max);
    (AnyTransport::InProcess(socket), ConnectionInfo::of(request, RAW_WEBSOCKET, forwarded_count))
}
