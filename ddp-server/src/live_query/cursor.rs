//! What a publication returns.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ddp_core::FieldName;
use serde::de::DeserializeOwned;

use super::changes::Changes;
use super::source::DataSource;
use super::typed::typed;
use crate::collection::Collection;
use crate::error::Error;
use crate::query::{Predicate, Query, SortKey};

/// A query on a collection that has not run yet. A publication that returns it publishes the
/// documents live, like a publish function in Meteor that returns a cursor.
///
/// ```
/// use ddp_server::query::descending;
/// use ddp_server::{Cursor, MemoryCollection, State, field};
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Task { done: bool }
/// async fn newest_open(State(tasks): State<MemoryCollection<Task>>) -> Cursor<Task> {
///     tasks
///         .find()
///         .filter(field("done").eq(false))
///         .sort([descending("createdAt")])
///         .limit(20)
///         .fields(["text", "createdAt"])
/// }
/// # let _ = newest_open;
/// ```
pub struct Cursor<T> {
    inner: AnyCursor,
    documents: PhantomData<fn() -> T>,
}

/// A [`Cursor`] without the type of its documents, so that cursors of several collections fit in
/// one `Vec`.
///
/// ```
/// use ddp_server::{AnyCursor, MemoryCollection};
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct List { name: String }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Task { text: String }
/// fn everything(lists: &MemoryCollection<List>, tasks: &MemoryCollection<Task>) -> Vec<AnyCursor> {
///     vec![lists.find().into(), tasks.find().into()]
/// }
/// # let _ = everything;
/// ```
#[derive(Clone)]
pub struct AnyCursor {
    pub(crate) source: Arc<dyn DataSource>,
    pub(crate) query: Query,
    /// Whether its documents are sent once, and not kept live.
    pub(crate) is_once: bool,
}

impl<T> Cursor<T> {
    /// All documents of a collection, for data sources to offer.
    #[must_use]
    pub fn new(source: Arc<dyn DataSource>, collection: &Collection<T>) -> Self {
        let query = Query::all(collection.name());
        let inner = AnyCursor { source, query, is_once: false };
        Self { inner, documents: PhantomData }
    }

    /// Only the documents that satisfy this predicate too.
    #[must_use]
    pub fn filter(mut self, predicate: Predicate) -> Self {
        let query = &mut self.inner.query;
        query.predicate = std::mem::replace(&mut query.predicate, Predicate::All).and(predicate);
        self
    }

    /// Only these fields of the documents, besides `_id`.
    #[must_use]
    pub fn fields<'a>(mut self, fields: impl IntoIterator<Item = &'a str>) -> Self {
        let mut fields: Vec<FieldName> = fields.into_iter().map(FieldName::from).collect();
        fields.sort();
        fields.dedup();
        self.inner.query.fields = Some(fields.into());
        self
    }

    /// Sorts by these keys, the first one first. The order decides which documents are within
    /// [`limit`](Self::limit) and [`skip`](Self::skip); clients sort for themselves.
    #[must_use]
    pub fn sort(mut self, keys: impl IntoIterator<Item = SortKey>) -> Self {
        self.inner.query.sort = keys.into_iter().collect();
        self
    }

    /// At most this many documents. 0 gives none, as in SQL and unlike Mongo.
    #[must_use]
    pub fn limit(mut self, documents: u32) -> Self {
        self.inner.query.limit = Some(documents);
        self
    }

    /// Leaves out this many documents from the start. They are held in memory as well.
    #[must_use]
    pub fn skip(mut self, documents: u32) -> Self {
        self.inner.query.skip = documents;
        self
    }

    /// Publishes the documents as they are when the publication runs, and does not keep them live: it
    /// reads once and observes nothing. Use it for data that hardly changes or need not be current.
    ///
    /// A document that another subscription of the same client keeps live is merged as usual: if
    /// both have a field, the subscription that started first wins, and its value may be old.
    ///
    /// A source that is out of reach is not waited for, as it is for live documents: the subscription
    /// ends with an error.
    ///
    /// ```
    /// use ddp_server::{Cursor, MemoryCollection, State};
    ///
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Country { name: String }
    /// async fn countries(State(countries): State<MemoryCollection<Country>>) -> Cursor<Country> {
    ///     countries.find().once()
    /// }
    /// # let _ = countries;
    /// ```
    #[must_use]
    pub fn once(mut self) -> Self {
        self.inner.is_once = true;
        self
    }

    /// The query that will be run.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.inner.query
    }
}

impl<T: DeserializeOwned> Cursor<T> {
    /// Reads the documents once, on the server, in the cursor's order: Meteor's `fetchAsync`. The
    /// result includes everything committed before the call, so a method sees its own writes once
    /// they are committed. A transaction that is still open is not part of the read, which takes a
    /// connection of its own.
    ///
    /// Each document has its `_id` among its fields: `#[serde(rename = "_id")] id: String` takes it.
    ///
    /// ```
    /// use ddp_server::query::descending;
    /// use ddp_server::{Collection, Error, MemoryCollection, field};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Task {
    ///     text: String,
    ///     priority: u8,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let tasks = MemoryCollection::new(&Collection::<Task>::new("tasks"));
    /// for (text, priority) in [("sleep", 1), ("eat", 2), ("code", 3)] {
    ///     tasks.insert(&Task { text: text.to_owned(), priority })?;
    /// }
    /// let urgent = tasks.find().filter(field("priority").gt(1)).sort([descending("priority")]);
    /// let urgent: Vec<Task> = urgent.fetch().await?;
    /// assert_eq!(urgent.len(), 2);
    /// assert_eq!(urgent[0].text, "code");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A query that the source refuses, a source that is out of reach, or a document that does not
    /// have the form of `T`. No document deserializes as `()`: a `Collection<()>` is for publishing only.
    pub async fn fetch(&self) -> Result<Vec<T>, Error> {
        let query = &self.inner.query;
        let documents = self.inner.source.fetch(query).await?;
        documents.iter().map(|(id, document)| typed(&query.collection, id, document)).collect()
    }

    /// Follows the documents on the server: first all that exist, then every change from any
    /// writer. Use it for hooks, notifications and your own counts.
    ///
    /// ```
    /// use ddp_server::live_query::Observed;
    /// use ddp_server::{Collection, Error, MemoryCollection};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Order {
    ///     paid: bool,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let orders = MemoryCollection::new(&Collection::<Order>::new("orders"));
    /// orders.insert_with_id("1", &Order { paid: false })?;
    /// let mut changes = orders.find().observe().await?;
    /// orders.update("1", |order| order.paid = true)?;
    /// while let Some(change) = changes.next().await {
    ///     if let Observed::Changed { id, document, old_document } = change? {
    ///         assert!(document.paid && !old_document.paid);
    ///         println!("order {id} was paid");
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A query that the source refuses. If the source is out of reach, this waits for it.
    pub async fn observe(&self) -> Result<Changes<T>, Error> {
        Changes::begin(&*self.inner.source, &self.inner.query).await
    }
}

impl<T> From<Cursor<T>> for AnyCursor {
    fn from(cursor: Cursor<T>) -> Self {
        cursor.inner
    }
}

impl<T> Clone for Cursor<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), documents: PhantomData }
    }
}

impl<T> fmt::Debug for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for AnyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cursor").field(&self.query).finish()
    }
}
