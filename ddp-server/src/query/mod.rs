//! Queries of live data: a collection, a predicate, fields, an order and a window.
//!
//! An application narrows a [`Cursor`](crate::Cursor), and a data source sees the query that results:
//!
//! ```
//! use ddp_server::query::{descending, field};
//! use ddp_server::{Collection, Error, MemoryCollection};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     text: String,
//!     priority: u8,
//!     tags: Vec<String>,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let tasks = MemoryCollection::new(&Collection::<Task>::new("tasks"));
//! for (text, priority, tag) in [("sleep", 1, "home"), ("eat", 2, "home"), ("code", 3, "work")] {
//!     tasks.insert(&Task { text: text.to_owned(), priority, tags: vec![tag.to_owned()] })?;
//! }
//! let at_home = field("tags").contains("home").and(field("text").like("%ee%").not());
//! let cursor = tasks.find().filter(at_home).sort([descending("priority")]).limit(10);
//! assert_eq!(cursor.query().limit, Some(10));
//! assert_eq!(cursor.fetch().await?[0].text, "eat");
//! # Ok(())
//! # }
//! ```

mod builder;
mod decimal;
mod operator;
mod pattern;
mod predicate;
mod sort;
mod truth;
mod value;

pub use builder::{Field, field};
pub use decimal::{Decimal, ParseDecimalError};
pub use operator::{Comparison, Operator};
pub use pattern::{is_like, is_pattern};
pub use predicate::{Condition, Predicate};
pub use sort::{Direction, Nulls, Position, SortKey, ascending, descending};
pub use truth::Truth;
pub use value::Value;

use std::sync::Arc;

use ddp_core::{CollectionName, FieldName};

/// A query on one collection, independent of the data source. Equal queries share one live query.
///
/// Make one from [`Query::all`], as here or by `Query { predicate, ..Query::all("tasks") }`: fields may be
/// added.
///
/// ```
/// use ddp_server::query::{Query, field};
///
/// let mut open = Query::all("tasks");
/// open.predicate = field("done").eq(false);
/// assert!(!open.has_window());
/// open.limit = Some(20);
/// assert!(open.has_window());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The collection.
    pub collection: CollectionName,
    /// Which documents.
    pub predicate: Predicate,
    /// Which fields to include besides `_id`, sorted by name; all if `None`.
    pub fields: Option<Arc<[FieldName]>>,
    /// The order of the documents. It has no effect without `limit` or `skip`, because clients sort
    /// for themselves. Documents that are equal by all keys, or all of them if there are no keys,
    /// come in the order of their ids.
    pub sort: Vec<SortKey>,
    /// How many documents to skip from the start.
    pub skip: u32,
    /// The largest number of documents to return; all if `None`.
    pub limit: Option<u32>,
}

impl Query {
    /// All documents of a collection.
    #[must_use]
    pub fn all(collection: impl Into<CollectionName>) -> Self {
        Self {
            collection: collection.into(),
            predicate: Predicate::All,
            fields: None,
            sort: Vec::new(),
            skip: 0,
            limit: None,
        }
    }

    /// Whether the query has a `skip` or a `limit`.
    #[must_use]
    pub fn has_window(&self) -> bool {
        self.skip > 0 || self.limit.is_some()
    }
}
