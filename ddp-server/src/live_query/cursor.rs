//! What a publication returns.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ddp_core::FieldName;

use super::source::DataSource;
use crate::collection::Collection;
use crate::query::{Predicate, Query, SortKey};

/// A query on a collection of a data source, not yet run. A publication that returns it publishes
/// its documents live, as a publish function that returns a cursor does in Meteor.
pub struct Cursor<T> {
    inner: AnyCursor,
    documents: PhantomData<fn() -> T>,
}

/// A [`Cursor`] that forgot the type of its documents, to be returned along with others.
#[derive(Clone)]
pub struct AnyCursor {
    pub(crate) source: Arc<dyn DataSource>,
    pub(crate) query: Query,
}

impl<T> Cursor<T> {
    /// All documents of a collection, for data sources to offer.
    #[must_use]
    pub fn new(source: Arc<dyn DataSource>, collection: &Collection<T>) -> Self {
        let inner = AnyCursor { source, query: Query::all(collection.name()) };
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

    /// In the order of these keys, of which the first counts most. It tells which documents are
    /// within [`limit`](Self::limit) and [`skip`](Self::skip); clients sort for themselves.
    #[must_use]
    pub fn sort(mut self, keys: impl IntoIterator<Item = SortKey>) -> Self {
        self.inner.query.sort = keys.into_iter().collect();
        self
    }

    /// At most so many of the documents. 0 gives none, as in SQL and unlike in Mongo.
    #[must_use]
    pub fn limit(mut self, documents: u32) -> Self {
        self.inner.query.limit = Some(documents);
        self
    }

    /// Without so many of the first documents. They are held in memory as well.
    #[must_use]
    pub fn skip(mut self, documents: u32) -> Self {
        self.inner.query.skip = documents;
        self
    }

    /// The query that will be run.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.inner.query
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
