//! SockJS without DDP: text in, text out, close.
//!
//! ```
//! use ddp_server::sockjs;
//!
//! let echo = sockjs::router("/echo", sockjs::SockJsConfig::default(), |mut connection| async move {
//!     while let Some(text) = connection.recv().await {
//!         connection.send(&text).await;
//!     }
//! });
//! # let _: axum::Router = echo;
//! ```
//!
//! An application that waits for nothing from its clients is told by
//! [`send`](Connection::send) that one is gone:
//!
//! ```
//! # use std::time::Duration;
//! # use ddp_server::sockjs;
//! let ticks = sockjs::router("/ticks", sockjs::SockJsConfig::default(), |mut connection| async move {
//!     let mut tick = 0_u64;
//!     while connection.send(&tick.to_string()).await {
//!         tokio::time::sleep(Duration::from_secs(1)).await;
//!         tick += 1;
//!     }
//! });
//! # let _: axum::Router = ticks;
//! ```
//!
//! Every transport of SockJS is there: WebSocket with and without framing, XHR polling and
//! streaming, server-sent events, `htmlfile` and JSONP polling. A [`Server`](crate::Server) mounts
//! the same under `/sockjs` by itself, with the options in its [`ServerConfig`].

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use axum::Router;

use crate::config::ServerConfig;
use crate::transport::AnyTransport;
use crate::transport::Headers;
use crate::transport::Transport;
use crate::transport::TransportConfig;
use crate::transport::open::ConnectionInfo;
pub use crate::transport::sockjs::Protocol;
pub use crate::transport::sockjs::SockJsConfig;
use crate::transport::sockjs::router as routes;

/// Serves SockJS under a prefix such as `/echo`, by one call of `application` for each client.
///
/// A client's largest message, how much waits for a client and how long the end of a connection
/// may take have the defaults of [`ServerConfig`].
///
/// # Panics
///
/// If the prefix does not begin with a slash, or ends with one.
pub fn router<F, Fut>(prefix: &str, options: SockJsConfig, application: F) -> Router
where
    F: Fn(Connection) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let config = ServerConfig { sockjs: options, ..ServerConfig::default() };
    router_with(prefix, config.transport(), application)
}

pub(crate) fn router_with<F, Fut>(prefix: &str, config: TransportConfig, application: F) -> Router
where
    F: Fn(Connection) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    assert!(prefix.starts_with('/') && !prefix.ends_with('/'), "{prefix:?} is not a prefix");
    let shared: Arc<str> = prefix.into();
    routes(prefix, config, move |transport, info, protocol| {
        let prefix = Arc::clone(&shared);
        let config = ServerConfig::default();
        application(Connection { transport, info, protocol, prefix, config, is_gone: false })
    })
}

/// A client. Dropped, it is disconnected without a word.
pub struct Connection {
    transport: AnyTransport,
    info: ConnectionInfo,
    protocol: Protocol,
    prefix: Arc<str>,
    config: ServerConfig,
    /// Whether nothing more can reach the client.
    is_gone: bool,
}

impl Connection {
    /// The other end of the TCP connection, which may be a proxy; see the header
    /// `x-forwarded-for` then. Known if the router is served with
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.info.remote_addr
    }

    /// What is kept of the headers of the request that opened the connection.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.info.headers
    }

    /// The path of the request that opened the connection, as the client sent it, such as
    /// `/echo/000/abcdefgh/xhr`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.info.path
    }

    /// The prefix that [`router`] was given.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The transport that the client opened the connection by.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The next message of the client; `None` when it is gone.
    pub async fn recv(&mut self) -> Option<String> {
        match poll_fn(|cx| self.transport.poll_recv(cx)).await {
            Ok(Some(message)) => return Some(message),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "connection lost"),
        }
        self.is_gone = true;
        // Answers the client's close frame, or says what was wrong, if the client still listens.
        self.closed().await;
        None
    }

    /// Sends a message, after it has waited until not too much waits for the client. Returns
    /// whether the client may get it: `false` means that the client is gone, and that all further
    /// messages are dropped as this one was.
    ///
    /// A loop that does nothing but send must end then. One around [`recv`](Self::recv) need not
    /// look, as `recv` returns `None` once it has given what the client sent before it left.
    ///
    /// A client that has left is not always noticed by the next message, since what the system
    /// takes for it counts as sent; and one that closes a WebSocket is answered by `recv` only.
    pub async fn send(&mut self, text: &str) -> bool {
        if self.is_gone {
            // Who does not look keeps nobody else from running.
            tokio::task::yield_now().await;
            return false;
        }
        let frames = self.transport.framing().encode([text]);
        poll_fn(|cx| {
            self.poll_write(cx);
            let has_room = self.transport.queued_bytes() < self.config.outbox_bytes_max;
            if self.is_gone || has_room { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if !self.is_gone {
            self.transport.queue(frames);
            poll_fn(|cx| {
                // What is not written now is written later, from here or from `recv`.
                self.poll_write(cx);
                Poll::Ready(())
            })
            .await;
        }
        !self.is_gone
    }

    /// Writes what the client takes, and notes if it is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>) {
        let is_lost = matches!(self.transport.poll_flush(cx), Poll::Ready(Err(_)));
        // A session without a socket has nothing that could fail.
        let is_closed = matches!(&self.transport, AnyTransport::Polling(end) if end.is_closed());
        self.is_gone |= is_lost || is_closed;
    }

    /// Ends the connection after all that was sent, with a code and a reason for the client. For
    /// codes see RFC 6455 section 7.4; 3000 and above are the application's.
    pub async fn close(mut self, code: u16, reason: &str) {
        self.transport.close(code, reason);
        self.closed().await;
    }

    async fn closed(&mut self) {
        let closed = poll_fn(|cx| self.transport.poll_closed(cx));
        // A client that does not answer, or a broken socket, is simply dropped.
        let _ = tokio::time::timeout(self.config.close_timeout, closed).await;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("info", &self.info)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
