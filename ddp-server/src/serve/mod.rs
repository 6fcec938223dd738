//! Serving HTTP and WebSocket on a listener, with limits on what any client may take.
//!
//! | | who | holds |
//! |---|---|---|
//! | `accept` | one task | the listener; takes a connection when there is a place for it |
//! | `places` | each socket | a place among all, and one among those of its address |
//! | `connection` | a task for each | TLS and HTTP, with deadlines; ends when a WebSocket is upgraded |
//! | `body` | each request | a deadline for its body |
//!
//! The places belong to the sockets, so that they count until these are closed, whatever protocol
//! is spoken on them by then.

mod accept;
mod body;
mod config;
mod connection;
mod places;
mod signals;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::future::{IntoFuture, pending, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::time::sleep;

use self::accept::End;
use crate::arrivals::Arrivals;

pub use self::config::ServeConfig;
pub(crate) use self::signals::Signals;
#[cfg(feature = "tls")]
pub use self::tls::{Tls, TlsError};

/// How long requests under way may take to finish at the end.
const GRACE: Duration = Duration::from_secs(5);

/// Serves any axum router over HTTP/1.1, as [`Server::serve`](crate::Server::serve) does: with
/// deadlines and limits, which [`config`](Serve::config) changes. Handlers and DDP are told clients'
/// addresses, by axum's `ConnectInfo<SocketAddr>`.
///
/// ```no_run
/// # async fn stop() {}
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use axum::Router;
/// use axum::routing::get;
///
/// let router = Router::new().route("/health", get(async || "ok"));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// ddp_server::serve(listener, router).until(stop()).await?;
/// # Ok(())
/// # }
/// ```
pub fn serve(listener: TcpListener, router: Router) -> Serve {
    let end = End {
        stop: pending().boxed(),
        drained: ready(()).boxed(),
        grace: async { sleep(GRACE).await }.boxed(),
    };
    Serve { listener, router, config: ServeConfig::default(), arrivals: None, end }
}

/// What [`serve`] serves; await it.
#[must_use = "nothing is served before it is awaited"]
pub struct Serve {
    listener: TcpListener,
    router: Router,
    config: ServeConfig,
    /// Those of the server; `None` if only a router is served.
    arrivals: Option<Arc<Arrivals>>,
    end: End,
}

impl Serve {
    /// Replaces the default limits.
    pub fn config(mut self, config: ServeConfig) -> Self {
        self.config = config;
        self
    }

    /// Serves until this is ready. Then nothing more is accepted, and requests under way have five
    /// seconds to finish.
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.end.stop = stop.boxed();
        self
    }

    /// Those who come take turns with these.
    pub(crate) fn arrivals(mut self, arrivals: &Arc<Arrivals>) -> Self {
        self.arrivals = Some(Arc::clone(arrivals));
        self
    }

    /// Once it is to stop, waits for the first, and then for requests under way, but no longer than
    /// for the second.
    pub(crate) fn drained(
        mut self,
        drained: impl Future<Output = ()> + Send + 'static,
        grace: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.end.drained = drained.boxed();
        self.end.grace = grace.boxed();
        self
    }
}

impl IntoFuture for Serve {
    type Output = io::Result<()>;
    type IntoFuture = BoxFuture<'static, io::Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { listener, router, config, arrivals, end } = self;
        let arrivals = arrivals.unwrap_or_else(|| Arrivals::new(config.arrivals_at_once));
        accept::run(listener, router, config, arrivals, end).boxed()
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
