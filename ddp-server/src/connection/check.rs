//! Runs publications without a client, to see whether their queries fit what they publish.

use std::sync::Arc;
use std::time::Duration;

use ddp_core::SubscriptionKey;
use ddp_core::ejson::RawParams;

use super::handlers::{catch_panic, check_collections};
use super::mailbox::Mailbox;
use crate::error::Error;
use crate::extract::subscription::Request;
use crate::extract::{Connection, Subscription};
use crate::handler::publication::{ErasedPublication, PublicationContext};
use crate::live_query::AnyCursor;
use crate::random;
use crate::registry::Registry;
use crate::stats::Counters;
use crate::transport::open::ConnectionInfo;

/// How long a publication may take to return its cursors.
const RETURN_TIMEOUT: Duration = Duration::from_secs(5);

/// What [`Server::check`](crate::Server::check) has and has not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The publications whose queries fit, by name and in its order.
    pub publications: Vec<String>,
    /// The names of those that were not checked, each with the reason.
    pub unchecked: Vec<(String, String)>,
}

/// Why nothing is known of a publication, or what is wrong with it.
pub(crate) enum Flaw {
    Unchecked(String),
    Wrong(Error),
}

/// A connection that no client has: what is left in its mailbox nobody reads.
struct Nobody {
    connection: Connection,
    subscription: Subscription,
}

impl Nobody {
    fn subscribes(registry: &Arc<Registry>, name: Option<&str>, params: RawParams) -> Self {
        let config = &registry.config;
        let mailbox = Mailbox::new(
            config.outbox_deltas_max,
            config.outbox_messages_max,
            Arc::new(Counters::default()),
        );
        let connection =
            Connection::new(&random::id(), ConnectionInfo::of_nobody(), Arc::new(mailbox));
        let request = Arc::new(Request { name: name.map(str::to_owned), params });
        let host = Arc::clone(registry) as _;
        let key = SubscriptionKey::from(0);
        let subscription = Subscription::new(host, connection.clone(), key, None, request);
        Self { connection, subscription }
    }
}

/// Whoever leaves has its callbacks called, also if the check itself is given up.
impl Drop for Nobody {
    fn drop(&mut self) {
        self.subscription.stopped();
        self.connection.closed();
    }
}

/// Runs a publication with these parameters for nobody, and has the sources of its cursors check
/// their queries.
pub(crate) async fn check(
    registry: &Arc<Registry>,
    name: Option<&str>,
    publication: ErasedPublication,
    params: RawParams,
) -> Result<(), Flaw> {
    let nobody = Nobody::subscribes(registry, name, params);
    let context = PublicationContext { subscription: nobody.subscription.clone() };
    let run = catch_panic(async move { publication(context).await });
    let returned = tokio::time::timeout(RETURN_TIMEOUT, run).await;
    let unchecked = |why: String| Flaw::Unchecked(why);
    let cursors = returned
        .map_err(|_| unchecked(format!("did not return within {} s", RETURN_TIMEOUT.as_secs())))?
        .map_err(|error| unchecked(format!("returned an error: {error}")))?
        .ok_or_else(|| unchecked("returns no cursors, but publishes by hand".to_owned()))?;
    check_collections(&cursors).map_err(Flaw::Wrong)?;
    for AnyCursor { source, query, .. } in &cursors {
        source.check(query).await.map_err(Flaw::Wrong)?;
    }
    Ok(())
}

/// Checks all publications that take no parameters.
pub(crate) async fn check_all(registry: &Arc<Registry>) -> Result<Checked, Error> {
    let mut publications: Vec<(String, Option<ErasedPublication>)> = registry
        .publications
        .read()
        .iter()
        .map(|(name, described)| {
            let takes_none = described.signature.params.as_ref().is_some_and(Vec::is_empty);
            (name.clone(), takes_none.then(|| Arc::clone(&described.handler)))
        })
        .collect();
    publications.sort_by(|(one, _), (other, _)| one.cmp(other));
    let universal = registry.universal(0).into_iter().enumerate();
    let universal = universal
        .map(|(index, publication)| (format!("universal publication {}", index + 1), publication));
    let mut checked = Checked::default();
    let mut wrong = Vec::new();
    let mut note = |name: String, outcome: Result<(), Flaw>| match outcome {
        Ok(()) => checked.publications.push(name),
        Err(Flaw::Unchecked(why)) => checked.unchecked.push((name, why)),
        Err(Flaw::Wrong(error)) => wrong.push(format!("{name}: {error}")),
    };
    for (name, publication) in publications {
        let outcome = match publication {
            Some(publication) => {
                check(registry, Some(&name), publication, RawParams::default()).await
            }
            None => Err(Flaw::Unchecked("takes parameters".to_owned())),
        };
        note(name, outcome);
    }
    for (name, publication) in universal {
        note(name, check(registry, None, publication, RawParams::default()).await);
    }
    if wrong.is_empty() { Ok(checked) } else { Err(Error::internal(wrong.join("\n"))) }
}
