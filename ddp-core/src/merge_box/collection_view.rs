//! One collection of one session, as Meteor's `SessionCollectionView`.

use std::sync::Arc;

use super::{Outgoing, Source};
use crate::document::Document;
use crate::id::DocumentId;
use crate::message::encode::{FieldList, push_difference};
use crate::session::SubscriptionKey;
use crate::snapshot::{CollectionName, Delta, Snapshot};

/// What each subscription of a session shows of one collection, in order of precedence.
#[derive(Debug, Default)]
pub(crate) struct SessionCollectionView {
    views: Vec<(ViewKey, Snapshot)>,
}

type ViewKey = (SubscriptionKey, Source);

impl SessionCollectionView {
    pub(crate) fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    pub(crate) fn apply(
        &mut self,
        view: ViewKey,
        delta: &Arc<Delta>,
        send: &mut impl FnMut(Outgoing),
    ) {
        let index = self.views.iter().position(|(key, _)| *key == view);
        let index = index.unwrap_or_else(|| {
            self.views.push((view, Snapshot::default()));
            self.views.len() - 1
        });
        let version = self.views[index].1.version();
        if delta.to() <= version {
            return;
        }
        let contiguous = delta.from() == version;
        if contiguous && self.views.len() == 1 {
            self.views[index].1 = delta.after().clone();
            if !delta.changes().is_empty() {
                send(Outgoing::Shared(Arc::clone(delta)));
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

    pub(crate) fn remove(
        &mut self,
        collection: &CollectionName,
        subscription: SubscriptionKey,
        send: &mut impl FnMut(Outgoing),
    ) {
        let of_subscription = |(key, _): &(ViewKey, Snapshot)| key.0 == subscription;
        while let Some(index) = self.views.iter().position(of_subscription) {
            let gone = self.views[index].1.clone();
            let ids = gone.iter().map(|(id, _)| id);
            self.replace(collection, index, &Snapshot::default(), ids, send);
            self.views.remove(index);
        }
    }

    /// Puts `next` in the place of a subscription's snapshot and sends what that does to the
    /// documents `ids`, which must be all in which the two differ.
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
            let before = self.merged(id, index, &previous);
            let after = self.merged(id, index, next);
            let mut text = String::new();
            if push_difference(&mut text, collection, id, before.as_ref(), after.as_ref()) {
                send(Outgoing::Text(text));
            }
        }
    }

    /// The union of a document's fields over all subscriptions, with `snapshot` in the place of the
    /// one at `index`.
    fn merged<'a>(
        &'a self,
        id: &DocumentId,
        index: usize,
        snapshot: &'a Snapshot,
    ) -> Option<FieldList<'a>> {
        let snapshots = self
            .views
            .iter()
            .enumerate()
            .map(|(at, (_, view))| if at == index { snapshot } else { view });
        let mut documents = snapshots.filter_map(|view| view.get(id));
        let mut fields: FieldList<'a> = documents.next()?.iter().collect();
        let mut last: Option<&Arc<Document>> = None;
        for document in documents {
            // Live queries over one collection usually share the very same document.
            if last.is_some_and(|last| Arc::ptr_eq(last, document)) {
                continue;
            }
            last = Some(document);
            for (name, value) in document.iter() {
                if !fields.iter().any(|(seen, _)| *seen == name) {
                    fields.push((name, value));
                }
            }
        }
        Some(fields)
    }
}
