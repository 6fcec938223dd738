//! The server: how it is served, and what can be done while it runs.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

#[cfg(feature = "accounts")]
use axum::Extension;
use axum::Router;
use ddp_core::DdpError;
use ddp_core::ejson::RawParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use crate::builder::ServerBuilder;
use crate::connection;
use crate::connection::check::{Checked, Flaw, check, check_all};
use crate::connection::mail::Mail;
use crate::connection::open::Patience;
use crate::error::Error;
use crate::extract::FromContext;
use crate::extract::invocation::{Host, Invocation, invoke};
use crate::handler::Handler;
use crate::handler::method::MethodContext;
use crate::handler::publication::{self, IntoPublication, PublicationContext};
use crate::rate_limit::RateLimiter;
use crate::registry::{Described, Registry};
use crate::serve::{Signals, serve};
use crate::stats::Stats;
#[cfg(feature = "accounts")]
use crate::transport::open::ForwardedCount;
use crate::transport::routes;

/// A DDP server. Cheap to clone: clones are the same server.
///
/// ```
/// use ddp_server::extract::Params;
/// use ddp_server::{Error, Server};
///
/// async fn add(Params((a, b)): Params<(i64, i64)>) -> Result<i64, Error> {
///     Ok(a + b)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let server = Server::builder().method("add", add).build();
///
/// // Clients connect to its routes, beside the application's own.
/// let app = axum::Router::new().merge(server.router());
/// # let _: axum::Router = app;
///
/// // The program can call its methods, too.
/// assert_eq!(server.call::<i64>("add", (40, 2)).await?, 42);
/// assert_eq!(server.describe()["methods"]["add"]["params"].as_array().map(Vec::len), Some(2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Server {
    registry: Arc<Registry>,
}

impl Server {
    /// Begins a server.
    #[must_use]
    pub fn builder<S: Clone + Send + Sync + 'static>() -> ServerBuilder<S> {
        ServerBuilder::new()
    }

    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry) }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    fn host(&self) -> Arc<dyn Host> {
        Arc::clone(&self.registry) as _
    }

    /// The server's routes, `/websocket`, `/sockjs/…` and those of its plugins, to be merged into
    /// an application's own router. Serve that router with
    /// `into_make_service_with_connect_info::<SocketAddr>()`; otherwise clients' addresses are
    /// unknown.
    ///
    /// # Panics
    /// If a plugin or [`ServerBuilder::routes`] has a route for GET at `/websocket`.
    pub fn router(&self) -> Router {
        let registry = Arc::clone(&self.registry);
        let others = registry.routes.clone();
        #[cfg(feature = "accounts")]
        let others = others.layer(Extension(ForwardedCount(registry.config.forwarded_count)));
        let config = registry.transport();
        let routes = routes::router(config, move |transport, info| {
            connection::run(Arc::clone(&registry), transport, info)
        });
        routes.merge(others)
    }

    /// Publishes under a name while the server runs, like [`ServerBuilder::publish`] at build time.
    /// It replaces a publication of the same name; existing subscriptions keep the old one.
    pub fn publish<H, S, Args>(&self, name: impl Into<String>, publication: H, state: S)
    where
        S: Clone + Send + Sync + 'static,
        H: Handler<PublicationContext, S, Args>,
        H::Output: IntoPublication,
        Args: 'static,
    {
        let handler = publication::erase(publication, state);
        let described = Described { handler, signature: H::signature() };
        self.registry.publications.write().insert(name.into(), described);
    }

    /// Publishes to every client, connected or yet to come, like
    /// [`ServerBuilder::publish_universal`] at build time.
    pub fn publish_universal<H, S, Args>(&self, publication: H, state: S)
    where
        S: Clone + Send + Sync + 'static,
        H: Handler<PublicationContext, S, Args>,
        H::Output: IntoPublication,
        Args: 'static,
    {
        self.registry.universal.write().push(publication::erase(publication, state));
        for connection in self.registry.open.all() {
            connection.mailbox().push(Mail::Universal);
        }
    }

    /// Calls a method from the server itself, as Meteor's `callAsync` on the server: without a
    /// connection, a user, or a client that waits for what it writes.
    ///
    /// # Errors
    /// Like those of [`Invocation::call`].
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<R, Error> {
        let host = self.host();
        invoke(&host, method, params, Invocation::by_server(Arc::clone(&host))).await
    }

    /// The rate limiter, to add rules and remove them while the server runs.
    #[must_use]
    pub fn rate_limiter(&self) -> &RateLimiter {
        &self.registry.rate_limiter
    }

    /// What clients can use, as JSON: publications and methods by name, including those of plugins
    /// and those added at run time, but not universal publications.
    ///
    /// ```json
    /// {
    ///   "publications": {"tasks.byList": {"params": [{"name": "listId"}]}},
    ///   "methods": {
    ///     "ping": {"params": []},
    ///     "log": {"params": "any"},
    ///     "add": {
    ///       "params": [
    ///         {"name": "a", "schema": {"type": "number"}, "required": true},
    ///         {"name": "b", "schema": {"type": ["number", "null"]}, "required": false}
    ///       ],
    ///       "result": {"type": "number"}
    ///     }
    ///   }
    /// }
    /// ```
    ///
    /// | key | absent if |
    /// |---|---|
    /// | `params` | never; `"any"` if there may be any number of arguments, of any kind |
    /// | `name` of an argument | it has none: see [`ServerBuilder::params`] |
    /// | `schema` of an argument | it may be anything, or nothing is known of it |
    /// | `required` of an argument | there is no schema. `false` says that it may be left out at the end, and be `null` before others |
    /// | `result` of a method | it may be anything, or nothing is known of it |
    /// | `documents` of a publication, a schema for each of its cursors | nothing is known of them |
    ///
    /// Schemas are those of handlers that were registered with `ddp_server::schema::typed` (feature
    /// `schema`), see [`Signature`](crate::Signature).
    #[must_use]
    pub fn describe(&self) -> serde_json::Value {
        self.registry.describe()
    }

    /// Runs every publication that takes no parameters once, for nobody and without a user, and has
    /// what it publishes from check its queries: that collections and fields exist, and that constants,
    /// tests and order suit them. No document is read. Call it before [`serve`](Self::serve), so that a
    /// typing error ends the start and not the first subscription.
    ///
    /// What a publication does besides is done: it may read, or write. It runs on a connection without
    /// a client, which ends at once.
    ///
    /// ```
    /// # use ddp_server::{Collection, Error, MemoryCollection, Server, State};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let tasks = MemoryCollection::new(&Collection::<()>::new("tasks"));
    /// let server = Server::builder()
    ///     .publish("tasks", async |State(tasks): State<MemoryCollection<()>>| tasks.find())
    ///     .with_state(tasks);
    /// for (publication, why) in server.check().await?.unchecked {
    ///     tracing::info!(publication, why, "not checked");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Publications that take parameters, that return an error, as one does that wants a user, that
    /// publish by hand or that do not return within 5 seconds are not checked, and the result names
    /// them. For those with parameters there is [`check_publication`](Self::check_publication).
    ///
    /// # Errors
    /// What is wrong, a line for each publication.
    pub async fn check(&self) -> Result<Checked, Error> {
        check_all(&self.registry).await
    }

    /// The same for one publication, with parameters as a client may send them:
    /// `server.check_publication("tasks.byList", ("home",)).await?`.
    ///
    /// # Errors
    /// What is wrong with it; why it could not be checked; `404` if there is no such publication.
    pub async fn check_publication(&self, name: &str, params: impl Serialize) -> Result<(), Error> {
        let publication = self.registry.publication(name);
        let publication = publication.ok_or_else(|| DdpError::subscription_not_found(name))?;
        let params = RawParams::from_serialize(&params)?;
        let outcome = check(&self.registry, Some(name), publication, params).await;
        outcome.map_err(|flaw| match flaw {
            Flaw::Wrong(error) => Error::internal(format!("{name}: {error}")),
            Flaw::Unchecked(why) => Error::internal(format!("{name} was not checked: it {why}")),
        })
    }

    /// Serves the server's routes on this listener, with the limits of
    /// [`ServerConfig::serve`](crate::ServerConfig::serve), until [`close`](Self::close) has closed
    /// all connections.
    ///
    /// # Errors
    /// The listener's error.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        self.serve_with(listener, self.router()).await
    }

    /// Serves a router that includes [`router`](Self::router), until [`close`](Self::close) has
    /// closed all connections. Requests in progress then have `close_timeout` to finish.
    ///
    /// # Errors
    /// The listener's error.
    pub async fn serve_with(&self, listener: TcpListener, router: Router) -> io::Result<()> {
        let config = &self.registry.config;
        let mut limits = config.serve.clone();
        if config.forwarded_count > 0 {
            // The sockets are those of proxies; the routes know whose clients are behind them.
            limits.connections_per_address_max = Some(usize::MAX);
        }
        let [closing, closed, urgent] = [(); 3].map(|()| Arc::clone(&self.registry.open));
        let close_timeout = config.close_timeout;
        let grace = async move {
            // In time or not, what is left ends then.
            let _ = tokio::time::timeout(close_timeout, urgent.urgent()).await;
        };
        serve(listener, router)
            .config(limits)
            .arrivals(&self.registry.arrivals)
            .until(async move { closing.closing().await })
            .drained(async move { closed.closed().await }, grace)
            .await
    }

    /// Closes the server, and waits until the last client is gone: accepts no more, and tells
    /// clients to go, one after the other over
    /// [`drain_spread`](crate::ServerConfig::drain_spread). From a client that was told nothing more
    /// is read; it is disconnected with code 1001 as soon as its methods have ended and it has their
    /// results, or after [`drain_timeout`](crate::ServerConfig::drain_timeout). Methods that still
    /// run then go on, for as long as the program does.
    pub async fn close(&self) {
        let config = &self.registry.config;
        let patience = Patience { methods: config.drain_timeout, spread: config.drain_spread };
        self.registry.open.close(patience).await;
    }

    /// Closes the server without waiting for methods, and hardly for clients, also if
    /// [`close`](Self::close) is still waiting; both then return.
    pub async fn close_now(&self) {
        self.registry.open.close_now().await;
    }

    /// From now on Ctrl-C and, on Unix, the request to terminate do not end the program: the first
    /// [closes](Self::close) the server, so that [`serve`](Self::serve) returns when the last client
    /// is gone, and the second closes it [at once](Self::close_now).
    ///
    /// ```no_run
    /// # use ddp_server::Server;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let server = Server::builder().build();
    /// server.close_on_signals()?;
    /// server.serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the system does not let the program listen to signals.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn close_on_signals(&self) -> io::Result<()> {
        let mut signals = Signals::listen()?;
        let server = self.clone();
        tokio::spawn(async move {
            signals.next().await;
            tracing::info!("closing; a second signal ends at once");
            let closing = server.clone();
            tokio::spawn(async move { closing.close().await });
            signals.next().await;
            server.close_now().await;
        });
        Ok(())
    }

    /// Counts of sessions that lagged or were disconnected, by cause.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.registry.counters.stats()
    }

    /// How many connections are open.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.registry.open.count()
    }
}

/// The server that runs a handler.
fn of_host(host: &Arc<dyn Host>) -> Result<Server, Error> {
    let host: Arc<dyn Any + Send + Sync> = Arc::clone(host) as _;
    let registry = host.downcast::<Registry>();
    let registry = registry.map_err(|_| Error::internal("no server runs this handler"))?;
    Ok(Server { registry })
}

impl<S: Sync> FromContext<PublicationContext, S> for Server {
    async fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        of_host(context.subscription.host())
    }
}

impl<S: Sync> FromContext<MethodContext, S> for Server {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        of_host(context.invocation.host())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connections", &self.connection_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[test]
    #[should_panic(expected = "/websocket")]
    fn no_route_takes_the_place_of_the_websocket() {
        let routes = Router::new().route("/websocket", get(async || "mine"));
        let _ = Server::builder().routes(routes).build().router();
    }
}
