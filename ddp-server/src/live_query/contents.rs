//! The documents that a live query holds, and what a change does to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ddp_core::{Document, DocumentId, Snapshot};

use super::batch::{Change, Row};
use super::plan::{PendingRead, Plan};
use super::window::Window;
use crate::query::Truth;

/// The result found for a query.
pub(super) enum Contents {
    All(BTreeMap<DocumentId, Arc<Document>>),
    Window(Window),
}

impl Contents {
    pub(super) fn read<R: Row>(load: &PendingRead, rows: &[(DocumentId, R)]) -> Self {
        if load.query.has_window() {
            return Self::Window(Window::read(load, rows));
        }
        let fields = load.query.fields.as_deref();
        Self::All(rows.iter().map(|(id, row)| (id.clone(), row.document(fields))).collect())
    }

    /// Everything is gone.
    pub(super) fn clear(&mut self) {
        match self {
            Self::All(documents) => documents.clear(),
            Self::Window(window) => window.clear(),
        }
    }

    /// Brings a result up to date with a change that the read did not include. False if only the
    /// source can tell all of its effect; what is certain has then been done.
    pub(super) fn take<R: Row>(&mut self, read: &PendingRead, change: &Change<R>) -> bool {
        let before = match self {
            Self::All(documents) => documents.get(&change.id),
            Self::Window(window) => window.get(&change.id),
        };
        let wanted = match &change.row {
            None => None,
            Some(row) => match judge(&read.plan, || before, row) {
                Truth::True => Some(row),
                Truth::False | Truth::Unknown => None,
                Truth::Undecided => return false,
            },
        };
        let wanted = wanted.map(|row| (row, row.document(read.query.fields.as_deref())));
        match (self, wanted) {
            (Self::All(documents), Some((_, document))) => {
                documents.insert(change.id.clone(), document);
            }
            (Self::All(documents), None) => {
                documents.remove(&change.id);
            }
            (Self::Window(window), Some((row, document))) => {
                return window.insert(&change.id, row, &document);
            }
            (Self::Window(window), None) => window.remove(&change.id),
        }
        true
    }

    /// Forgets what is far beyond what is wanted, after the changes of a transaction.
    pub(super) fn trim(&mut self) {
        if let Self::Window(window) = self {
            window.trim();
        }
    }

    pub(super) fn for_each_id(&self, take: &mut impl FnMut(&DocumentId)) {
        match self {
            Self::All(documents) => documents.keys().for_each(take),
            Self::Window(window) => window.ids().for_each(take),
        }
    }

    /// Whether this is what a query shows and holds already. Documents that are the same as before
    /// become the very same, so that they take no memory twice.
    pub(super) fn is_held(&mut self, shown: &Snapshot, window: Option<&Window>) -> bool {
        match self {
            Self::All(documents) => {
                let mut is_same = window.is_none() && documents.len() == shown.len();
                for (id, document) in documents {
                    match shown.get(id) {
                        Some(held) if held == document => document.clone_from(held),
                        _ => is_same = false,
                    }
                }
                is_same
            }
            Self::Window(read) => window.is_some_and(|held| read.has_same_as(held)),
        }
    }

    /// Whether documents may be missing from the result.
    pub(super) fn is_short(&self) -> bool {
        matches!(self, Self::Window(window) if window.is_short())
    }
}

/// Whether a query wants a row; `before` finds the row's document as the query held it.
///
/// An undecided predicate may still have a certain result: if nothing that it depends on has
/// changed, a row that was wanted still is.
pub(super) fn judge<'a, R: Row>(
    plan: &Plan,
    before: impl FnOnce() -> Option<&'a Arc<Document>>,
    row: &R,
) -> Truth {
    let truth = plan.predicate.evaluate(&|test| row.meets(test));
    if truth != Truth::Undecided {
        return truth;
    }
    let is_same = |before: &Arc<Document>| {
        plan.predicate.all_conditions(&mut |test| {
            let field = test.top_field();
            field == "_id" || is_same(row, before, field)
        })
    };
    if before().is_some_and(is_same) { Truth::True } else { truth }
}

/// Whether a row is known to have the same value of a field as the one that was this document.
pub(super) fn is_same<R: Row>(row: &R, before: &Document, field: &str) -> bool {
    row.is_exact(field)
        && before.get(field).is_some_and(|text| row.document(None).get(field) == Some(text))
}
