//! The server: what it publishes, and how it is served.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::connection;
use crate::extract::Subscription;
use crate::handler::Handler;
use crate::method::{self, ErasedMethod, IntoMethodResult, MethodContext};
use crate::publication::{self, ErasedPublication, IntoPublication, PublicationContext};
use crate::sessions::Sessions;
use crate::transport::TransportConfig;
use crate::transport::routes;

/// What all connections of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) publications: HashMap<String, ErasedPublication>,
    pub(crate) methods: HashMap<String, ErasedMethod>,
    pub(crate) sessions: Arc<Sessions>,
}

/// Builds a [`Server`]. `S` is the application's state, given last.
pub struct ServerBuilder<S> {
    config: Config,
    publications: Vec<(String, Bind<S, ErasedPublication>)>,
    methods: Vec<(String, Bind<S, ErasedMethod>)>,
}

/// What every Meteor client subscribes to by itself, and tries again for ever if it is refused. An
/// application may publish under these names itself.
const EMPTY_PUBLICATIONS: [&str; 2] =
    ["meteor_autoupdate_clientVersions", "meteor.loginServiceConfiguration"];

async fn publish_nothing(subscription: Subscription) {
    subscription.ready();
}

/// Gives a handler its state.
type Bind<S, E> = Box<dyn FnOnce(S) -> E>;

impl<S: Clone + Send + Sync + 'static> ServerBuilder<S> {
    /// Replaces the default limits and timeouts.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Publishes under a name, as `Meteor.publish`. A second publication of the same name replaces
    /// the first.
    #[must_use]
    pub fn publish<H, Args>(mut self, name: impl Into<String>, publication: H) -> Self
    where
        H: Handler<PublicationContext, S, Args>,
        H::Output: IntoPublication,
        Args: 'static,
    {
        let bind = move |state| publication::erase(publication, state);
        self.publications.push((name.into(), Box::new(bind)));
        self
    }

    /// Defines a method, as `Meteor.methods`. A second method of the same name replaces the first.
    #[must_use]
    pub fn method<H, Args>(mut self, name: impl Into<String>, method: H) -> Self
    where
        H: Handler<MethodContext, S, Args>,
        H::Output: IntoMethodResult,
        Args: 'static,
    {
        let bind = move |state| method::erase(method, state);
        self.methods.push((name.into(), Box::new(bind)));
        self
    }

    /// Finishes the server, whose handlers get (parts of) this state by `State`. Without a state
    /// it is `()`.
    #[must_use]
    pub fn with_state(self, state: S) -> Server {
        let publications = self.publications.into_iter();
        let empty = EMPTY_PUBLICATIONS
            .map(|name| (name.to_owned(), publication::erase(publish_nothing, state.clone())));
        let publications =
            empty.into_iter().chain(publications.map(|(name, bind)| (name, bind(state.clone()))));
        let methods = self.methods.into_iter();
        Server(Arc::new(Shared {
            config: self.config,
            publications: publications.collect(),
            methods: methods.map(|(name, bind)| (name, bind(state.clone()))).collect(),
            sessions: Arc::default(),
        }))
    }
}

impl<S> fmt::Debug for ServerBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A DDP server. Cheap to clone: clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

impl Server {
    /// Begins a server.
    #[must_use]
    pub fn builder<S: Clone + Send + Sync + 'static>() -> ServerBuilder<S> {
        ServerBuilder { config: Config::default(), publications: Vec::new(), methods: Vec::new() }
    }

    /// The server's routes, `/websocket` and `/sockjs/…`, to be merged into an application's own
    /// router. Serve that with `into_make_service_with_connect_info::<SocketAddr>()`, or the
    /// clients' addresses are unknown.
    pub fn router(&self) -> Router {
        let shared = Arc::clone(&self.0);
        let config = TransportConfig {
            message_bytes_max: self.0.config.message_bytes_max,
            compression: self.0.config.compression,
            sockjs: self.0.config.sockjs.clone(),
        };
        routes::router(config, move |transport, info| {
            connection::run(Arc::clone(&shared), transport, info)
        })
    }

    /// Serves the server's routes on this listener until [`close`](Self::close).
    ///
    /// # Errors
    /// That of the listener.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        self.serve_with(listener, self.router()).await
    }

    /// Serves a router into which [`router`](Self::router) has been merged, until
    /// [`close`](Self::close). Requests that are under way then get `close_timeout` to finish.
    ///
    /// # Errors
    /// That of the listener.
    pub async fn serve_with(&self, listener: TcpListener, router: Router) -> io::Result<()> {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let sessions = Arc::clone(&self.0.sessions);
        let serving = axum::serve(listener, service)
            .with_graceful_shutdown(async move { sessions.closing().await });
        // A client that never finishes its request must not keep the server from ending.
        let too_long = async {
            self.0.sessions.closing().await;
            tokio::time::sleep(self.0.config.close_timeout).await;
        };
        tokio::select! {
            served = serving.into_future() => served,
            () = too_long => Ok(()),
        }
    }

    /// Disconnects all clients with code 1001, accepts no more, and waits until the last is gone.
    /// Methods that are still running go on.
    pub async fn close(&self) {
        self.0.sessions.close().await;
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.sessions.count()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
