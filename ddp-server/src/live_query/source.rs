//! The sources that a server publishes from.

use std::sync::Arc;

use ddp_core::{Document, DocumentId};
use futures::future::BoxFuture;

use super::observer::{Observation, Observer};
use crate::error::Error;
use crate::query::Query;

/// Documents in the order of a query.
pub type Documents = Vec<(DocumentId, Arc<Document>)>;

/// A source of documents whose queries can be observed: PostgreSQL, or collections in memory.
pub trait DataSource: Send + Sync + 'static {
    /// Begins to observe a query. When the future completes, the observer has all documents that
    /// match; it then gets every change until the [`Observation`] is dropped.
    ///
    /// # Errors
    /// A collection that the source does not have, a predicate on a field that the collection does
    /// not have, a constant of the wrong type, or a source that refuses the query. A source that is
    /// out of reach is not an error: the future waits for it.
    fn observe<'a>(
        &'a self,
        query: &'a Query,
        observer: Observer,
    ) -> BoxFuture<'a, Result<Observation, Error>>;

    /// Whether the source would refuse a query, which is neither read nor observed. A source that
    /// takes every query need not say so.
    ///
    /// # Errors
    /// As with [`observe`](Self::observe).
    fn check<'a>(&'a self, _query: &'a Query) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Reads the documents of a query once, in its order, including everything committed before the
    /// call.
    ///
    /// # Errors
    /// As with [`observe`](Self::observe), and a source that is out of reach.
    fn fetch<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Documents, Error>>;

    /// The same for a subscription whose documents are sent [once](crate::Cursor::once). A source may
    /// bound how many of these reads run at a time: many clients may ask at once, and methods should
    /// not have to wait for them.
    ///
    /// # Errors
    /// As with [`fetch`](Self::fetch).
    fn fetch_once<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Documents, Error>> {
        self.fetch(query)
    }
}
