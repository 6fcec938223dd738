//! What one subscription shows of a collection.

use super::io::Source;
use crate::id::{LiveQueryKey, SubscriptionKey};
use crate::snapshot::Snapshot;

/// What one subscription shows of a collection, from one source.
#[derive(Debug)]
pub(super) struct View {
    pub(super) subscription: SubscriptionKey,
    pub(super) source: Source,
    /// Empty in a shadow: a view of a live query that an earlier view shows already.
    pub(super) snapshot: Snapshot,
}

impl View {
    pub(super) fn new((subscription, source): ViewKey) -> Self {
        Self { subscription, source, snapshot: Snapshot::default() }
    }

    pub(super) fn key(&self) -> ViewKey {
        (self.subscription, self.source)
    }

    /// What it is called when its subscription runs again, perhaps with another live query.
    pub(super) fn role(&self) -> (SubscriptionKey, bool) {
        (self.subscription, self.source == Source::ByHand)
    }

    pub(super) fn live_query(&self) -> Option<LiveQueryKey> {
        match self.source {
            Source::LiveQuery(query) => Some(query),
            Source::ByHand | Source::Cursor => None,
        }
    }
}

pub(super) type ViewKey = (SubscriptionKey, Source);
