//! The server: what it publishes, and how it is served.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use ddp_core::DdpError;
use tokio::net::TcpListener;

use ddp_core::ejson::{self, Ejson};
use ddp_core::merge_box::PublicationStrategy;
use ddp_core::session::SessionConfig;
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::connection;
use crate::error::Error;
use crate::extract::{Connection, Invocation, Subscription};
use crate::handler::Handler;
use crate::mailbox::Mail;
use crate::method::{self, ErasedMethod, IntoMethodResult, MethodContext};
use crate::publication::{self, ErasedPublication, IntoPublication, PublicationContext};
use crate::rate_limit::{RateLimiter, Rule};
use crate::sessions::Sessions;
use crate::stats::{Counters, Stats};
use crate::transport::routes;

/// What all connections of a server share.
struct Shared {
    config: Config,
    /// That of the configuration, shared by all sessions.
    session_config: Arc<SessionConfig>,
    publications: RwLock<HashMap<String, ErasedPublication>>,
    universal: RwLock<Vec<ErasedPublication>>,
    methods: HashMap<String, ErasedMethod>,
    hooks: Hooks,
    rate_limiter: RateLimiter,
    sessions: Arc<Sessions>,
    counters: Arc<Counters>,
}

/// The application's functions that are called for each connection.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) on_connection: Vec<OnConnection>,
    pub(crate) on_message: Vec<OnMessage>,
}

type OnConnection = Box<dyn Fn(&Connection) + Send + Sync>;
type OnMessage = Box<dyn Fn(&Connection, &str) + Send + Sync>;

/// Builds a [`Server`]. `S` is the application's state, given last.
pub struct ServerBuilder<S> {
    config: Config,
    strategies: Vec<(String, PublicationStrategy)>,
    publications: Vec<(String, Bind<S, ErasedPublication>)>,
    universal: Vec<Bind<S, ErasedPublication>>,
    methods: Vec<(String, Bind<S, ErasedMethod>)>,
    hooks: Hooks,
    rate_limiter: RateLimiter,
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

    /// Publishes to every client, without being asked for: Meteor's `publish` with `null` in the
    /// place of the name. It takes no arguments, and the client is not told when it is ready; but one
    /// that runs on, without returning cursors, should say so all the same, since a
    /// [change of the user](Invocation::set_user_id) waits for it.
    #[must_use]
    pub fn publish_universal<H, Args>(mut self, publication: H) -> Self
    where
        H: Handler<PublicationContext, S, Args>,
        H::Output: IntoPublication,
        Args: 'static,
    {
        self.universal.push(Box::new(move |state| publication::erase(publication, state)));
        self
    }

    /// Sets how a collection's documents of several subscriptions are merged, as Meteor's
    /// `setPublicationStrategy`. It takes the place of what the configuration says.
    #[must_use]
    pub fn publication_strategy(
        mut self,
        collection: impl Into<String>,
        strategy: PublicationStrategy,
    ) -> Self {
        self.strategies.push((collection.into(), strategy));
        self
    }

    /// Calls a function for each client that connects, when it has been told so and the universal
    /// publications have begun: Meteor's `onConnection`. It runs on the connection's task and must
    /// not block.
    #[must_use]
    pub fn on_connection(mut self, hook: impl Fn(&Connection) + Send + Sync + 'static) -> Self {
        self.hooks.on_connection.push(Box::new(hook));
        self
    }

    /// Calls a function for each message of a client when its turn comes, but `connect`, `ping` and
    /// `pong`: Meteor's `onMessage`. It gets the message as the client sent it, even if malformed. It
    /// runs on the connection's task and must not block.
    #[must_use]
    pub fn on_message(mut self, hook: impl Fn(&Connection, &str) + Send + Sync + 'static) -> Self {
        self.hooks.on_message.push(Box::new(hook));
        self
    }

    /// Limits how often clients may call and subscribe.
    #[must_use]
    pub fn rate_limit(self, rule: Rule) -> Self {
        self.rate_limiter.add_rule(rule);
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
        let universal = self.universal.into_iter().map(|bind| bind(state.clone()));
        let methods = self.methods.into_iter();
        let mut config = self.config;
        config.session.reports_messages |= !self.hooks.on_message.is_empty();
        for (collection, strategy) in self.strategies {
            config.session.strategies = config.session.strategies.with(collection, strategy);
        }
        Server(Arc::new(Shared {
            session_config: Arc::new(config.session.clone()),
            config,
            publications: RwLock::new(publications.collect()),
            universal: RwLock::new(universal.collect()),
            methods: methods.map(|(name, bind)| (name, bind(state.clone()))).collect(),
            hooks: self.hooks,
            rate_limiter: self.rate_limiter,
            sessions: Arc::default(),
            counters: Arc::default(),
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
        ServerBuilder {
            config: Config::default(),
            strategies: Vec::new(),
            publications: Vec::new(),
            universal: Vec::new(),
            methods: Vec::new(),
            hooks: Hooks::default(),
            rate_limiter: RateLimiter::default(),
        }
    }

    /// The server's routes, `/websocket` and `/sockjs/…`, to be merged into an application's own
    /// router. Serve that with `into_make_service_with_connect_info::<SocketAddr>()`, or the
    /// clients' addresses are unknown.
    pub fn router(&self) -> Router {
        let server = self.clone();
        routes::router(self.0.config.transport(), move |transport, info| {
            connection::run(server.clone(), transport, info)
        })
    }

    /// Publishes under a name while the server runs, as [`ServerBuilder::publish`] does before. A
    /// publication of the same name is replaced; subscriptions to it that run stay with it.
    pub fn publish<H, S, Args>(&self, name: impl Into<String>, publication: H, state: S)
    where
        S: Clone + Send + Sync + 'static,
        H: Handler<PublicationContext, S, Args>,
        H::Output: IntoPublication,
        Args: 'static,
    {
        let publication = publication::erase(publication, state);
        self.0.publications.write().insert(name.into(), publication);
    }

    /// Publishes to every client, those that are connected already and those to come, as
    /// [`ServerBuilder::publish_universal`] does before the server runs.
    pub fn publish_universal<H, S, Args>(&self, publication: H, state: S)
    where
        S: Clone + Send + Sync + 'static,
        H: Handler<PublicationContext, S, Args>,
        H::Output: IntoPublication,
        Args: 'static,
    {
        self.0.universal.write().push(publication::erase(publication, state));
        for connection in self.0.sessions.all() {
            connection.mailbox().push(Mail::Universal);
        }
    }

    /// Calls a method from the server itself, as Meteor's `callAsync` on the server: without a
    /// connection, a user, or a client that waits for what it writes.
    ///
    /// # Errors
    /// As with [`Invocation::call`].
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<R, Error> {
        self.invoke(method, params, Invocation::by_server(self.clone())).await
    }

    /// The rate limiter, to add rules and remove them while the server runs.
    #[must_use]
    pub fn rate_limiter(&self) -> &RateLimiter {
        &self.0.rate_limiter
    }

    pub(crate) async fn invoke<R: DeserializeOwned>(
        &self,
        name: &str,
        params: impl Serialize,
        invocation: Invocation,
    ) -> Result<R, Error> {
        let method = self.method(name).ok_or_else(|| DdpError::method_not_found(name))?;
        let params = match ejson::to_value(&params)? {
            Ejson::Array(params) => params,
            Ejson::Null => Vec::new(),
            other => {
                return Err(Error::internal(format!("parameters must be a tuple, not {other}")));
            }
        };
        let context = MethodContext { name: name.to_owned(), params, invocation };
        let result = method(context).await?;
        Ok(ejson::from_text(result.as_deref().unwrap_or("null"))?)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn session_config(&self) -> Arc<SessionConfig> {
        Arc::clone(&self.0.session_config)
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.0.hooks
    }

    pub(crate) fn sessions(&self) -> &Arc<Sessions> {
        &self.0.sessions
    }

    pub(crate) fn publication(&self, name: &str) -> Option<ErasedPublication> {
        self.0.publications.read().get(name).cloned()
    }

    pub(crate) fn method(&self, name: &str) -> Option<&ErasedMethod> {
        self.0.methods.get(name)
    }

    /// The universal publications from this one on, counted from 0.
    pub(crate) fn universal(&self, from: usize) -> Vec<ErasedPublication> {
        self.0.universal.read().get(from..).unwrap_or_default().to_vec()
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

    /// What happened to sessions so far: how many lagged, and how many were disconnected for what.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.counters.stats()
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
