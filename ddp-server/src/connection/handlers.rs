//! The handlers that run for one connection.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use ddp_core::ejson::RawParams;
use ddp_core::merge_box::Source;
use ddp_core::session::CallKey;
use ddp_core::{DdpError, Snapshot, SubscriptionKey};
use futures::FutureExt;
use futures::channel::oneshot;
use tokio::task::AbortHandle;
use tracing::Span;

use super::mail::Mail;
use super::results::{Presence, Room};
use super::waits;
use crate::error::Error;
use crate::extract::invocation::Host;
use crate::extract::subscription::Request;
use crate::extract::{Connection, Invocation, Subscription, UserId};
use crate::handler::callbacks::panic_text;
use crate::handler::method::{ErasedMethod, MethodContext};
use crate::handler::publication::{ErasedPublication, PublicationContext};
use crate::handler::span;
use crate::live_query::{AnyCursor, Observation};
use crate::log::{Count, brief};
use crate::rate_limit;
use crate::registry::Registry;
use crate::transport::{Address, Share};

/// A connection's running publications, and what its methods need.
///
/// Handlers answer through the connection's mailbox. A publication is dropped with its
/// subscription. A method runs to its end even if the client leaves, as in Meteor.
pub(crate) struct Running {
    registry: Arc<Registry>,
    connection: Connection,
    address: Option<Address>,
    user_id: Option<UserId>,
    publications: HashMap<SubscriptionKey, Publication>,
    /// Those that are to run again, in the order in which they began.
    to_start: VecDeque<Start>,
    /// The observations of publications that are being rerun. They are kept until the rerun is
    /// over, so that live queries that are observed again need not be read again.
    retired: Vec<Observation>,
    /// Methods waiting for the client to learn of a new user.
    rerun_done: Vec<oneshot::Sender<()>>,
    /// The memory of results that the session has, until they count among what it sends.
    rooms: Vec<Share>,
    client: Presence,
}

/// A publication that is to run again.
struct Start {
    key: SubscriptionKey,
    publication: ErasedPublication,
    request: Arc<Request>,
}

struct Publication {
    publication: ErasedPublication,
    subscription: Subscription,
    /// While it runs: a handle keeps the memory of a task that has ended.
    task: Option<AbortHandle>,
    observations: Box<[Observation]>,
}

impl Drop for Publication {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.observations = Box::default();
        self.subscription.stopped();
    }
}

impl Running {
    pub(crate) fn new(
        registry: Arc<Registry>,
        connection: Connection,
        address: Option<Address>,
    ) -> Self {
        let (user_id, publications, to_start, retired, rerun_done) = Default::default();
        let (rooms, client) = Default::default();
        Self {
            registry,
            connection,
            address,
            user_id,
            publications,
            to_start,
            retired,
            rerun_done,
            rooms,
            client,
        }
    }

    fn host(&self) -> Arc<dyn Host> {
        Arc::clone(&self.registry) as _
    }

    /// Keeps the memory of a result that the session has.
    pub(crate) fn keep(&mut self, room: Share) {
        self.rooms.push(room);
    }

    /// What the session had counts among what it sends.
    pub(crate) fn all_is_sent(&mut self) {
        self.rooms.clear();
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// Runs a publication.
    ///
    /// # Errors
    /// Why it cannot run.
    pub(crate) fn subscribe(
        &mut self,
        key: SubscriptionKey,
        name: String,
        params: RawParams,
        cx: &mut Context<'_>,
    ) -> Result<(), DdpError> {
        let publication = self.registry.publication(&name);
        let publication = publication.ok_or_else(|| DdpError::subscription_not_found(&name))?;
        self.limit(rate_limit::Kind::Subscription, &name)?;
        let request = Request { name: Some(name), params };
        self.publish(key, publication, Arc::new(request), cx);
        Ok(())
    }

    pub(crate) fn subscribe_universal(
        &mut self,
        key: SubscriptionKey,
        publication: ErasedPublication,
        cx: &mut Context<'_>,
    ) {
        let request = Request { name: None, params: RawParams::default() };
        self.publish(key, publication, Arc::new(request), cx);
    }

    /// Stops publications. Each of them is to be [started](Self::start_next) again under another key.
    pub(crate) fn rerun(&mut self, renamed: BTreeMap<SubscriptionKey, SubscriptionKey>) {
        // The user may change again before all of them have started.
        let not_started = std::mem::take(&mut self.to_start);
        let mut not_started: HashMap<_, _> =
            not_started.into_iter().map(|start| (start.key, start)).collect();
        let mut to_start = Vec::with_capacity(renamed.len());
        for (old, key) in renamed {
            if let Some(mut running) = self.publications.remove(&old) {
                self.retired.extend(std::mem::take(&mut running.observations));
                let request = Arc::clone(running.subscription.request());
                to_start.push(Start {
                    key,
                    publication: Arc::clone(&running.publication),
                    request,
                });
            } else if let Some(start) = not_started.remove(&old) {
                to_start.push(Start { key, ..start });
            } else {
                // Cannot happen, because the session knows only running subscriptions. If it does,
                // nothing should wait for it.
                self.connection.mailbox().push(Mail::SubscriptionReturned(key));
            }
        }
        to_start.sort_by_key(|start| start.key);
        self.to_start = to_start.into();
    }

    /// Whether publications are to be started.
    pub(crate) fn has_to_start(&self) -> bool {
        !self.to_start.is_empty()
    }

    /// Starts the next publication that is to run again. False if there is none.
    pub(crate) fn start_next(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Start { key, publication, request }) = self.to_start.pop_front() else {
            return false;
        };
        self.publish(key, publication, request, cx);
        true
    }

    fn publish(
        &mut self,
        key: SubscriptionKey,
        publication: ErasedPublication,
        request: Arc<Request>,
        cx: &mut Context<'_>,
    ) {
        let (host, connection) = (self.host(), self.connection.clone());
        let user_id = self.user_id.clone();
        let subscription = Subscription::new(host, connection, key, user_id, request);
        let running = Publication {
            publication: Arc::clone(&publication),
            subscription: subscription.clone(),
            task: None,
            observations: Box::default(),
        };
        // Registered before it starts, so that its calls can find the subscription.
        self.publications.insert(key, running);
        let span = span::publication(&subscription);
        let context = PublicationContext { subscription };
        let task = start(span, publish(publication, context), || (), cx);
        if let Some(publication) = self.publications.get_mut(&key) {
            publication.task = task;
        }
    }

    pub(crate) fn observing(&mut self, key: SubscriptionKey, observations: Box<[Observation]>) {
        // If the subscription has ended in the meantime, the observations end here.
        if let Some(publication) = self.publications.get_mut(&key) {
            publication.observations = observations;
        }
        self.returned(key);
    }

    /// A publication's function has returned.
    pub(crate) fn returned(&mut self, key: SubscriptionKey) {
        if let Some(publication) = self.publications.get_mut(&key) {
            publication.task = None;
        }
    }

    pub(crate) fn unsubscribe(&mut self, key: SubscriptionKey) {
        if self.publications.remove(&key).is_none() {
            self.to_start.retain(|start| start.key != key);
        }
    }

    /// From now on handlers run for this user. `done` completes when the client has learned of it.
    pub(crate) fn set_user(&mut self, user_id: Option<UserId>, done: oneshot::Sender<()>) {
        self.user_id = user_id;
        self.rerun_done.push(done);
    }

    pub(crate) fn rerun_done(&mut self) {
        self.retired.clear();
        for done in self.rerun_done.drain(..) {
            // If the method does not wait, it need not know.
            let _ = done.send(());
        }
    }

    pub(crate) fn call(
        &mut self,
        key: CallKey,
        name: String,
        params: RawParams,
        random_seed: Option<&str>,
        cx: &mut Context<'_>,
    ) {
        let mailbox = self.connection.mailbox();
        let Some(method) = self.registry.method(&name) else {
            mailbox.push(Mail::Result(key, Err(Box::new(DdpError::method_not_found(&name)))));
            return mailbox.push(Mail::Updated(key));
        };
        if let Err(error) = self.limit(rate_limit::Kind::Method, &name) {
            return mailbox.push(Mail::Finished(key, Err(Box::new(error))));
        }
        let (host, connection) = (self.host(), self.connection.clone());
        let user_id = self.user_id.clone();
        let invocation = Invocation::by_client(host, connection.clone(), key, user_id, random_seed);
        let (memory, address) = (&self.registry.results, self.address.as_ref());
        let (results, bytes) = (&method.results, params.as_text().len());
        let room = Room::new(results, memory, address, bytes, &mut self.client);
        let context = MethodContext { name: Arc::clone(&method.name), params, invocation };
        let span = span::method(&context);
        let run = invoke(Arc::clone(&method.handler), context, connection, key, room);
        // Its end arrives as mail, so nothing waits for the task.
        let counts = || self.registry.open.begin_method();
        let _ = start(span, run, counts, cx);
    }

    /// Asks the rate limiter, which runs conditions of the application.
    fn limit(&self, kind: rate_limit::Kind, name: &str) -> Result<(), DdpError> {
        let limiter = &self.registry.rate_limiter;
        if !limiter.has_rules() {
            return Ok(());
        }
        let request = rate_limit::Request {
            user_id: self.user_id.as_deref(),
            client_address: self.connection.client_address(),
            kind,
            name,
            connection_id: self.connection.id(),
        };
        let check = AssertUnwindSafe(|| limiter.check(Instant::now(), &request));
        catch_unwind(check).unwrap_or_else(|panic| {
            let (session, error) = (request.connection_id, panic_text(&*panic));
            let count: Count = |name, error, count| {
                tracing::error!(name, error, count, "conditions of rate limits panicked");
            };
            if self.registry.log.admits("a condition panicked", name, error, count) {
                let error = &*brief(error);
                tracing::error!(
                    ?kind,
                    name,
                    session,
                    error,
                    "a condition of a rate limit panicked"
                );
            }
            Err(DdpError::internal())
        })
    }
}

/// Polls a handler once right here, where many finish, and moves it to its own task if it has to
/// wait. What `keeps` returns is then kept until the handler ends.
fn start<K: Send + 'static>(
    span: Span,
    handler: impl Future<Output = ()> + Send + 'static,
    keeps: impl FnOnce() -> K,
    cx: &mut Context<'_>,
) -> Option<AbortHandle> {
    let mut handler = span::within(span, handler);
    match handler.as_mut().poll(cx) {
        Poll::Ready(()) => None,
        Poll::Pending => {
            let kept = keeps();
            let task = tokio::spawn(async move {
                let _kept = kept;
                handler.await;
            });
            Some(task.abort_handle())
        }
    }
}

async fn invoke(
    method: ErasedMethod,
    context: MethodContext,
    connection: Connection,
    call: CallKey,
    mut room: Room,
) {
    let (name, invocation) = (Arc::clone(&context.name), context.invocation.clone());
    let (log, mut is_counted) = (invocation.host().log(), false);
    let tell = |waits_for| {
        let is_first = !std::mem::replace(&mut is_counted, true);
        connection.mailbox().counters().calls_waited.add(is_first.into());
        waits::call(log, &connection, &name, waits_for);
    };
    let Ok(asked) = room.wait(tell).await else { return };
    let run = async { method(context).await };
    let result = catch_panic(run).await.map_err(|error| {
        Box::new(redact(error, |error| {
            let (method, session) = (&*name, connection.id());
            let count: Count = |method, error, count| {
                tracing::error!(method, error, count, "exceptions while invoking a method");
            };
            if log.admits("exception while invoking a method", method, error, count) {
                let error = &*brief(error);
                tracing::error!(method, session, error, "exception while invoking a method");
            }
        }))
    });
    let there = room.take(result.as_ref().ok().map(Option::as_deref));
    drop(asked);
    let is_updated = invocation.fence().arm();
    let mail = if is_updated { Mail::Finished(call, result) } else { Mail::Result(call, result) };
    match there {
        None => connection.mailbox().push(mail),
        // Both are taken together: it counts as the session's when that has taken the result.
        Some(there) => connection.mailbox().push_all([mail, Mail::Room(Box::new(there))]),
    }
}

async fn publish(publication: ErasedPublication, context: PublicationContext) {
    let subscription = context.subscription.clone();
    let run = async {
        match publication(context).await? {
            Some(cursors) => Ok(Some(observe(&subscription, &cursors).await?)),
            None => Ok(None),
        }
    };
    let (key, mailbox) = (subscription.key(), subscription.connection().mailbox());
    let mail = match catch_panic(run).await {
        Ok(Some(observations)) => {
            mailbox.push(Mail::Observing(key, observations));
            Mail::Ready(key)
        }
        Ok(None) => Mail::SubscriptionReturned(key),
        Err(error) => {
            let error = redact(error, |error| subscription.log_exception(error));
            Mail::Stop(key, Some(Box::new(error)))
        }
    };
    mailbox.push(mail);
}

/// Refuses several cursors of a collection.
pub(super) fn check_collections(cursors: &[AnyCursor]) -> Result<(), Error> {
    for (index, cursor) in cursors.iter().enumerate() {
        let collection = &cursor.query.collection;
        if cursors[..index].iter().any(|other| other.query.collection == *collection) {
            return Err(Error::internal(format!(
                "publish function returned multiple cursors for collection {collection}"
            )));
        }
    }
    Ok(())
}

/// Observes all cursors of a publication, which must be of different collections.
async fn observe(
    subscription: &Subscription,
    cursors: &[AnyCursor],
) -> Result<Box<[Observation]>, Error> {
    check_collections(cursors)?;
    let observing = cursors.iter().map(|cursor| show(subscription, cursor));
    let observations = futures::future::try_join_all(observing).await?;
    Ok(observations.into_iter().flatten().collect())
}

/// Sends a cursor's documents, and observes it unless it is a `once` cursor.
async fn show(
    subscription: &Subscription,
    cursor: &AnyCursor,
) -> Result<Option<Observation>, Error> {
    let AnyCursor { source, query, is_once } = cursor;
    if !is_once {
        return Ok(Some(source.observe(query, subscription.observer()).await?));
    }
    let documents = source.fetch_once(query).await?.into_iter().collect();
    if let Some(delta) = Snapshot::default().replace(&query.collection, documents) {
        let mail = Mail::Delta(subscription.key(), Source::Cursor, delta);
        subscription.connection().mailbox().push(mail);
    }
    Ok(None)
}

/// What the client sees of an error. Logging it runs the application's code, which may also panic.
fn redact(error: Error, log: impl FnOnce(&str)) -> DdpError {
    let redact = AssertUnwindSafe(|| error.into_ddp(log));
    catch_unwind(redact).unwrap_or_else(|_| DdpError::internal())
}

/// Turns a handler's panic into an error, so that it does no further harm.
pub(super) async fn catch_panic<T>(
    run: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| {
        Err(Error::internal(format!("handler panicked: {}", panic_text(&*panic))))
    })
}
