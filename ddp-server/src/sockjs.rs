//! SockJS without DDP: text in, text out, close.
//!
//! ```
//! use ddp_server::sockjs;
//!
//! let echo = sockjs::router("/echo", sockjs::Options::default(), |mut connection| async move {
//!     while let Some(text) = connection.recv().await {
//!         connection.send(&text).await;
//!     }
//! });
//! # let _: axum::Router = echo;
//! ```
//!
//! Every transport of SockJS is there: WebSocket with and without framing, XHR polling and
//! streaming, server-sent events, `htmlfile` and JSONP polling. A [`Server`](crate::Server) mounts
//! the same under `/sockjs` by itself, with the options in its [`Config`].

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;

use crate::config::Config;
use crate::transport::AnyTransport;
use crate::transport::Headers;
pub use crate::transport::Protocol;
use crate::transport::Transport;
use crate::transport::TransportConfig;
use crate::transport::routes;
use crate::transport::routes::ConnectionInfo;
pub use crate::transport::sockjs::Options;

/// Serves SockJS under a prefix such as `/echo`, by one call of `application` for each client.
///
/// A client's largest message, how much waits for a client and how long the end of a connection
/// may take have the defaults of [`Config`].
///
/// # Panics
///
/// If the prefix does not begin with a slash, or ends with one.
pub fn router<F, Fut>(prefix: &str, options: Options, application: F) -> Router
where
    F: Fn(Connection) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    assert!(prefix.starts_with('/') && !prefix.ends_with('/'), "{prefix:?} is not a prefix");
    let Config { message_bytes_max, compression, .. } = Config::default();
    let config = TransportConfig { message_bytes_max, compression, sockjs: options };
    let shared: Arc<str> = prefix.into();
    routes::sockjs_router(prefix, config, move |transport, info| {
        let prefix = Arc::clone(&shared);
        application(Connection { transport, info, prefix, config: Config::default() })
    })
}

/// A client. Dropped, it is disconnected without a word.
pub struct Connection {
    transport: AnyTransport,
    info: ConnectionInfo,
    prefix: Arc<str>,
    config: Config,
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
        self.info.protocol
    }

    /// The next message of the client; `None` when it is gone.
    pub async fn recv(&mut self) -> Option<String> {
        match poll_fn(|cx| self.transport.poll_recv(cx)).await {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!("connection lost: {error}");
                // Lets the client know, if it still listens.
                self.closed().await;
                None
            }
        }
    }

    /// Sends a message, after it has waited until not too much waits for the client. If the client
    /// is gone this does nothing, and [`recv`](Self::recv) tells.
    pub async fn send(&mut self, text: &str) {
        let frames = self.transport.framing().encode([text]);
        poll_fn(|cx| {
            // An error has an end of the connection in its wake, which `recv` finds.
            let is_lost = matches!(self.transport.poll_flush(cx), Poll::Ready(Err(_)));
            let has_room = self.transport.queued_bytes() < self.config.queued_bytes_max;
            if is_lost || has_room { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.transport.queue(frames);
        poll_fn(|cx| {
            // What is not written now is written later, from here or from `recv`.
            let _ = self.transport.poll_flush(cx);
            Poll::Ready(())
        })
        .await;
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
