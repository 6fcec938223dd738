//! Doors to internals for this repository's fuzz targets. No part of the API.

use std::future::poll_fn;

use axum::Router;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::ServerConfig;
use crate::sockjs::{self, Connection, SockJsConfig};
use crate::transport::sockjs::SockJs;
pub use crate::transport::sockjs::fuzzing as frames;
use crate::transport::websocket::WebSocket;
use crate::transport::{Deflate, Framing, Transport, TransportConfig, TransportError};

/// [`sockjs::router`](crate::sockjs::router) with another limit on messages.
pub fn sockjs_router<F, Fut>(
    prefix: &str,
    options: SockJsConfig,
    message_bytes_max: usize,
    application: F,
) -> Router
where
    F: Fn(Connection) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let config = ServerConfig { message_bytes_max, sockjs: options, ..ServerConfig::default() };
    sockjs::router_with(prefix, config.transport(config.large_messages()), application)
}

/// What a WebSocket carries, and how.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// The largest message.
    pub message_bytes_max: usize,
    /// Whether permessage-deflate was negotiated.
    pub has_deflate: bool,
    /// Whether SockJS frames are in the WebSocket's.
    pub is_sockjs: bool,
}

impl Socket {
    fn deflate(self) -> Option<Deflate> {
        TransportConfig::default().deflate.filter(|_| self.has_deflate)
    }

    /// Messages as whole frames to a client.
    #[must_use]
    pub fn encode(self, messages: &[&str]) -> Bytes {
        let framing = Framing::raw(self.deflate());
        let framing = if self.is_sockjs { framing.in_sockjs() } else { framing };
        framing.encode(messages.iter().copied())
    }

    /// Hands each message of a client to `message`, up to the end of the connection and through its
    /// closing handshake. Tells why it ended, if not by the client's wish.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers, for SockJS.
    pub async fn receive<Io>(self, io: Io, message: impl FnMut(String)) -> Result<(), String>
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let socket = WebSocket::new(io, Bytes::new(), self.message_bytes_max);
        let socket = socket.with_deflate(self.deflate());
        if self.is_sockjs {
            receive(SockJs::new(socket, SockJsConfig::default().heartbeat), message).await
        } else {
            receive(socket, message).await
        }
    }
}

async fn receive(
    mut transport: impl Transport,
    mut message: impl FnMut(String),
) -> Result<(), String> {
    let received = loop {
        match poll_fn(|cx| transport.poll_recv(cx)).await {
            Ok(Some(text)) => message(text),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let closed = poll_fn(|cx| transport.poll_closed(cx)).await;
    received.and(closed.map_err(TransportError::Io)).map_err(|error| error.to_string())
}
