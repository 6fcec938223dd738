//! Live queries: one initial read, then one computation per change, however many subscribers.
//!
//! A data source implements [`Driver`] and keeps one [`Multiplexer`] for each collection. It hands
//! every [`Batch`] of changes to the multiplexer, which finds the live queries concerned by its
//! router, brings each to its next [`Snapshot`](ddp_core::Snapshot) and gives the
//! [`Delta`] to all its observers.

mod batch;
mod catching_up;
mod contents;
mod cursor;
mod multiplexer;
mod observer;
mod queries;
pub(crate) mod router;
#[cfg(test)]
pub(crate) mod tests;
mod window;

pub use batch::{Batch, Change, Row};
pub use cursor::{AnyCursor, Cursor};
pub use multiplexer::{Joined, Load, Multiplexer, Plan};
pub use observer::{Observation, Observer};

use futures::future::BoxFuture;

use crate::error::Error;
use crate::query::Query;

#[doc(no_inline)]
pub use ddp_core::Delta;

/// A data source whose queries can be observed.
pub trait Driver: Send + Sync + 'static {
    /// Begins to observe a query. When the future is done, the observer has been given all documents
    /// that match now; it is given every later change until the [`Observation`] is dropped.
    ///
    /// # Errors
    /// A collection that the source does not have, a predicate on a field that the collection does
    /// not have, a constant of the wrong type, or a source that refuses the query. A source that is
    /// out of reach is no error: the future waits for it.
    fn observe<'a>(
        &'a self,
        query: &'a Query,
        observer: Observer,
    ) -> BoxFuture<'a, Result<Observation, Error>>;
}
