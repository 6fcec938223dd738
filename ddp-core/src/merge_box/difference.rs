//! The difference between what a collection's views showed before a rerun and after it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::collection_view::SessionCollectionView;
use super::effect::{Effect, fields};
use super::io::{Outgoing, Place};
use super::pieces::Piece;
use super::send::{send_change, send_placed};
use super::strategy::PublicationStrategy;
use super::view::View;
use crate::id::DocumentId;
use crate::message::encode::FieldList;
use crate::snapshot::{CollectionName, Snapshot};

/// What a subscription showed, and what it shows.
type Sides<'a> = (Option<&'a Snapshot>, Option<&'a Snapshot>);

/// What is left to be told of a collection's difference.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) collection: CollectionName,
    before: SessionCollectionView,
    /// Documents that were placed: they go to their places, in this order.
    order: Vec<DocumentId>,
    placed: BTreeSet<DocumentId>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The documents that the client has, or the others, after this one.
    Documents { had: bool, told: Option<DocumentId> },
    /// Those that were placed, before this one.
    Places { next: Option<DocumentId> },
}

impl Difference {
    /// Between what the views were `before` and what they are now, with the documents that were placed
    /// since.
    pub(super) fn new(
        collection: CollectionName,
        before: SessionCollectionView,
        after: &SessionCollectionView,
        mut order: Vec<DocumentId>,
    ) -> Self {
        order.retain(|id| after.snapshots().any(|snapshot| snapshot.get(id).is_some()));
        let placed = order.iter().cloned().collect();
        let stage = Stage::Documents { had: true, told: None };
        Self { collection, before, order, placed, stage }
    }

    /// The views of a collection when nothing of it is shown any more.
    pub(super) fn nothing(&self) -> SessionCollectionView {
        SessionCollectionView::new(self.before.strategy())
    }

    /// Sends what turns the documents of before into those of `after`, until the piece is full. Returns
    /// whether all of it is told.
    pub(super) fn tell(
        &mut self,
        after: &SessionCollectionView,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> bool {
        let sides = after.sides(&self.before);
        // First the documents that the client has, as in Meteor. Without merging, one subscription
        // may also show again what another one did.
        while let Stage::Documents { had, told } = &self.stage {
            let had = *had;
            let telling = self.tell_documents(after, &sides, had, told.as_ref(), piece);
            if let ControlFlow::Break(told) = telling {
                self.stage = Stage::Documents { had, told };
                return false;
            }
            self.stage = match had {
                true => Stage::Documents { had: false, told: None },
                false => Stage::Places { next: None },
            };
        }
        let Stage::Places { next } = &mut self.stage else { return true };
        // From the end, so that each document is placed before one that is already in its place.
        while !piece.is_full()
            && let Some(id) = self.order.pop()
        {
            let place = Place::before(next.take());
            for (was, is) in after.changes(&self.before, &sides, &id) {
                if is.is_some() {
                    let send = &mut |outgoing| piece.send(outgoing);
                    send_placed(&self.collection, &id, &place, was.as_ref(), is.as_ref(), send);
                }
            }
            *next = Some(id);
        }
        self.order.is_empty()
    }

    /// Tells of the documents that the client had or not, after one. If others are left, breaks with the
    /// last one that it told of.
    fn tell_documents(
        &self,
        after: &SessionCollectionView,
        sides: &[Sides<'_>],
        had: bool,
        told: Option<&DocumentId>,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> ControlFlow<Option<DocumentId>> {
        let nothing = Snapshot::default();
        let mut last = told;
        for id in after.different(&self.before, told, &nothing) {
            if piece.is_full() {
                return ControlFlow::Break(last.cloned());
            }
            last = Some(id);
            for (was, is) in after.changes(&self.before, sides, id) {
                if was.is_some() == had && (is.is_none() || !self.placed.contains(id)) {
                    let send = &mut |outgoing| piece.send(outgoing);
                    send_change(&self.collection, id, was.as_ref(), is.as_ref(), send);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl SessionCollectionView {
    /// What has become of a document since `before`: once for all subscriptions or, without
    /// merging, for each.
    fn changes<'a>(
        &'a self,
        before: &'a Self,
        sides: &[Sides<'a>],
        id: &DocumentId,
    ) -> Vec<Effect<'a>> {
        if self.strategy() == PublicationStrategy::NoMerge {
            let document = |side: Option<&'a Snapshot>| fields(side.and_then(|side| side.get(id)));
            return sides.iter().map(|(was, is)| (document(*was), document(*is))).collect();
        }
        let (mut was, is) = (merged(id, before.snapshots()), merged(id, self.snapshots()));
        let shown = before.snapshots().filter(|snapshot| snapshot.get(id).is_some());
        if self.strategy() == PublicationStrategy::NoMergeMulti
            && shown.count() > 1
            && let (Some(was), Some(is)) = (&mut was, &is)
        {
            // The client has the values of whichever subscription came last, so all of them are
            // sent again.
            was.retain(|(name, _)| !is.iter().any(|(other, _)| other == name));
        }
        vec![(was, is)]
    }

    /// What each subscription showed and shows, for the strategy that keeps them apart.
    fn sides<'a>(&'a self, before: &'a Self) -> Vec<Sides<'a>> {
        let mut sides: BTreeMap<_, Sides<'a>> = BTreeMap::new();
        if self.strategy() == PublicationStrategy::NoMerge {
            for view in before.views() {
                sides.entry(view.role()).or_default().0 = Some(&view.snapshot);
            }
            for view in self.views() {
                sides.entry(view.role()).or_default().1 = Some(&view.snapshot);
            }
        }
        sides.into_values().collect()
    }

    /// The documents after one that may differ between two views, in order.
    fn different<'a>(
        &'a self,
        before: &'a Self,
        told: Option<&DocumentId>,
        nothing: &'a Snapshot,
    ) -> impl Iterator<Item = &'a DocumentId> {
        let (old, new) = (before.views(), self.views());
        let snapshot =
            |views: &'a [View], at: usize| views.get(at).map_or(nothing, |v| &v.snapshot);
        let changes = (0..old.len().max(new.len()))
            .map(|at| snapshot(old, at).changes_to(snapshot(new, at), told))
            .map(|changes| changes.map(|(id, ..)| id).peekable());
        let mut changes: Vec<_> = changes.collect();
        std::iter::from_fn(move || {
            let next = changes.iter_mut().filter_map(|ids| ids.peek().copied()).min()?;
            for ids in &mut changes {
                ids.next_if_eq(&next);
            }
            Some(next)
        })
    }

    fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.views().iter().map(|view| &view.snapshot)
    }
}

/// The union of a document's fields in these snapshots; for a repeated field, the first.
fn merged<'a>(
    id: &DocumentId,
    snapshots: impl Iterator<Item = &'a Snapshot>,
) -> Option<FieldList<'a>> {
    let mut documents = snapshots.filter_map(|snapshot| snapshot.get(id));
    let first = documents.next()?;
    let mut fields: FieldList<'a> = first.iter().collect();
    let mut last = first;
    for document in documents {
        // Live queries on one collection usually share the very same document.
        if Arc::ptr_eq(last, document) {
            continue;
        }
        last = document;
        for (name, value) in document.iter() {
            if !fields.iter().any(|(seen, _)| *seen == name) {
                fields.push((name, value));
            }
        }
    }
    Some(fields)
}
