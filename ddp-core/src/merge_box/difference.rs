//! The difference between what a collection's views showed before a rerun and after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::collection_view::SessionCollectionView;
use super::effect::{Effect, fields};
use super::io::{Outgoing, Place};
use super::send::{send_change, send_placed};
use super::strategy::PublicationStrategy;
use crate::id::DocumentId;
use crate::message::encode::FieldList;
use crate::snapshot::{CollectionName, Snapshot};

/// What a subscription showed, and what it shows.
type Sides<'a> = (Option<&'a Snapshot>, Option<&'a Snapshot>);

impl SessionCollectionView {
    /// Sends what turns the documents of `before` into these. Those in `order` were placed: they go
    /// to their places, in this order.
    pub(super) fn send_difference(
        &self,
        before: &Self,
        collection: &CollectionName,
        mut order: Vec<DocumentId>,
        send: &mut impl FnMut(Outgoing),
    ) {
        order.retain(|id| self.snapshots().any(|snapshot| snapshot.get(id).is_some()));
        let placed: BTreeSet<&DocumentId> = order.iter().collect();
        let different = self.different(before);
        let sides = self.sides(before);
        // First the documents that the client has, as in Meteor. Without merging, one subscription
        // may also show again what another one did.
        for had in [true, false] {
            for id in &different {
                for (was, is) in self.changes(before, &sides, id) {
                    if was.is_some() == had && (is.is_none() || !placed.contains(id)) {
                        send_change(collection, id, was.as_ref(), is.as_ref(), send);
                    }
                }
            }
        }
        // From the end, so that each document is placed before one that is already in its place.
        let mut next = None;
        for id in order.into_iter().rev() {
            let place = Place::before(next);
            for (was, is) in self.changes(before, &sides, &id) {
                if is.is_some() {
                    send_placed(collection, &id, &place, was.as_ref(), is.as_ref(), send);
                }
            }
            next = Some(id);
        }
    }

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

    /// The documents that may differ between two views.
    fn different(&self, before: &Self) -> BTreeSet<DocumentId> {
        let none = Snapshot::default();
        let (old, new) = (before.views(), self.views());
        let mut ids = BTreeSet::new();
        for index in 0..old.len().max(new.len()) {
            let was = old.get(index).map_or(&none, |view| &view.snapshot);
            let is = new.get(index).map_or(&none, |view| &view.snapshot);
            ids.extend(was.diff(is).into_iter().map(|change| change.id));
        }
        ids
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
