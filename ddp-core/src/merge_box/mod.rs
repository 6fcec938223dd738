//! What one session's client sees: the union of its subscriptions' documents.
//!
//! Meteor keeps a copy of every document for every client. This merge box keeps, per collection, an
//! ordered list of [`Snapshot`](crate::Snapshot)s, one for each subscription, and derives the rest:
//! a document is visible if any snapshot has it, and each of its fields comes from the first
//! subscription, in the order in which they began to show the collection, that has the field.

mod collection_view;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use collection_view::SessionCollectionView;

use crate::session::SubscriptionKey;
use crate::snapshot::{CollectionName, Delta};

/// Something to send to the client.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// One message of this session alone.
    Text(String),
    /// The messages of a delta as they are, shared with other sessions.
    Shared(Arc<Delta>),
}

/// Where a subscription's documents of a collection come from. A publication may return a cursor and
/// add documents of the same collection by hand; each has its own versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The publication adds, changes and removes them itself.
    ByHand,
    /// A live query.
    Cursor,
}

/// All views of one session.
#[derive(Debug, Default)]
pub struct MergeBox {
    collections: BTreeMap<CollectionName, SessionCollectionView>,
}

impl MergeBox {
    /// Brings a subscription's documents to the state after the delta.
    ///
    /// A delta that does not start where the subscription stands is no error: an older one is
    /// ignored, and one from further ahead (the session lagged, and steps were dropped) sends the
    /// difference between what the client has and the delta's snapshot.
    pub fn apply(
        &mut self,
        subscription: SubscriptionKey,
        source: Source,
        delta: &Arc<Delta>,
        send: &mut impl FnMut(Outgoing),
    ) {
        let collection = delta.collection();
        if !self.collections.contains_key(collection) {
            self.collections.insert(collection.clone(), SessionCollectionView::default());
        }
        if let Some(view) = self.collections.get_mut(collection) {
            view.apply((subscription, source), delta, send);
        }
    }

    /// Takes a subscription's documents away.
    pub fn remove(&mut self, subscription: SubscriptionKey, send: &mut impl FnMut(Outgoing)) {
        self.collections.retain(|collection, view| {
            view.remove(collection, subscription, send);
            !view.is_empty()
        });
    }
}
