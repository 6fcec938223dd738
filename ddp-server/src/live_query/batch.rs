//! Changes on their way from a data source to its live queries.

use std::sync::Arc;

use ddp_core::{Document, DocumentId, FieldName};

use crate::query::{Test, Truth, Value};

/// A row of a data source, from which documents and comparisons are made.
pub trait Row: Send + Sync + 'static {
    /// The value of a field, to route by if the plan has keys and to order by if it has an order;
    /// NULL if there is none.
    fn value(&self, field: &str) -> Value;

    /// The answer to a test of the plan's predicate; [`Truth::Undecided`] if it may not be what the
    /// source itself would say. The queries for which it counts are then read again.
    fn test(&self, test: &Test) -> Truth {
        test.is.test(&self.value(&test.field))
    }

    /// Whether the document shows any two values of this field as different texts. What may look the
    /// same is not taken for unchanged.
    fn is_exact(&self, _field: &str) -> bool {
        true
    }

    /// The row as a document of these fields, or of all.
    fn document(&self, fields: Option<&[FieldName]>) -> Arc<Document>;
}

/// What one transaction did to one collection.
#[derive(Debug)]
pub struct Batch<R> {
    /// Names the transaction, so that a snapshot can tell whether it has seen it.
    pub transaction: u64,
    /// Everything that was there before the changes is gone.
    pub truncated: bool,
    /// The changes are not known one by one: live queries must read again.
    pub requery: bool,
    /// The last state of each row that changed.
    pub changes: Vec<Change<R>>,
}

/// What happened to one row.
#[derive(Debug)]
pub struct Change<R> {
    /// The document.
    pub id: DocumentId,
    /// What it is now; `None` if it is gone.
    pub row: Option<R>,
}
