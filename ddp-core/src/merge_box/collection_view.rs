//! One collection of one session, like Meteor's `SessionCollectionView`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;

use super::io::{Outgoing, Place, Placement, Source};
use super::send::{send_change, send_placed};
use super::strategy::PublicationStrategy;
use crate::document::Document;
use crate::id::{DocumentId, SubscriptionKey};
use crate::message::encode::FieldList;
use crate::snapshot::{CollectionName, Delta, Snapshot};

/// What each subscription of a session shows of one collection, in order of precedence.
#[derive(Debug)]
pub(crate) struct SessionCollectionView {
    strategy: PublicationStrategy,
    /// Usually only one, which then needs no memory of its own.
    views: SmallVec<[(ViewKey, Snapshot); 1]>,
    /// The documents that were placed while nothing was sent, in order.
    order: Vec<DocumentId>,
}

type ViewKey = (SubscriptionKey, Source);

impl SessionCollectionView {
    pub(crate) fn new(strategy: PublicationStrategy) -> Self {
        Self { strategy, views: SmallVec::new(), order: Vec::new() }
    }

    pub(crate) fn strategy(&self) -> PublicationStrategy {
        self.strategy
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// Whether we must know what the client has of the collection.
    pub(crate) fn is_tracked(&self) -> bool {
        self.strategy != PublicationStrategy::NoMergeNoHistory
    }

    pub(crate) fn apply(
        &mut self,
        view: ViewKey,
        delta: Arc<Delta>,
        send: &mut impl FnMut(Outgoing),
    ) {
        let index = self.index(view);
        let version = self.views[index].1.version();
        if delta.to() <= version {
            return;
        }
        let contiguous = delta.from() == version;
        if contiguous && self.is_alone() {
            self.views[index].1 = delta.after().clone();
            if !delta.changes().is_empty() {
                send(Outgoing::Shared(delta));
            }
        } else if contiguous {
            let ids = delta.changes().iter().map(|change| &change.id);
            self.replace(delta.collection(), index, delta.after(), ids, send);
        } else {
            let changes = self.views[index].1.diff(delta.after());
            let ids = changes.iter().map(|change| &change.id);
            self.replace(delta.collection(), index, delta.after(), ids, send);
        }
    }

    /// Records a step without sending anything yet.
    pub(crate) fn note(&mut self, view: ViewKey, delta: &Delta) {
        let index = self.index(view);
        if delta.to() > self.views[index].1.version() {
            self.views[index].1 = delta.after().clone();
        }
        if !self.order.is_empty() {
            let gone = delta.changes().iter().filter(|change| change.after.is_none());
            let gone: BTreeSet<_> = gone.map(|change| &change.id).collect();
            let views = &self.views;
            let is_shown = |id: &DocumentId| views.iter().any(|(_, view)| view.get(id).is_some());
            self.order.retain(|id| !gone.contains(id) || is_shown(id));
        }
    }

    /// Records a place without sending anything yet.
    pub(crate) fn note_place(&mut self, placement: Placement) {
        self.order.retain(|id| *id != placement.id);
        let next = placement.place.next();
        let at = next.and_then(|next| self.order.iter().position(|id| id == next));
        self.order.insert(at.unwrap_or(self.order.len()), placement.id);
    }

    /// Puts a document in its place, after the step that made or changed it.
    pub(crate) fn place(
        &mut self,
        view: ViewKey,
        delta: Option<&Arc<Delta>>,
        placement: &Placement,
        send: &mut impl FnMut(Outgoing),
    ) {
        let index = self.index(view);
        let previous = self.views[index].1.clone();
        if let Some(delta) = delta {
            self.note(view, delta);
        }
        let (before, after) = self.change(&placement.id, index, &previous, &self.views[index].1);
        let Placement { collection, id, place } = placement;
        send_placed(collection, id, place, before.as_ref(), after.as_ref(), send);
    }

    pub(crate) fn remove(
        &mut self,
        collection: &CollectionName,
        subscription: SubscriptionKey,
        send: &mut impl FnMut(Outgoing),
    ) {
        let of_subscription = |(key, _): &(ViewKey, Snapshot)| key.0 == subscription;
        while let Some(index) = self.views.iter().position(of_subscription) {
            if self.is_tracked() {
                let gone = self.views[index].1.clone();
                let ids = gone.iter().map(|(id, _)| id);
                self.replace(collection, index, &Snapshot::default(), ids, send);
            }
            self.views.remove(index);
        }
    }

    /// Removes a subscription's documents without sending anything.
    pub(crate) fn forget(&mut self, subscription: SubscriptionKey) {
        self.views.retain(|(key, _)| key.0 != subscription);
    }

    pub(crate) fn rename(&mut self, renamed: &BTreeMap<SubscriptionKey, SubscriptionKey>) {
        for ((subscription, _), _) in &mut self.views {
            if let Some(new) = renamed.get(subscription) {
                *subscription = *new;
            }
        }
    }

    /// Sends what turns the documents of `before` into these, in their places.
    pub(crate) fn send_difference(
        &mut self,
        before: &Self,
        collection: &CollectionName,
        send: &mut impl FnMut(Outgoing),
    ) {
        let mut order = std::mem::take(&mut self.order);
        order.retain(|id| self.snapshots().any(|snapshot| snapshot.get(id).is_some()));
        let placed: BTreeSet<&DocumentId> = order.iter().collect();
        let different = self.different(before);
        // First the documents that the client has, as in Meteor. Without merging, one subscription
        // may also show again what another one did.
        for had in [true, false] {
            for id in &different {
                for (was, is) in self.changes(before, id) {
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
            for (was, is) in self.changes(before, &id) {
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
        id: &DocumentId,
    ) -> Vec<(Option<FieldList<'a>>, Option<FieldList<'a>>)> {
        if self.strategy == PublicationStrategy::NoMerge {
            let document = |view: &'a Self, key| fields(view.snapshot(key)?.get(id));
            let keys = before.views.iter().chain(&self.views).map(|(key, _)| *key);
            let keys = keys.collect::<BTreeSet<_>>().into_iter();
            return keys.map(|key| (document(before, key), document(self, key))).collect();
        }
        let (mut was, is) = (merged(id, before.snapshots()), merged(id, self.snapshots()));
        let shown = before.snapshots().filter(|snapshot| snapshot.get(id).is_some());
        if self.strategy == PublicationStrategy::NoMergeMulti
            && shown.count() > 1
            && let (Some(was), Some(is)) = (&mut was, &is)
        {
            // The client has the values of whichever subscription came last, so all of them are
            // sent again.
            was.retain(|(name, _)| !is.iter().any(|(other, _)| other == name));
        }
        vec![(was, is)]
    }

    /// The documents that may differ between two views.
    fn different(&self, before: &Self) -> BTreeSet<DocumentId> {
        let (old, new) = (&before.views, &self.views);
        let mut ids = BTreeSet::new();
        for index in 0..old.len().max(new.len()) {
            let none = Snapshot::default();
            let was = old.get(index).map_or(&none, |(_, snapshot)| snapshot);
            let is = new.get(index).map_or(&none, |(_, snapshot)| snapshot);
            ids.extend(was.diff(is).into_iter().map(|change| change.id));
        }
        ids
    }

    fn index(&mut self, view: ViewKey) -> usize {
        let index = self.views.iter().position(|(key, _)| *key == view);
        index.unwrap_or_else(|| {
            self.views.push((view, Snapshot::default()));
            self.views.len() - 1
        })
    }

    fn snapshot(&self, view: ViewKey) -> Option<&Snapshot> {
        self.views.iter().find(|(key, _)| *key == view).map(|(_, snapshot)| snapshot)
    }

    fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.views.iter().map(|(_, snapshot)| snapshot)
    }

    /// Whether the client gets a subscription's steps unchanged.
    fn is_alone(&self) -> bool {
        match self.strategy {
            PublicationStrategy::ServerMerge | PublicationStrategy::NoMergeMulti => {
                self.views.len() == 1
            }
            PublicationStrategy::NoMerge | PublicationStrategy::NoMergeNoHistory => true,
        }
    }

    /// Replaces a subscription's snapshot by `next`, and sends the effect on the documents `ids`,
    /// which must include all that differ.
    fn replace<'a>(
        &mut self,
        collection: &CollectionName,
        index: usize,
        next: &Snapshot,
        ids: impl Iterator<Item = &'a DocumentId>,
        send: &mut impl FnMut(Outgoing),
    ) {
        let previous = std::mem::replace(&mut self.views[index].1, next.clone());
        for id in ids {
            let (before, after) = self.change(id, index, &previous, next);
            send_change(collection, id, before.as_ref(), after.as_ref(), send);
        }
    }

    /// What becomes of a document at the client when the snapshot of the subscription at `index`
    /// goes from `previous` to `next`.
    fn change<'a>(
        &'a self,
        id: &DocumentId,
        index: usize,
        previous: &'a Snapshot,
        next: &'a Snapshot,
    ) -> (Option<FieldList<'a>>, Option<FieldList<'a>>) {
        let others = || self.views.iter().enumerate().filter(|(at, _)| *at != index);
        let with = |own: &'a Snapshot| {
            let snapshots = self.views.iter().enumerate();
            snapshots.map(move |(at, (_, view))| if at == index { own } else { view })
        };
        match self.strategy {
            PublicationStrategy::ServerMerge => {
                (merged(id, with(previous)), merged(id, with(next)))
            }
            PublicationStrategy::NoMerge | PublicationStrategy::NoMergeNoHistory => {
                (fields(previous.get(id)), fields(next.get(id)))
            }
            PublicationStrategy::NoMergeMulti => {
                let (before, after) = (fields(previous.get(id)), fields(next.get(id)));
                let is_shown = others().any(|(_, (_, view))| view.get(id).is_some());
                match (&before, &after) {
                    (None, Some(_)) if is_shown => (Some(FieldList::new()), after),
                    (Some(_), None) if is_shown => (None, None),
                    _ => (before, after),
                }
            }
        }
    }
}

fn fields(document: Option<&Arc<Document>>) -> Option<FieldList<'_>> {
    document.map(|document| document.iter().collect())
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
