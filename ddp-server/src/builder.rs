//! Builds a server from what an application and its plugins define.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::Router;
use ddp_core::merge_box::PublicationStrategy;
use parking_lot::RwLock;

use crate::arrivals::Arrivals;
use crate::config::ServerConfig;
use crate::connection::kept::KeptBytes;
use crate::extract::{Connection, Subscription};
use crate::handler::Handler;
use crate::handler::method::{self, ErasedMethod, IntoMethodResult, MethodContext};
use crate::handler::publication::{self, ErasedPublication, IntoPublication, PublicationContext};
use crate::log::Log;
use crate::rate_limit::{RateLimiter, Rule};
use crate::registry::{Described, Hooks, Registry};
use crate::server::Server;
use crate::signature::Signature;

/// Builds a [`Server`] or a [plugin](Plugin). `S` is the application's state, given last; `B` is
/// what gets built.
pub struct ServerBuilder<S, B = Server> {
    config: ServerConfig,
    strategies: Vec<(String, PublicationStrategy)>,
    publications: Vec<Definition<S, ErasedPublication>>,
    universal: Vec<Bind<S, ErasedPublication>>,
    methods: Vec<Definition<S, ErasedMethod>>,
    hooks: Hooks,
    cookies: Vec<Arc<str>>,
    rules: Vec<Rule>,
    routes: Router,
    last: Last,
    builds: PhantomData<fn() -> B>,
}

/// Gives a handler its state.
type Bind<S, H> = Box<dyn FnOnce(S) -> H>;

struct Definition<S, H> {
    name: String,
    bind: Bind<S, H>,
    signature: Signature,
}

/// What has been defined last.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Publication,
    Method,
}

/// Something with a state of its own that adds to a server: publications, methods, hooks, routes and
/// live data, such as accounts or the bundle of a Meteor app.
///
/// ```
/// use ddp_server::{Collection, Error, MemoryCollection, Plugged, Plugin, PluginBuilder, Server, State};
///
/// /// Counts the visits, live.
/// #[derive(Clone)]
/// struct Visits(MemoryCollection<Count>);
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Count {
///     visits: u32,
/// }
///
/// impl Plugin for Visits {
///     type State = Self;
///
///     fn define(self, plugin: PluginBuilder<Self>) -> Plugged {
///         let visits = self.clone();
///         plugin
///             .publish("visits", async |State(visits): State<Self>| visits.0.find())
///             .on_connection(move |_| {
///                 let counted = visits.0.update("all", |count| count.visits += 1);
///                 if let Err(error) = counted {
///                     tracing::error!(%error, "a visit was not counted");
///                 }
///             })
///             .with_state(self)
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let visits = MemoryCollection::new(&Collection::new("visits"));
/// visits.insert_with_id("all", &Count { visits: 0 })?;
/// let server = Server::builder().plugin(Visits(visits)).build();
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
pub trait Plugin {
    /// The state that its handlers receive, whole or in part, through [`State`](crate::State); `()`
    /// if it has none.
    type State: Clone + Send + Sync + 'static;

    /// Defines what the plugin adds, as an application does with a [`ServerBuilder`], and ends with
    /// [`with_state`](PluginBuilder::with_state) or [`build`](PluginBuilder::build). A later definition of the same name, by the
    /// application or another plugin, replaces the plugin's.
    fn define(self, plugin: PluginBuilder<Self::State>) -> Plugged;
}

/// Defines what a [`Plugin`] adds to a server.
pub type PluginBuilder<S> = ServerBuilder<S, Plugged>;

/// A plugin with its state, ready to be added to a server.
pub struct Plugged(PluginBuilder<()>);

/// Every Meteor client subscribes to these by itself, and retries forever if refused. An
/// application or a plugin may publish under these names instead.
struct EmptyPublications;

impl Plugin for EmptyPublications {
    type State = ();

    fn define(self, plugin: PluginBuilder<()>) -> Plugged {
        let nothing = async |subscription: Subscription| subscription.ready();
        plugin
            .publish("meteor_autoupdate_clientVersions", nothing)
            .publish("meteor.loginServiceConfiguration", nothing)
            .build()
    }
}

impl<S: Clone + Send + Sync + 'static, B> ServerBuilder<S, B> {
    fn empty() -> Self {
        Self {
            config: ServerConfig::default(),
            strategies: Vec::new(),
            publications: Vec::new(),
            universal: Vec::new(),
            methods: Vec::new(),
            hooks: Hooks::default(),
            cookies: Vec::new(),
            rules: Vec::new(),
            routes: Router::new(),
            last: Last::Nothing,
            builds: PhantomData,
        }
    }

    /// Adds a plugin. What it defines has its own state, and replaces what was defined before under
    /// the same name.
    ///
    /// # Panics
    /// If it has a route that is there already: see [`routes`](Self::routes).
    #[must_use]
    pub fn plugin<P: Plugin>(mut self, plugin: P) -> Self {
        let Plugged(plugged) = plugin.define(PluginBuilder::empty());
        self.strategies.extend(plugged.strategies);
        self.publications.extend(plugged.publications.into_iter().map(Definition::lift));
        self.universal.extend(plugged.universal.into_iter().map(lift));
        self.methods.extend(plugged.methods.into_iter().map(Definition::lift));
        self.hooks.on_connection.extend(plugged.hooks.on_connection);
        self.hooks.on_message.extend(plugged.hooks.on_message);
        self.cookies.extend(plugged.cookies);
        self.rules.extend(plugged.rules);
        self.routes = self.routes.merge(plugged.routes);
        self.last = Last::Nothing;
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
        let bind = Box::new(move |state| publication::erase(publication, state));
        self.publications.push(Definition { name: name.into(), bind, signature: H::signature() });
        self.last = Last::Publication;
        self
    }

    /// Publishes to every client without a subscription: Meteor's `publish` with `null` as the name.
    /// It takes no arguments, and the client is not told when it is ready. A publication that keeps
    /// running without returning cursors should still call `ready`, because a [change of the
    /// user](crate::extract::Invocation::set_user_id) waits for it.
    #[must_use]
    pub fn publish_universal<H, Args>(mut self, publication: H) -> Self
    where
        H: Handler<PublicationContext, S, Args>,
        H::Output: IntoPublication,
        Args: 'static,
    {
        self.universal.push(Box::new(move |state| publication::erase(publication, state)));
        self.last = Last::Nothing;
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
        let bind = Box::new(move |state| method::erase(method, state));
        self.methods.push(Definition { name: name.into(), bind, signature: H::signature() });
        self.last = Last::Method;
        self
    }

    /// Names the arguments of the publication or method defined just before, for
    /// [`Server::describe`] and whatever is generated from it. The arguments of a struct already
    /// have names.
    ///
    /// ```
    /// use ddp_server::extract::Params;
    /// use ddp_server::{Error, Server};
    ///
    /// async fn add(Params((a, b)): Params<(f64, f64)>) -> Result<f64, Error> {
    ///     Ok(a + b)
    /// }
    ///
    /// let server = Server::builder().method("add", add).params(["a", "b"]).build();
    /// let add = &server.describe()["methods"]["add"];
    /// assert_eq!(add["params"][1]["name"], "b");
    /// ```
    ///
    /// # Panics
    /// If no publication or method was defined just before, or if it takes a different number of
    /// arguments.
    #[must_use]
    pub fn params<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let (name, signature) = match self.last {
            Last::Publication => self.publications.last_mut().map(Definition::named),
            Last::Method => self.methods.last_mut().map(Definition::named),
            Last::Nothing => None,
        }
        .expect("params() names the arguments of the publish() or method() before it");
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let count = names.len();
        if let Err(taken) = signature.name_params(names) {
            panic!("params() of {name:?} has {count} names for {taken} arguments");
        }
        self
    }

    /// Sets how a collection's documents of several subscriptions are merged, as Meteor's
    /// `setPublicationStrategy`. It overrides the configuration.
    #[must_use]
    pub fn publication_strategy(
        mut self,
        collection: impl Into<String>,
        strategy: PublicationStrategy,
    ) -> Self {
        self.strategies.push((collection.into(), strategy));
        self
    }

    /// Calls a function for each client that connects, after the client got `connected` and the
    /// universal publications have started: Meteor's `onConnection`. It runs on the connection's
    /// task and must not block.
    #[must_use]
    pub fn on_connection(mut self, hook: impl Fn(&Connection) + Send + Sync + 'static) -> Self {
        self.hooks.on_connection.push(Box::new(hook));
        self
    }

    /// Calls a function for each message of a client when its turn comes, except `connect`, `ping`
    /// and `pong`: Meteor's `onMessage`. It gets the message as the client sent it, even if it is
    /// malformed. It runs on the connection's task and must not block.
    #[must_use]
    pub fn on_message(mut self, hook: impl Fn(&Connection, &str) + Send + Sync + 'static) -> Self {
        self.hooks.on_message.push(Box::new(hook));
        self
    }

    /// Keeps a cookie of the request that opens a connection, for [`Connection::cookie`]: a login of another
    /// program, such as Django's `sessionid`.
    ///
    /// A browser sends cookies along whichever page connects. So they are kept only if it says by `Origin` that
    /// a script of a page of [`allowed_origins`](ServerConfig::allowed_origins) connects. They must be set, and
    /// name the server's own origin as well, if it has pages. WebSockets and the `xhr` transports of SockJS have
    /// an `Origin`; `eventsource`, `htmlfile` and `jsonp` have none where the page is the server's own, and no
    /// cookie is kept. A program that is no browser sends such an `Origin`. A value of over 8 KiB or with
    /// anything but visible ASCII is missing, and so are two different ones.
    ///
    /// # Panics
    /// If no cookie can have this name. [`with_state`](Self::with_state) and [`build`](Self::build) panic if
    /// any origin is allowed.
    #[must_use]
    pub fn keep_cookie(mut self, name: &str) -> Self {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"=;,\"".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(fits), "{name:?} is not a name of a cookie");
        self.cookies.push(name.into());
        self
    }

    /// Limits how often clients may call and subscribe.
    #[must_use]
    pub fn rate_limit(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds routes that are served beside `/websocket` and `/sockjs`. One below `/sockjs` takes the
    /// place of SockJS's at its path.
    ///
    /// # Panics
    /// If a route already exists, as with axum's [`Router::merge`], or a second fallback. A route at
    /// `/websocket` is noticed by [`Server::router`].
    #[must_use]
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }
}

impl<S: Clone + Send + Sync + 'static> ServerBuilder<S> {
    pub(crate) fn new() -> Self {
        Self::empty().plugin(EmptyPublications)
    }

    /// Replaces the default limits and timeouts.
    #[must_use]
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Finishes the server. Its handlers receive this state, whole or in part, through
    /// [`State`](crate::State). Without a state, use [`build`](Self::build).
    #[must_use]
    pub fn with_state(self, state: S) -> Server {
        let mut config = self.config;
        assert!(
            self.cookies.is_empty() || !config.allowed_origins.is_any(),
            "the cookie {:?} is sent along whichever page connects: name your pages' origins by \
             ServerConfig::allowed_origins, or keep no cookies",
            self.cookies[0]
        );
        config.session.reports_messages |= !self.hooks.on_message.is_empty();
        for (collection, strategy) in self.strategies {
            config.session.strategies = config.session.strategies.with(collection, strategy);
        }
        let rate_limiter = RateLimiter::default();
        for rule in self.rules {
            rate_limiter.add_rule(rule);
        }
        let publications = self.publications.into_iter().map(|one| one.bind(&state));
        let methods = self.methods.into_iter().map(|one| one.bind(&state));
        let methods = methods.map(|(name, method)| {
            let method = Described::method(&name, method);
            (name, method)
        });
        let universal = self.universal.into_iter().map(|bind| bind(state.clone()));
        let (large, results) = (config.large_messages(), config.results());
        let kept = KeptBytes::new(config.sessions_bytes_max);
        let registry = Registry {
            session_config: Arc::new(config.session.clone()),
            arrivals: Arrivals::new(config.serve.arrivals_at_once),
            config,
            publications: RwLock::new(publications.collect()),
            universal: RwLock::new(universal.collect()),
            methods: methods.collect(),
            hooks: self.hooks,
            cookies: self.cookies.into(),
            rate_limiter,
            routes: self.routes,
            open: Arc::default(),
            counters: Arc::default(),
            log: Log::default(),
            large,
            results,
            kept,
        };
        Server::new(registry)
    }
}

impl ServerBuilder<()> {
    /// Finishes a server whose handlers need no state of their own; plugins may have theirs. With
    /// a handler that takes [`State`](crate::State), end with `.with_state(…)` instead.
    #[must_use]
    pub fn build(self) -> Server {
        self.with_state(())
    }
}

impl PluginBuilder<()> {
    /// Finishes a plugin whose handlers need no state.
    #[must_use]
    pub fn build(self) -> Plugged {
        self.with_state(())
    }
}

impl<S: Clone + Send + Sync + 'static> PluginBuilder<S> {
    /// Finishes the plugin. Its handlers receive this state, whole or in part, through
    /// [`State`](crate::State).
    #[must_use]
    pub fn with_state(self, state: S) -> Plugged {
        let bind = |one: Definition<S, _>| one.with_state(state.clone());
        Plugged(ServerBuilder {
            config: self.config,
            strategies: self.strategies,
            publications: self.publications.into_iter().map(bind).collect(),
            universal: self
                .universal
                .into_iter()
                .map(|one| with_state(one, state.clone()))
                .collect(),
            methods: self.methods.into_iter().map(|one| one.with_state(state.clone())).collect(),
            hooks: self.hooks,
            cookies: self.cookies,
            rules: self.rules,
            routes: self.routes,
            last: Last::Nothing,
            builds: PhantomData,
        })
    }
}

impl<S: Clone + 'static, H: 'static> Definition<S, H> {
    fn bind(self, state: &S) -> (String, Described<H>) {
        let handler = (self.bind)(state.clone());
        (self.name, Described { handler, signature: self.signature })
    }

    fn with_state(self, state: S) -> Definition<(), H> {
        let Self { name, bind, signature } = self;
        Definition { name, bind: with_state(bind, state), signature }
    }

    fn named(&mut self) -> (&str, &mut Signature) {
        (&self.name, &mut self.signature)
    }
}

impl<H: 'static> Definition<(), H> {
    fn lift<S>(self) -> Definition<S, H> {
        let Self { name, bind, signature } = self;
        Definition { name, bind: lift(bind), signature }
    }
}

fn with_state<S: 'static, H: 'static>(bind: Bind<S, H>, state: S) -> Bind<(), H> {
    Box::new(move |()| bind(state))
}

/// A handler that already has its state ignores this one.
fn lift<S, H: 'static>(bind: Bind<(), H>) -> Bind<S, H> {
    Box::new(move |_| bind(()))
}

impl<S, B> fmt::Debug for ServerBuilder<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Plugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugged").finish_non_exhaustive()
    }
}
