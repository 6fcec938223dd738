//! A WebSocket between two ends of one process, without a socket and without HTTP.

use std::sync::Arc;

use axum::http::request::Parts;
use bytes::Bytes;
use tokio::io::DuplexStream;

use super::open::{ConnectionInfo, RAW_WEBSOCKET};
use super::websocket::WebSocket;
use super::{AnyTransport, TransportConfig};

/// The server's end of a plain WebSocket that is already open, and what the opening request would
/// have said about the client.
pub(crate) fn open(
    io: DuplexStream,
    request: &Parts,
    config: &TransportConfig,
) -> (AnyTransport, ConnectionInfo) {
    let info = ConnectionInfo::opening(request, RAW_WEBSOCKET, config);
    let socket = WebSocket::new(io, Bytes::new(), config.message_bytes_max);
    let socket = socket.with_large(Arc::clone(&config.large), info.address());
    (AnyTransport::InProcess(socket), info)
}
