//! The running subscription, for publications that manage their documents by hand.

use std::fmt;
use std::sync::Arc;

use ddp_core::SubscriptionKey;
use ddp_core::ejson::{self, Ejson, RawParams};
use ddp_core::merge_box::{PublicationStrategy, Source};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::by_hand::{ByHand, Change, Fields, forgotten, forgotten_place};
use super::connection::Connection;
use super::invocation::{Host, Invocation, invoke};
use super::user_id::UserId;
use crate::collection::Collection;
use crate::connection::mail::Mail;
use crate::error::Error;
use crate::handler::callbacks::Callbacks;
use crate::live_query::Observer;
use crate::live_query::sink::Sink;
use crate::log::{Count, brief};

/// One client's subscription, Meteor's `this` in a publish function. Cheap to clone.
///
/// A publication that returns no cursor adds, changes and removes documents itself and calls
/// [`ready`](Self::ready) when the initial ones are there. Its function may run for as long as the
/// subscription lives: `unsub`, disconnection and a change of the user drop it at its next `await`.
/// When the function returns, the documents stay until the subscription ends; calls on an ended
/// subscription have no effect.
///
/// ```
/// use ddp_server::extract::Subscription;
/// use ddp_server::{Collection, Error, Server};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Load {
///     percent: u8,
/// }
/// const LOAD: Collection<Load> = Collection::new("load");
///
/// async fn load(subscription: Subscription) -> Result<(), Error> {
///     subscription.added(&LOAD, "cpu", &Load { percent: 12 })?;
///     subscription.ready();
///     subscription.changed(&LOAD, "cpu", [("percent", Some(34))])
/// }
///
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// use ddp_server::testing::Client;
///
/// let server = Server::builder().publish("load", load).build();
/// let client = Client::connect(&server).await;
/// client.subscribe("load", ()).await?;
/// client.wait_until(|client| client.documents(&LOAD)[0].percent == 34).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Subscription(Arc<Inner>);

/// What is subscribed to. It outlives a run of the publication, to be run again for another user.
pub(crate) struct Request {
    /// `None` for a universal publication.
    pub(crate) name: Option<String>,
    pub(crate) params: RawParams,
}

struct Inner {
    host: Arc<dyn Host>,
    connection: Connection,
    key: SubscriptionKey,
    user_id: Option<UserId>,
    request: Arc<Request>,
    documents: Mutex<ByHand>,
    on_stop: Callbacks,
}

impl Subscription {
    pub(crate) fn new(
        host: Arc<dyn Host>,
        connection: Connection,
        key: SubscriptionKey,
        user_id: Option<UserId>,
        request: Arc<Request>,
    ) -> Self {
        let (documents, on_stop) = Default::default();
        Self(Arc::new(Inner { host, connection, key, user_id, request, documents, on_stop }))
    }

    /// Publishes a document. One that is there already is replaced.
    ///
    /// # Errors
    /// A document that does not serialize to a map.
    pub fn added<T: Serialize>(
        &self,
        collection: &Collection<T>,
        id: &str,
        document: &T,
    ) -> Result<(), Error> {
        let fields = fields_of(document)?;
        self.update(|documents| {
            if self.forgets(collection) {
                return forgotten(collection.name(), id, None, Some(fields));
            }
            documents.step(collection.name(), id, |_| Some(fields))
        });
        Ok(())
    }

    /// Changes fields of a document. A field of value [`None`] in `fields` is cleared, and `_id` is
    /// ignored. Does nothing if the document is not there.
    ///
    /// # Errors
    /// A field that does not serialize.
    pub fn changed<'a, T, V: Serialize>(
        &self,
        collection: &Collection<T>,
        id: &str,
        fields: impl IntoIterator<Item = (&'a str, Option<V>)>,
    ) -> Result<(), Error> {
        let (mut set, mut cleared) = (Fields::new(), Fields::new());
        for (name, value) in fields.into_iter().filter(|(name, _)| *name != "_id") {
            match value {
                Some(value) => set.push((name.into(), ejson::to_text(&value)?)),
                None => cleared.push((name.into(), "null".to_owned())),
            }
        }
        self.update(|documents| {
            if self.forgets(collection) {
                return forgotten(collection.name(), id, Some(cleared), Some(set));
            }
            documents.step(collection.name(), id, |document| {
                let mut fields: Fields = document?
                    .iter()
                    .filter(|(name, _)| {
                        !set.iter().chain(&cleared).any(|(other, _)| other == *name)
                    })
                    .map(|(name, text)| (name.clone(), text.to_owned()))
                    .collect();
                fields.extend(set);
                Some(fields)
            })
        });
        Ok(())
    }

    /// Removes a document. Does nothing if it is not there.
    pub fn removed<T>(&self, collection: &Collection<T>, id: &str) {
        self.update(|documents| {
            if self.forgets(collection) {
                return forgotten(collection.name(), id, Some(Fields::new()), None);
            }
            documents.step(collection.name(), id, |_| None)
        });
    }

    /// Publishes a document in its place before the document `before`, or at the end: the message
    /// `addedBefore` of the DDP specification. One that is there already is replaced and moved.
    ///
    /// Meteor's own client has no use for the order of documents and ignores the message; this is
    /// for clients that keep it. The order is not kept across clients that lag, so a collection
    /// whose documents have places is sent step by step, however slow the client: see
    /// [`ServerConfig::outbox_messages_max`](crate::ServerConfig::outbox_messages_max).
    ///
    /// # Errors
    /// A document that does not serialize to a map.
    pub fn added_before<T: Serialize>(
        &self,
        collection: &Collection<T>,
        id: &str,
        document: &T,
        before: Option<&str>,
    ) -> Result<(), Error> {
        let fields = fields_of(document)?;
        self.place(collection, id, Some(fields), before);
        Ok(())
    }

    /// Moves a document to the place before the document `before`, or to the end: the message
    /// `movedBefore`. Does nothing if the document is not there.
    pub fn moved_before<T>(&self, collection: &Collection<T>, id: &str, before: Option<&str>) {
        self.place(collection, id, None, before);
    }

    fn place<T>(
        &self,
        collection: &Collection<T>,
        id: &str,
        fields: Option<Fields>,
        before: Option<&str>,
    ) {
        self.update(|documents| {
            if self.forgets(collection) {
                return forgotten_place(collection.name(), id, fields, before);
            }
            documents.place(collection.name(), id, fields, before)
        });
    }

    /// Says that all initial documents are there. For a universal publication the client gets no
    /// message.
    pub fn ready(&self) {
        self.push(Mail::Ready(self.0.key));
    }

    /// Ends the subscription; the client's `onStop` is called without an error.
    pub fn stop(&self) {
        self.push(Mail::Stop(self.0.key, None));
    }

    /// Ends the subscription with an error.
    pub fn error(&self, error: Error) {
        let error = error.into_ddp(|error| self.log_exception(error));
        self.push(Mail::Stop(self.0.key, Some(Box::new(error))));
    }

    /// Lets the client's next messages begin before this publication is ready.
    pub fn unblock(&self) {
        self.push(Mail::SubscriptionUnblocked(self.0.key));
    }

    /// Calls a function when the subscription ends for any reason: Meteor's `onStop`. If it has
    /// already ended, the function runs at once. It runs on the connection's task and must not block.
    pub fn on_stop(&self, callback: impl FnOnce() + Send + 'static) {
        self.0.on_stop.add(callback);
    }

    /// The user for whom the publication runs. When the user changes, it runs again.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        self.0.user_id.as_ref()
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Calls a method for the same user and connection.
    ///
    /// # Errors
    /// Like those of [`Invocation::call`].
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<R, Error> {
        let (connection, user_id) = (self.0.connection.clone(), self.0.user_id.clone());
        let invocation = Invocation::by_publication(Arc::clone(&self.0.host), connection, user_id);
        invoke(&self.0.host, method, params, invocation).await
    }

    pub(crate) fn host(&self) -> &Arc<dyn Host> {
        &self.0.host
    }

    pub(crate) fn request(&self) -> &Arc<Request> {
        &self.0.request
    }

    /// Logs an error that the client sees only as an internal one.
    pub(crate) fn log_exception(&self, error: &str) {
        let (publication, session) = (self.0.request.log_name(), self.0.connection.id());
        let count: Count = |publication, error, count| {
            tracing::error!(publication, error, count, "exceptions in a publication");
        };
        if self.0.host.log().admits("exception in a publication", publication, error, count) {
            let error = &*brief(error);
            tracing::error!(publication, session, error, "exception in a publication");
        }
    }

    pub(crate) fn key(&self) -> SubscriptionKey {
        self.0.key
    }

    /// Takes the documents of a cursor to the session.
    pub(crate) fn observer(&self) -> Observer {
        let sink: Arc<dyn Sink> = Arc::clone(self.0.connection.mailbox()) as _;
        Observer::new(sink, self.0.key.into())
    }

    /// The subscription has ended.
    pub(crate) fn stopped(&self) {
        self.0.on_stop.call("on_stop");
        *self.0.documents.lock() = ByHand::default();
    }

    fn push(&self, mail: Mail) {
        self.0.connection.mailbox().push(mail);
    }

    /// Changes the documents and mails what that means, under the lock: steps must reach the mailbox
    /// in their order.
    fn update(&self, change: impl FnOnce(&mut ByHand) -> Option<Change>) {
        let mut documents = self.0.documents.lock();
        if self.0.on_stop.is_over() {
            return;
        }
        let key = self.0.key;
        let Some(change) = change(&mut documents) else { return };
        self.push(match change {
            Change::Step(delta) => Mail::Delta(key, Source::ByHand, delta),
            Change::Exact(delta) => Mail::Exact(key, delta),
            Change::Placed(delta, placement) => Mail::Placed(key, delta, placement),
            Change::Direct(direct) => Mail::Direct(key, direct),
        });
    }

    fn forgets<T>(&self, collection: &Collection<T>) -> bool {
        self.0.host.strategy(collection.name()) == PublicationStrategy::NoMergeNoHistory
    }
}

/// A document's encoded fields, without `_id`.
fn fields_of(document: &impl Serialize) -> Result<Fields, Error> {
    match ejson::to_value(document)? {
        Ejson::Object(fields) => Ok(fields
            .iter()
            .filter(|(name, _)| name.as_str() != "_id")
            .map(|(name, value)| (name.as_str().into(), value.to_text()))
            .collect()),
        other => Err(Error::internal(format!("a document must be a map, not {other}"))),
    }
}

impl Request {
    /// The name as the log shows it.
    pub(crate) fn log_name(&self) -> &str {
        self.name.as_deref().unwrap_or("(universal)")
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Request").field(&self.name).field(&self.params).finish()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscription").field(&self.0.key).finish()
    }
}
