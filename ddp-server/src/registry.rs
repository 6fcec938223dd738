//! What a server runs for its clients: publications, methods and hooks, with their signatures.
//!
//! Connections and handlers hold the registry, and know nothing of how it is served.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;
use ddp_core::DdpError;
use ddp_core::ejson::RawParams;
use ddp_core::merge_box::PublicationStrategy;
use ddp_core::session::SessionConfig;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::RwLock;

use crate::arrivals::Arrivals;
use crate::config::ServerConfig;
use crate::connection::kept::KeptBytes;
use crate::connection::open::OpenConnections;
use crate::connection::results::Expected;
use crate::error::Error;
use crate::extract::connection::Connection;
use crate::extract::invocation::{Host, Invocation};
use crate::handler::method::{ErasedMethod, MethodContext};
use crate::handler::publication::ErasedPublication;
use crate::handler::span;
use crate::log::Log;
use crate::rate_limit::RateLimiter;
use crate::signature::Signature;
use crate::stats::Counters;
use crate::transport::{LargeMessages, Memory, TransportConfig};

/// What all connections of a server share.
pub(crate) struct Registry {
    pub(crate) config: ServerConfig,
    /// That of the configuration, shared by all sessions.
    pub(crate) session_config: Arc<SessionConfig>,
    pub(crate) publications: RwLock<HashMap<String, Described<ErasedPublication>>>,
    pub(crate) universal: RwLock<Vec<ErasedPublication>>,
    pub(crate) methods: HashMap<String, Described<Method>>,
    pub(crate) hooks: Hooks,
    /// The names of the cookies that connections keep.
    pub(crate) cookies: Arc<[Arc<str>]>,
    pub(crate) rate_limiter: RateLimiter,
    /// Those of plugins and of the application.
    pub(crate) routes: Router,
    pub(crate) open: Arc<OpenConnections>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Log,
    /// What large messages of all connections share.
    pub(crate) large: Arc<LargeMessages>,
    /// What large results share until their clients have taken them.
    pub(crate) results: Arc<Memory>,
    pub(crate) kept: Arc<KeptBytes>,
}

/// A method, and what is known of its results.
pub(crate) struct Method {
    pub(crate) name: Arc<str>,
    pub(crate) handler: ErasedMethod,
    pub(crate) results: Arc<Expected>,
}

impl Described<Method> {
    pub(crate) fn method(name: &str, described: Described<ErasedMethod>) -> Self {
        let Described { handler, signature } = described;
        let method = Method { name: name.into(), handler, results: Arc::default() };
        Self { handler: method, signature }
    }
}

/// A handler with its signature.
pub(crate) struct Described<H> {
    pub(crate) handler: H,
    pub(crate) signature: Signature,
}

/// The application's functions that are called for each connection.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) on_connection: Vec<OnConnection>,
    pub(crate) on_message: Vec<OnMessage>,
}

pub(crate) type OnConnection = Box<dyn Fn(&Connection) + Send + Sync>;
pub(crate) type OnMessage = Box<dyn Fn(&Connection, &str) + Send + Sync>;

impl Registry {
    pub(crate) fn publication(&self, name: &str) -> Option<ErasedPublication> {
        self.publications.read().get(name).map(|described| Arc::clone(&described.handler))
    }

    pub(crate) fn method(&self, name: &str) -> Option<&Method> {
        self.methods.get(name).map(|described| &described.handler)
    }

    /// The universal publications from this one on, counted from 0.
    pub(crate) fn universal(&self, from: usize) -> Vec<ErasedPublication> {
        self.universal.read().get(from..).unwrap_or_default().to_vec()
    }

    /// What the transports of its clients need.
    pub(crate) fn transport(&self) -> TransportConfig {
        let cookies = Arc::clone(&self.cookies);
        TransportConfig { cookies, ..self.config.transport(Arc::clone(&self.large)) }
    }

    /// The signatures of all named publications and methods, by their names.
    pub(crate) fn describe(&self) -> serde_json::Value {
        let publications = self.publications.read();
        serde_json::json!({
            "publications": signatures(&publications),
            "methods": signatures(&self.methods),
        })
    }
}

fn signatures<H>(described: &HashMap<String, Described<H>>) -> BTreeMap<&str, serde_json::Value> {
    described.iter().map(|(name, one)| (name.as_str(), one.signature.to_json())).collect()
}

impl Host for Registry {
    fn invoke(
        &self,
        method: &str,
        params: RawParams,
        invocation: Invocation,
    ) -> BoxFuture<'static, Result<Option<String>, Error>> {
        let Some(Method { name, handler, .. }) = self.method(method) else {
            return futures::future::ready(Err(DdpError::method_not_found(method).into())).boxed();
        };
        let context = MethodContext { name: Arc::clone(name), params, invocation };
        let span = span::method(&context);
        let run = handler(context);
        // It is boxed already.
        if span.is_disabled() { run } else { span::within(span, run) }
    }

    fn strategy(&self, collection: &str) -> PublicationStrategy {
        self.config.session.strategies.of(collection)
    }

    fn log(&self) -> &Log {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::extract::{Params, Subscription};
    use crate::{Error, Plugged, Plugin, PluginBuilder, Server};

    struct Adds;

    impl Plugin for Adds {
        type State = ();

        fn define(self, plugin: PluginBuilder<()>) -> Plugged {
            plugin
                .method("add", async |Params((a, b)): Params<(i32, i32)>| Ok::<_, Error>(a + b))
                .params(["a", "b"])
                .publish("sums", async |_: Subscription| ())
                .build()
        }
    }

    #[test]
    fn what_has_a_name_is_described_wherever_it_was_defined() {
        let server = Server::builder()
            .plugin(Adds)
            .publish("tasks", async |_: Params<(String,)>, _: Subscription| ())
            .publish_universal(async |_: Subscription| ())
            .method("log", async |_: Params<Vec<String>>| Ok::<_, Error>(()))
            .build();
        server.publish("late", async |_: Params<(u8,)>, _: Subscription| (), ());
        server.publish("tasks", async |_: Subscription| (), ());
        server.publish_universal(async |_: Subscription| (), ());
        let nothing = json!({"params": []});
        assert_eq!(
            server.describe(),
            json!({
                "methods": {
                    "add": {"params": [{"name": "a"}, {"name": "b"}]},
                    "log": {"params": "any"},
                },
                "publications": {
                    "late": {"params": [{}]},
                    "meteor.loginServiceConfiguration": nothing,
                    "meteor_autoupdate_clientVersions": nothing,
                    "sums": nothing,
                    "tasks": nothing,
                },
            })
        );
    }

    #[tokio::test]
    async fn a_struct_takes_one_argument_for_each_field() {
        #[derive(serde::Deserialize)]
        struct Sum {
            a: i32,
            b: Option<i32>,
        }
        let add = async |Params(sum): Params<Sum>| Ok::<_, Error>(sum.a + sum.b.unwrap_or(1));
        let server = Server::builder().method("add", add).build();
        assert_eq!(server.call::<i32>("add", (2, 3)).await.unwrap(), 5);
        assert_eq!(server.call::<i32>("add", (2,)).await.unwrap(), 3);
        let error = server.call::<i32>("add", (2, 3, 4)).await.unwrap_err();
        assert_eq!(error.code(), Some(&400.into()));
    }
}
