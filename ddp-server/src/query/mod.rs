//! What a live query asks for: a collection, a predicate, a projection.

mod predicate;
mod value;

pub use predicate::{Comparison, Field, Predicate, Truth, field};
pub use value::Value;

use std::sync::Arc;

use ddp_core::{CollectionName, FieldName};

/// A query on one collection, independent of the data source. Equal queries share one live query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The collection.
    pub collection: CollectionName,
    /// Which documents.
    pub predicate: Predicate,
    /// Which of their fields, besides `_id`, in the order of their names; all if `None`.
    pub fields: Option<Arc<[FieldName]>>,
}

impl Query {
    /// All documents of a collection.
    #[must_use]
    pub fn all(collection: impl Into<CollectionName>) -> Self {
        Self { collection: collection.into(), predicate: Predicate::All, fields: None }
    }
}
