//! The documents that a live query holds, and what a change does to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ddp_core::{Document, DocumentId};

use super::batch::{Batch, Row};
use super::plan::{PendingRead, Plan};
use super::window::Window;
use crate::query::Truth;

/// The result found for a query.
pub(super) enum Contents {
    All(BTreeMap<DocumentId, Arc<Document>>),
    Window(Window),
}

impl Contents {
    pub(super) fn read<R: Row>(load: &PendingRead, rows: Vec<(DocumentId, R)>) -> Self {
        if load.query.has_window() {
            return Self::Window(Window::read(load, rows));
        }
        let fields = load.query.fields.as_deref();
        Self::All(rows.into_iter().map(|(id, row)| (id, row.document(fields))).collect())
    }

    /// Brings a result up to date with a batch that the read did not include. False if only the
    /// source can tell all of the batch's effects; what is certain has then been done.
    pub(super) fn fold<R: Row>(&mut self, load: &PendingRead, batch: &Batch<R>) -> bool {
        if batch.is_truncated() {
            match self {
                Self::All(documents) => documents.clear(),
                Self::Window(window) => window.clear(),
            }
        }
        let mut is_certain = true;
        for change in batch.changes() {
            let before = match self {
                Self::All(documents) => documents.get(&change.id),
                Self::Window(window) => window.get(&change.id),
            };
            let wanted = match &change.row {
                None => None,
                Some(row) => match judge(&load.plan, before, row) {
                    Truth::True => Some(row),
                    Truth::False | Truth::Unknown => None,
                    Truth::Undecided => {
                        is_certain = false;
                        continue;
                    }
                },
            };
            let wanted = wanted.map(|row| (row, row.document(load.query.fields.as_deref())));
            match (&mut *self, wanted) {
                (Self::All(documents), Some((_, document))) => {
                    documents.insert(change.id.clone(), document);
                }
                (Self::All(documents), None) => {
                    documents.remove(&change.id);
                }
                (Self::Window(window), Some((row, document))) => {
                    is_certain &= window.insert(&change.id, row, &document);
                }
                (Self::Window(window), None) => window.remove(&change.id),
            }
        }
        if let Self::Window(window) = self {
            window.trim();
        }
        is_certain
    }

    /// Whether documents may be missing from the result.
    pub(super) fn is_short(&self) -> bool {
        matches!(self, Self::Window(window) if window.is_short())
    }
}

/// Whether a query wants a row, of which it held this document before.
///
/// An undecided predicate may still have a certain result: if nothing that it depends on has
/// changed, a row that was wanted still is.
pub(super) fn judge<R: Row>(plan: &Plan, before: Option<&Arc<Document>>, row: &R) -> Truth {
    let truth = plan.predicate.evaluate(&|test| row.meets(test));
    match (truth, before) {
        (Truth::Undecided, Some(before)) if is_same_for(plan, before, row) => Truth::True,
        _ => truth,
    }
}

fn is_same_for<R: Row>(plan: &Plan, before: &Document, row: &R) -> bool {
    let now = row.document(None);
    plan.predicate.all_conditions(&mut |test| {
        let field = test.top_field();
        field == "_id"
            || row.is_exact(field)
                && before.get(field).is_some_and(|text| now.get(field) == Some(text))
    })
}
