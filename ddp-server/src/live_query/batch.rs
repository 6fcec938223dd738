//! Changes on their way from a data source to its live queries.

use std::sync::Arc;

use ddp_core::{Document, DocumentId, FieldName};

use crate::query::{Condition, Truth, Value};

/// A row of a data source, from which documents and comparisons are made.
pub trait Row: Send + Sync + 'static {
    /// A field's value, for routing if the plan has keys and for ordering if it has an order; NULL
    /// if there is none.
    fn value(&self, field: &str) -> Value;

    /// The answer to a test in the plan's predicate; [`Truth::Undecided`] if it may differ from the
    /// source's own answer. Queries that depend on it are then read again.
    fn meets(&self, test: &Condition) -> Truth {
        test.is.test(&self.value(&test.field))
    }

    /// Whether any two values of this field become different texts in the document. If not, equal
    /// texts do not count as unchanged.
    fn is_exact(&self, _field: &str) -> bool {
        true
    }

    /// The row as a document of these fields, or of all.
    fn document(&self, fields: Option<&[FieldName]>) -> Arc<Document>;

    /// How much memory it takes, roughly: what happens while queries are read is kept, within a limit.
    fn bytes(&self) -> usize {
        self.document(None).iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// What one transaction did to one collection.
#[derive(Debug)]
pub struct Batch<R> {
    /// Shows which reads include it.
    pub origin: Origin,
    /// What happened.
    pub content: Content<R>,
}

/// Where a [`Batch`] comes from; a source uses it to tell whether its read includes the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A transaction, under the source's number for it.
    Transaction(u64),
    /// A transaction whose rows were read later, at the point of the source with this number.
    Read(u64),
    /// Something was missed; reads that started earlier may not include it.
    Gap,
}

/// What happened to the rows of a collection.
#[derive(Debug)]
pub enum Content<R> {
    /// The last state of each row that changed.
    Changes(Vec<Change<R>>),
    /// Everything that was there before is gone; these rows came after that.
    Truncated(Vec<Change<R>>),
    /// The changes are not known one by one: live queries must read again.
    Requery,
}

impl<R> Batch<R> {
    /// The rows that changed, if known one by one.
    #[must_use]
    pub fn changes(&self) -> &[Change<R>] {
        match &self.content {
            Content::Changes(changes) | Content::Truncated(changes) => changes,
            Content::Requery => &[],
        }
    }

    pub(super) fn is_requery(&self) -> bool {
        matches!(self.content, Content::Requery)
    }

    pub(super) fn is_truncated(&self) -> bool {
        matches!(self.content, Content::Truncated(_))
    }
}

/// What happened to one row.
#[derive(Debug)]
pub struct Change<R> {
    /// The document.
    pub id: DocumentId,
    /// What it is now; `None` if it is gone.
    pub row: Option<R>,
}
