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
//! If your application only sends, [`send`](Connection::send) tells it when the client is gone:
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
//! All SockJS transports are supported: WebSocket with and without framing, XHR polling and
//! streaming, server-sent events, `htmlfile` and JSONP polling. A [`Server`](crate::Server) mounts
//! the same under `/sockjs`, with the options from its [`ServerConfig`].

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

/// Serves SockJS under a prefix such as `/echo`, calling `application` once per client.
///
/// The limits on a client's largest message, on what is waiting for a client and on the time to
/// close are the defaults of [`ServerConfig`].
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
    router_with(prefix, config.transport(config.large_messages()), application)
}

pub(crate) fn router_with<F, Fut>(prefix: &str, config: TransportConfig, application: F) -> Router
where
    F: Fn(Connection) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    assert!(
        prefix.starts_with('/') && !prefix.ends_with('/'),
        "{prefix:?} is not a prefix: begin it with a slash, and end it without one"
    );
    let shared: Arc<str> = prefix.into();
    routes(prefix, config, move |transport, info, protocol| {
        let prefix = Arc::clone(&shared);
        let config = ServerConfig::default();
        application(Connection { transport, info, protocol, prefix, config, is_gone: false })
    })
}

/// A client. Dropping it disconnects the client without a close frame.
pub struct Connection {
    transport: AnyTransport,
    info: ConnectionInfo,
    protocol: Protocol,
    prefix: Arc<str>,
    config: ServerConfig,
    /// True once nothing more can reach the client.
    is_gone: bool,
}

impl Connection {
    /// The other end of the TCP connection, which may be a proxy; then see the header
    /// `x-forwarded-for`. Known if the router is served with
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.info.remote_addr
    }

    /// Selected headers of the request that opened the connection.
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

    /// The prefix given to [`router`].
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The transport with which the client opened the connection.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The client's next message; `None` when it is gone.
    pub async fn recv(&mut self) -> Option<String> {
        match poll_fn(|cx| self.transport.poll_recv(cx)).await {
            Ok(Some(message)) => return Some(message),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "connection lost"),
        }
        self.is_gone = true;
        // Answers the client's close frame, or says what was wrong, if the client is still
        // listening.
        self.closed().await;
        None
    }

    /// Sends a message; waits first while too much is queued for the client. Returns whether the
    /// client may get it: `false` means that the client is gone, and that this and all further
    /// messages are dropped.
    ///
    /// A loop that only sends must then end. A loop around [`recv`](Self::recv) need not check,
    /// because `recv` returns `None` after the client's last message.
    ///
    /// The next message does not always reveal that a client has left, because whatever the system
    /// accepts counts as sent. Only `recv` answers a client's WebSocket close.
    pub async fn send(&mut self, text: &str) -> bool {
        if self.is_gone {
            // A loop that ignores the result must not starve other tasks.
            tokio::task::yield_now().await;
            return false;
        }
        let frames = self.transport.framing().encode([text]);
        poll_fn(|cx| {
            self.poll_write(cx);
            let has_room = self.transport.kept_bytes() < self.config.outbox_bytes_max;
            if self.is_gone || has_room { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if !self.is_gone {
            self.transport.queue(frames);
            poll_fn(|cx| {
                // The rest is written later, from here or from `recv`.
                self.poll_write(cx);
                Poll::Ready(())
            })
            .await;
        }
        !self.is_gone
    }

    /// Writes what the client takes, and notes whether it is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>) {
        let is_lost = matches!(self.transport.poll_flush(cx), Poll::Ready(Err(_)));
        // A session without a socket has nothing that could fail.
        let is_closed = matches!(&self.transport, AnyTransport::Polling(end) if end.is_closed());
        self.is_gone |= is_lost || is_closed;
    }

    /// Closes the connection after everything sent so far, with a code and a reason. RFC 6455
    /// section 7.4 lists the codes; 3000 and above are the application's.
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
