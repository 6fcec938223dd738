//! What a change of one view means to the client.

use std::ops::Range;
use std::sync::Arc;

use super::collection_view::SessionCollectionView;
use super::holders::{Candidates, from_both_ends};
use super::strategy::PublicationStrategy;
use crate::document::{Document, FieldName};
use crate::id::DocumentId;
use crate::message::encode::FieldList;

/// What the client has of a document and what it should have: at least the fields that differ.
/// `None` where it has no document.
pub(super) type Effect<'a> = (Option<FieldList<'a>>, Option<FieldList<'a>>);

/// A field of a document that is not the same in two states of a view.
struct Differing<'a> {
    name: &'a FieldName,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

impl SessionCollectionView {
    /// What becomes of a document at the client when the view at `position` shows it as `after`, no
    /// longer as `before`.
    ///
    /// Other views are asked only until it is certain. Where most subscriptions show the same
    /// documents, that is one or two of them, however many there are.
    pub(super) fn effect<'a>(
        &'a self,
        id: &'a DocumentId,
        position: usize,
        before: Option<&'a Arc<Document>>,
        after: Option<&'a Arc<Document>>,
    ) -> Effect<'a> {
        match self.strategy() {
            PublicationStrategy::ServerMerge => self.merged_effect(id, position, before, after),
            PublicationStrategy::NoMerge | PublicationStrategy::NoMergeNoHistory => {
                (fields(before), fields(after))
            }
            PublicationStrategy::NoMergeMulti => match (before, after) {
                (None, Some(_)) if self.is_shown_by_another(id, position) => {
                    (Some(FieldList::new()), fields(after))
                }
                (Some(_), None) if self.is_shown_by_another(id, position) => (None, None),
                _ => (fields(before), fields(after)),
            },
        }
    }

    fn merged_effect<'a>(
        &'a self,
        id: &'a DocumentId,
        position: usize,
        before: Option<&'a Arc<Document>>,
        after: Option<&'a Arc<Document>>,
    ) -> Effect<'a> {
        let is_shown = || (Some(FieldList::new()), Some(FieldList::new()));
        if before.is_none() || after.is_none() {
            let first = self.earlier(id, position).next();
            if let (Some(first), Some(own)) = (first, before.or(after))
                && Arc::ptr_eq(first, own)
            {
                return is_shown();
            }
            if first.is_none() && self.later(id, position).next().is_none() {
                return (fields(before), fields(after));
            }
        }
        let mut differing = differing(before.map(|document| &**document), after.map(|d| &**d));
        if differing.iter().any(Differing::is_one_sided)
            && let Some(next) = self.later(id, position).next()
        {
            // Whether or not an earlier view has the field, the client's value stays.
            differing.retain(|field| {
                !field.is_one_sided() || next.get(field.name) != field.before.or(field.after)
            });
        }
        let mut all_earlier = self.earlier(id, position);
        while !differing.is_empty()
            && let Some(earlier) = all_earlier.next()
        {
            differing.retain(|field| earlier.get(field.name).is_none());
        }
        let mut all_later = self.later(id, position);
        while differing.iter().any(Differing::is_one_sided)
            && let Some(later) = all_later.next()
        {
            for field in differing.iter_mut().filter(|field| field.is_one_sided()) {
                let value = later.get(field.name);
                (field.before, field.after) = (field.before.or(value), field.after.or(value));
            }
        }
        let before = |field: &Differing<'a>| Some((field.name, field.before?));
        let after = |field: &Differing<'a>| Some((field.name, field.after?));
        (
            Some(differing.iter().filter_map(before).collect()),
            Some(differing.iter().filter_map(after).collect()),
        )
    }

    fn is_shown_by_another(&self, id: &DocumentId, position: usize) -> bool {
        self.earlier(id, position).next().is_some() || self.later(id, position).next().is_some()
    }

    /// The document as the views before this one show it, in an order in which those come early
    /// that are likely to have what this one has.
    fn earlier<'a>(
        &'a self,
        id: &'a DocumentId,
        position: usize,
    ) -> impl Iterator<Item = &'a Arc<Document>> {
        from_both_ends(self.shown(id, 0..position))
    }

    /// The document as the views after this one show it, in order of precedence.
    fn later<'a>(
        &'a self,
        id: &'a DocumentId,
        position: usize,
    ) -> impl Iterator<Item = &'a Arc<Document>> {
        self.shown(id, position + 1..self.views().len())
    }

    fn shown<'a>(
        &'a self,
        id: &'a DocumentId,
        positions: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Document>> {
        let candidates = match self.holders() {
            Some(holders) => holders.of(id, positions),
            None => Candidates::All(positions),
        };
        candidates.filter_map(move |position| {
            #[cfg(test)]
            ASKED.set(ASKED.get() + 1);
            self.views()[position].snapshot.get(id)
        })
    }
}

#[cfg(test)]
thread_local! {
    static ASKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How often a view was asked for a document on this thread.
#[cfg(test)]
pub(super) fn asked() -> usize {
    ASKED.get()
}

impl Differing<'_> {
    fn is_one_sided(&self) -> bool {
        self.before.is_none() || self.after.is_none()
    }
}

/// The fields that are not the same in two documents.
fn differing<'a>(before: Option<&'a Document>, after: Option<&'a Document>) -> Vec<Differing<'a>> {
    let mut differing = Vec::new();
    let mut kept = 0;
    // Most documents have the same fields in the same places as before.
    let mut in_place = before.into_iter().flat_map(Document::iter);
    for (name, value) in after.into_iter().flat_map(Document::iter) {
        let old = match in_place.next() {
            Some((other, old)) if Arc::ptr_eq(other, name) => Some(old),
            _ => before.and_then(|before| before.get(name)),
        };
        kept += usize::from(old.is_some());
        if old != Some(value) {
            differing.push(Differing { name, before: old, after: Some(value) });
        }
    }
    if before.is_some_and(|before| before.len() > kept) {
        let gone = before.into_iter().flat_map(Document::iter);
        let gone = gone.filter(|(name, _)| after.is_none_or(|after| after.get(name).is_none()));
        differing.extend(gone.map(|(name, value)| Differing {
            name,
            before: Some(value),
            after: None,
        }));
    }
    differing
}

pub(super) fn fields(document: Option<&Arc<Document>>) -> Option<FieldList<'_>> {
    document.map(|document| document.iter().collect())
}
