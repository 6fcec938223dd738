//! A test's client.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use ddp_core::DdpError;
use ddp_core::ejson::{self, Ejson, Object};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::closed::Closed;
use super::socket::{Outgoing, send};
use super::state::{Call, Shared, Standing};
use super::subscription::Subscription;
use crate::collection::Collection;

/// A client connected to a server in the same process.
///
/// A task of its own reads every message and answers pings, so documents are up to date whenever you
/// look. All functions take `&self`: calls and subscriptions may run concurrently, and are sent in
/// the order in which they are first polled.
///
/// Dropping it disconnects without a close, like a network failure; [`close`](Self::close) closes
/// properly.
///
/// ```
/// use ddp_server::extract::Params;
/// use ddp_server::testing::Client;
/// use ddp_server::{Error, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let double = async |Params((number,)): Params<(i64,)>| Ok::<_, Error>(2 * number);
/// let server = Server::builder().method("double", double).build();
/// let client = Client::connect(&server).await;
/// assert_eq!(client.call::<i64>("double", (21,)).await?, 42);
/// client.close().await;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// All functions panic, like assertions, if the server breaks the protocol or does not answer in
/// time. So does dropping a client that has not yet reported such a breach.
pub struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) paused: watch::Sender<bool>,
    pub(super) session: String,
}

impl Client {
    /// The session's id, which is [`Connection::id`](crate::extract::Connection::id) at the server.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Calls a method, and waits for its `result` and for `updated`: what it wrote has come to this
    /// client when this returns. The parameters are a tuple, an array, or `()` for none.
    ///
    /// # Errors
    /// The method's error as clients see it; an internal one arrives as [`DdpError::internal`].
    ///
    /// # Panics
    /// If the method does not end in time, if the connection ends first, or if the result does not
    /// have the form of `R`.
    #[track_caller]
    pub fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> impl Future<Output = Result<R, DdpError>> {
        let caller = Location::caller();
        async move {
            let params = encode(&params, method, caller);
            let what = format!("the end of method {method:?}");
            let id = self.shared.note(|state| {
                let id = state.next_id();
                state.calls.insert(id.clone(), Call::default());
                id
            });
            let message = Ejson::object([
                ("msg", "method".into()),
                ("id", id.as_str().into()),
                ("method", method.into()),
                ("params", params),
            ]);
            send(&self.shared, &self.outgoing, &message, &what, caller).await;
            let ended = || {
                let mut state = self.shared.look();
                let call = state.calls.get(&id)?;
                if call.result.is_none() || !call.is_updated {
                    return None;
                }
                state.calls.remove(&id)?.result
            };
            let result = self.shared.wait(&what, caller, ended).await?;
            let text = result.to_text();
            Ok(ejson::from_value(result).unwrap_or_else(|error| {
                let expected = std::any::type_name::<R>();
                panic!(
                    "{caller}: the result of method {method:?} is no {expected}: {error}: {text}"
                )
            }))
        }
    }

    /// Subscribes to a publication, and waits until it is ready: its documents have come when this
    /// returns. The parameters are a tuple, an array, or `()` for none.
    ///
    /// A publication that stops itself without an error gives a subscription that has
    /// [stopped](Subscription::stopped).
    ///
    /// # Errors
    /// The publication's error as clients see it, or `404` if there is no publication of this name.
    ///
    /// # Panics
    /// If it does not become ready in time, or if the connection ends first.
    #[track_caller]
    pub fn subscribe(
        &self,
        publication: &str,
        params: impl Serialize,
    ) -> impl Future<Output = Result<Subscription, DdpError>> {
        let caller = Location::caller();
        async move {
            let params = encode(&params, publication, caller);
            let what = format!("`ready` of publication {publication:?}");
            let id = self.shared.note(|state| {
                let id = state.next_id();
                state.subscriptions.insert(id.clone(), Standing::Pending);
                id
            });
            let message = Ejson::object([
                ("msg", "sub".into()),
                ("id", id.as_str().into()),
                ("name", publication.into()),
                ("params", params),
            ]);
            send(&self.shared, &self.outgoing, &message, &what, caller).await;
            let began = || match self.shared.look().subscriptions.get(&id) {
                None | Some(Standing::Pending) => None,
                Some(Standing::Ready | Standing::Stopped(None)) => Some(Ok(())),
                Some(Standing::Stopped(Some(error))) => Some(Err(error.clone())),
            };
            self.shared.wait(&what, caller, began).await?;
            let (shared, outgoing) = (Arc::clone(&self.shared), self.outgoing.downgrade());
            Ok(Subscription { id, name: publication.to_owned(), shared, outgoing })
        }
    }

    /// The documents of a collection that the client has now, in the order in which they came, or in
    /// their places if the publication gives them places. Each has its `_id` among its fields.
    ///
    /// # Panics
    /// If one does not have the form of `T`.
    #[must_use]
    #[track_caller]
    pub fn documents<T: DeserializeOwned>(&self, collection: &Collection<T>) -> Vec<T> {
        let caller = Location::caller();
        let documents = self.raw_documents(collection.name()).into_iter();
        documents.map(|(id, document)| decode(collection.name(), &id, document, caller)).collect()
    }

    /// The same documents by their ids. Ids that are not strings become text, such as `"7"`.
    ///
    /// # Panics
    /// If one does not have the form of `T`.
    #[must_use]
    #[track_caller]
    pub fn documents_by_id<T: DeserializeOwned>(
        &self,
        collection: &Collection<T>,
    ) -> BTreeMap<String, T> {
        let caller = Location::caller();
        let documents = self.raw_documents(collection.name()).into_iter();
        documents
            .map(|(id, document)| {
                let document = decode(collection.name(), &id, document, caller);
                (id, document)
            })
            .collect()
    }

    fn raw_documents(&self, collection: &str) -> Vec<(String, Object)> {
        let mut state = self.shared.look();
        state.changes_seen = state.changes;
        state.minimongo.documents(collection)
    }

    /// Waits until the condition holds. It is checked now and after each message.
    ///
    /// # Panics
    /// If it does not hold in time, or the connection ends first.
    #[track_caller]
    pub fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let holds = || condition(self).then_some(());
            self.shared.wait("the condition to hold", caller, holds).await;
        }
    }

    /// Waits for a message about a document that has not been looked at: one that has come since the
    /// last call of this function or of [`documents`](Self::documents), whether before or after this
    /// call.
    ///
    /// # Panics
    /// If none comes in time, or the connection ends first.
    #[track_caller]
    pub fn changed(&self) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let is_changed = || {
                let mut state = self.shared.look();
                let is_new = state.changes > state.changes_seen;
                state.changes_seen = state.changes;
                is_new.then_some(())
            };
            self.shared.wait("a change of documents", caller, is_changed).await;
        }
    }

    /// The texts of the server's messages so far, heartbeats included, the oldest first. Only the
    /// latest 10,000 messages of both sides are kept.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        self.shared.look_anyway().received().map(str::to_owned).collect()
    }

    /// Stops reading, like a client on a bad network: the server's messages fill the buffer between
    /// them and then wait at the server.
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Reads on.
    pub fn resume(&self) {
        self.set_paused(false);
    }

    fn set_paused(&self, is_paused: bool) {
        self.shared.note(|state| state.is_paused = is_paused);
        self.paused.send_replace(is_paused);
    }

    /// Waits until the server has ended the connection and run its callbacks. Returns how it was
    /// closed.
    ///
    /// # Panics
    /// If it does not end in time.
    #[track_caller]
    pub fn closed(&self) -> impl Future<Output = Closed> {
        let caller = Location::caller();
        async move {
            let closed = || self.shared.look().over();
            self.shared.wait("the end of the connection", caller, closed).await
        }
    }

    /// Closes the connection and waits until the server has stopped the subscriptions and run their
    /// callbacks and the connection's.
    ///
    /// # Panics
    /// If that does not happen in time.
    #[track_caller]
    pub fn close(self) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            self.resume();
            // If it is not taken, the connection has already ended.
            let _ = self.outgoing.send(Outgoing::Close).await;
            let is_over = || self.shared.look().is_over.then_some(());
            self.shared.wait("the end of the connection", caller, is_over).await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let failure = self.shared.look_anyway().failure().map(str::to_owned);
        if let Some(failure) = failure {
            panic!("{failure}");
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Parameters as they travel.
fn encode(params: &impl Serialize, name: &str, caller: &Location<'_>) -> Ejson {
    match ejson::to_value(params) {
        Ok(params @ Ejson::Array(_)) => params,
        Ok(Ejson::Null) => Ejson::Array(Vec::new()),
        Ok(other) => {
            panic!("{caller}: parameters of {name:?} must be a tuple, such as (a, b), not {other}")
        }
        Err(error) => panic!("{caller}: parameters of {name:?} cannot be EJSON: {error}"),
    }
}

fn decode<T: DeserializeOwned>(
    collection: &str,
    id: &str,
    document: Object,
    caller: &Location<'_>,
) -> T {
    let document = Ejson::Object(document);
    let text = document.to_text();
    ejson::from_value(document).unwrap_or_else(|error| {
        let expected = std::any::type_name::<T>();
        panic!("{caller}: document {id:?} of {collection:?} is no {expected}: {error}: {text}")
    })
}
