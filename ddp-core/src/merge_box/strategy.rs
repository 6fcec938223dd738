//! Meteor's publication strategies.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::snapshot::CollectionName;

/// How a session combines the documents that several subscriptions publish to one collection:
/// Meteor's `DDPServer.publicationStrategies`.
///
/// In Meteor the other strategies save the copy that it keeps of each document for each client.
/// Here no strategy keeps copies; they save the work of merging, and change what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PublicationStrategy {
    /// `SERVER_MERGE`: the client is sent the union of all subscriptions, and only the fields that
    /// differ after a change. The default.
    #[default]
    ServerMerge,
    /// `NO_MERGE_NO_HISTORY`: whatever a subscription publishes is sent unchanged, and the end of a
    /// subscription removes nothing. For queues whose messages are sent and forgotten.
    NoMergeNoHistory,
    /// `NO_MERGE`: also sent unchanged, but the end of a subscription removes its documents, even
    /// those that another subscription publishes as well. For collections filled by one
    /// publication.
    NoMerge,
    /// `NO_MERGE_MULTI`: like `NO_MERGE`, but a document is removed only when no subscription
    /// publishes it any more. Fields are not merged: if several subscriptions publish different
    /// values of a field, the client sees the one that was sent last.
    NoMergeMulti,
}

/// The strategy of each collection. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicationStrategies {
    default: PublicationStrategy,
    collections: Arc<BTreeMap<CollectionName, PublicationStrategy>>,
}

impl PublicationStrategies {
    /// The same strategy for all collections.
    #[must_use]
    pub fn new(default: PublicationStrategy) -> Self {
        Self { default, collections: Arc::default() }
    }

    /// Sets the strategy of one collection.
    #[must_use]
    pub fn with(
        mut self,
        collection: impl Into<CollectionName>,
        strategy: PublicationStrategy,
    ) -> Self {
        Arc::make_mut(&mut self.collections).insert(collection.into(), strategy);
        self
    }

    /// The strategy of a collection.
    #[must_use]
    pub fn of(&self, collection: &str) -> PublicationStrategy {
        self.collections.get(collection).copied().unwrap_or(self.default)
    }
}
