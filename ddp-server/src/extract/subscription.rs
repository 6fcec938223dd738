//! The running subscription, for publications that manage their documents by hand.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use ddp_core::ejson::{self, Ejson};
use ddp_core::merge_box::Source;
use ddp_core::{CollectionName, Document, DocumentId, FieldName, Snapshot, SubscriptionKey};
use parking_lot::Mutex;
use serde::Serialize;

use super::{Connection, FromContext};
use crate::collection::Collection;
use crate::error::Error;
use crate::live_query::Observer;
use crate::mailbox::Mail;
use crate::publication::PublicationContext;

/// One client's subscription, Meteor's `this` in a publish function. Cheap to clone.
///
/// A publication that returns no cursor adds, changes and removes documents by itself and says when
/// it is [`ready`](Self::ready). Its function may run for as long as the subscription lives:
/// `unsub` and disconnection drop it at its next `await`. The documents stay when it returns, until
/// the subscription ends.
#[derive(Clone)]
pub struct Subscription(Arc<Inner>);

struct Inner {
    connection: Connection,
    key: SubscriptionKey,
    documents: Mutex<HashMap<CollectionName, Snapshot>>,
}

impl Subscription {
    pub(crate) fn new(connection: Connection, key: SubscriptionKey) -> Self {
        Self(Arc::new(Inner { connection, key, documents: Mutex::default() }))
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
        self.step(collection.name(), id, |_| Some(fields));
        Ok(())
    }

    /// Changes fields of a document. A field of value [`None`] in `fields` is cleared. Does nothing
    /// if the document is not there.
    ///
    /// # Errors
    /// A field that does not serialize.
    pub fn changed<'a, T, V: Serialize>(
        &self,
        collection: &Collection<T>,
        id: &str,
        fields: impl IntoIterator<Item = (&'a str, Option<V>)>,
    ) -> Result<(), Error> {
        let mut texts = Vec::new();
        for (name, value) in fields {
            let text = value.map(|value| ejson::to_text(&value)).transpose()?;
            texts.push((FieldName::from(name), text));
        }
        self.step(collection.name(), id, |document| {
            let document = document?;
            let kept = document.iter().map(|(name, text)| (name.clone(), text.to_owned()));
            let mut fields: Vec<_> =
                kept.filter(|(name, _)| !texts.iter().any(|(other, _)| other == name)).collect();
            fields.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text?))));
            Some(fields)
        });
        Ok(())
    }

    /// Takes a document away. Does nothing if it is not there.
    pub fn removed<T>(&self, collection: &Collection<T>, id: &str) {
        self.step(collection.name(), id, |_| None);
    }

    /// Says that all initial documents are there.
    pub fn ready(&self) {
        self.push(Mail::Ready(self.0.key));
    }

    /// Ends the subscription; the client's `onStop` is called without an error.
    pub fn stop(&self) {
        self.push(Mail::Stop(self.0.key, None));
    }

    /// Ends the subscription with an error.
    pub fn error(&self, error: Error) {
        self.push(Mail::Stop(self.0.key, Some(error.into_ddp("from a subscription"))));
    }

    /// Lets the client's next messages begin before this publication is ready.
    pub fn unblock(&self) {
        self.push(Mail::SubscriptionUnblocked(self.0.key));
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    pub(crate) fn key(&self) -> SubscriptionKey {
        self.0.key
    }

    /// Takes the documents of one source to the session.
    pub(crate) fn observer(&self, source: Source) -> Observer {
        Observer::new(Arc::clone(&self.0.connection.mailbox), self.0.key, source)
    }

    fn push(&self, mail: Mail) {
        self.0.connection.mailbox.push(mail);
    }

    /// Replaces one document by what `next` makes of it.
    fn step(
        &self,
        collection: &str,
        id: &str,
        next: impl FnOnce(Option<&Document>) -> Option<Vec<(FieldName, String)>>,
    ) {
        let id = DocumentId::from_string(id);
        let mut documents = self.0.documents.lock();
        if !documents.contains_key(collection) {
            documents.insert(collection.into(), Snapshot::default());
        }
        let Some((collection, name)) = documents
            .get_key_value(collection)
            .map(|(name, _)| name.clone())
            .and_then(|name| Some((documents.get_mut(&name)?, name)))
        else {
            return;
        };
        let fields = next(collection.get(&id).map(|document| &**document));
        let document = fields.and_then(|fields| {
            Document::from_fields(fields.iter().map(|(name, text)| (name.clone(), text.as_str())))
        });
        let step = BTreeMap::from([(id, document.map(Arc::new))]);
        if let Some(delta) = collection.advance(&name, step) {
            // Under the lock, so that steps reach the mailbox in their order.
            self.observer(Source::ByHand).handle_delta(&delta);
        }
    }
}

/// A document's fields but `_id`, encoded.
fn fields_of(document: &impl Serialize) -> Result<Vec<(FieldName, String)>, Error> {
    match ejson::to_value(document)? {
        Ejson::Object(fields) => Ok(fields
            .iter()
            .filter(|(name, _)| name.as_str() != "_id")
            .map(|(name, value)| (FieldName::from(name.as_str()), value.to_text()))
            .collect()),
        other => Err(Error::internal(format!("a document must be a map, not {other}"))),
    }
}

impl<S> FromContext<PublicationContext, S> for Subscription {
    fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        Ok(context.subscription.clone())
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscription").field(&self.0.key).finish()
    }
}
