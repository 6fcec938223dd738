//! A WebSocket between two ends of one process, without a socket and without HTTP.

use axum::http::request::Parts;
use tokio::io::DuplexStream;

use super::{
    AnyTransport, Protocol,
    routes::{ConnectionInfo, connection_info},
    websocket::WebSocket,
};

/// The server's end of a plain WebSocket that is open already, and what the request that would have
/// opened it says of the client.
pub(crate) fn open(
    io: DuplexStream,
    request: &Parts,
    message_bytes_max: usize,
) -> (AnyTransport, ConnectionInfo) {
    let socket = WebSocket::new(io, bytes::Bytes::new(), message_bytes_max);
    (AnyTransport::InProcess(socket), connection_info(request, Protocol::RawWebSocket))
}
