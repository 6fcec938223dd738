//! What a live query asks for: a collection, a predicate, a projection.
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
    /// Which of their fields, besides `_id`, in the order of their names; all if `None`.
    pub fields: Option<Arc<[FieldName]>>,
    /// In which order the documents come, of which only some are wanted. Without effect unless there
    /// is a limit or some are skipped: clients sort for themselves. What is equal by all keys comes
    /// in the order of the ids, as does everything if there are none.
    pub sort: Vec<SortKey>,
    /// How many of the first documents are not wanted.
    pub skip: u32,
    /// How many are wanted at most.
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

    /// Whether only a window of the documents in their order is wanted.
    #[must_use]
    pub fn has_window(&self) -> bool {
        self.skip > 0 || self.limit.is_some()
    }
}
