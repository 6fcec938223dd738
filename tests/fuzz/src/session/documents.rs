//! What each subscription shows, kept as plain copies.

use std::collections::BTreeSet;

use ddp_core::merge_box::{PublicationStrategies, PublicationStrategy, Source};
use ddp_core::{Delta, LiveQueryKey, Snapshot, SubscriptionKey};

use super::COLLECTIONS;
use crate::client::{Client, Documents, Strictness};

/// What a client must have of each collection, and how strictly.
pub(super) type State = [(Strictness, Documents); COLLECTIONS.len()];

/// Everything that a client's subscriptions have published.
#[derive(Debug)]
pub(super) struct Shown {
    strategies: PublicationStrategies,
    views: [Vec<View>; COLLECTIONS.len()],
    /// What the client had before the subscriptions began to run again.
    held: Option<[Documents; COLLECTIONS.len()]>,
    /// The first one that showed something of a collection, and whether others did.
    first: [Option<SubscriptionKey>; COLLECTIONS.len()],
    is_mixed: [bool; COLLECTIONS.len()],
}

#[derive(Debug)]
struct View {
    key: SubscriptionKey,
    source: Source,
    version: u64,
    documents: Documents,
}

impl View {
    fn take(&mut self, delta: &Delta) {
        if delta.to() > self.version {
            self.version = delta.to();
            self.documents = documents(delta.after());
        }
    }
}

impl Shown {
    pub(super) fn new(strategies: PublicationStrategies) -> Self {
        Self {
            strategies,
            views: Default::default(),
            held: None,
            first: [None; COLLECTIONS.len()],
            is_mixed: [false; COLLECTIONS.len()],
        }
    }

    /// An active subscription made a step.
    pub(super) fn take(&mut self, key: SubscriptionKey, source: Source, delta: &Delta) {
        self.view(key, source, delta.collection()).take(delta);
        let collection = index(delta.collection());
        if let Source::LiveQuery(_) = source
            && self.strategy(collection) == PublicationStrategy::ServerMerge
        {
            // All that show a live query show it at the same point: the newest that is known.
            let views = &mut self.views[collection];
            let same = |view: &&View| view.source == source;
            let Some(newest) = views.iter().filter(same).max_by_key(|view| view.version) else {
                return;
            };
            let (version, documents) = (newest.version, newest.documents.clone());
            for view in views.iter_mut().filter(|view| view.source == source) {
                (view.version, view.documents) = (version, documents.clone());
            }
        }
    }

    /// A live query made a step.
    pub(super) fn step(&mut self, query: LiveQueryKey, delta: &Delta) {
        for view in &mut self.views[index(delta.collection())] {
            if view.source == Source::LiveQuery(query) {
                view.take(delta);
            }
        }
    }

    /// A subscription began to show a collection, if it did not before.
    pub(super) fn begin(&mut self, key: SubscriptionKey, source: Source, collection: &str) {
        self.view(key, source, collection);
    }

    fn view(&mut self, key: SubscriptionKey, source: Source, collection: &str) -> &mut View {
        let collection = index(collection);
        self.is_mixed[collection] |= *self.first[collection].get_or_insert(key) != key;
        let views = &mut self.views[collection];
        let found = views.iter().position(|view| (view.key, view.source) == (key, source));
        self.is_mixed[collection] |= found.is_none() && !views.is_empty();
        let found = found.unwrap_or_else(|| {
            views.push(View { key, source, version: 0, documents: Documents::new() });
            views.len() - 1
        });
        &mut views[found]
    }

    pub(super) fn remove(&mut self, key: SubscriptionKey) {
        for (views, first) in self.views.iter_mut().zip(&mut self.first) {
            views.retain(|view| view.key != key);
            if views.is_empty() && self.held.is_none() {
                *first = None;
            }
        }
    }

    /// The subscriptions run again.
    pub(super) fn hold(&mut self, new_key: impl Fn(SubscriptionKey) -> Option<SubscriptionKey>) {
        let before = COLLECTIONS.map(|name| self.union(index(name)));
        self.held.get_or_insert(before);
        self.views = Default::default();
        for first in &mut self.first {
            *first = first.map(|key| new_key(key).unwrap_or(key));
        }
    }

    /// They have run.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    fn strategy(&self, collection: usize) -> PublicationStrategy {
        self.strategies.of(COLLECTIONS[collection])
    }

    /// How strictly a message about a document must fit.
    pub(super) fn strictness(&self, collection: &str) -> Strictness {
        match self.strategy(index(collection)) {
            PublicationStrategy::ServerMerge => Strictness::Fields,
            PublicationStrategy::NoMergeMulti => Strictness::Documents,
            PublicationStrategy::NoMerge if !self.is_mixed[index(collection)] => Strictness::Fields,
            PublicationStrategy::NoMerge | PublicationStrategy::NoMergeNoHistory => {
                Strictness::Nothing
            }
        }
    }

    /// What the client must have now.
    pub(super) fn state(&self) -> State {
        COLLECTIONS.map(|name| {
            let documents = match &self.held {
                Some(held) => held[index(name)].clone(),
                None => self.union(index(name)),
            };
            (self.strictness(name), documents)
        })
    }

    /// Checks that the client has what the subscriptions show.
    pub(super) fn check(&self, client: &Client) {
        check(&self.state(), client);
    }

    /// Each field from the first that has it, in the order in which they began.
    fn union(&self, collection: usize) -> Documents {
        let mut union = Documents::new();
        for (id, fields) in self.views[collection].iter().flat_map(|view| &view.documents) {
            let document = union.entry(id.clone()).or_default();
            for (name, value) in fields {
                document.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        union
    }
}

/// Checks that the client has what it must have.
pub(super) fn check(state: &State, client: &Client) {
    for (name, (strictness, expected)) in COLLECTIONS.into_iter().zip(state) {
        let documents = client.documents(name);
        match strictness {
            Strictness::Fields => assert_eq!(documents, expected, "{name}"),
            Strictness::Documents => {
                let ids = |documents: &Documents| -> BTreeSet<String> {
                    documents.keys().cloned().collect()
                };
                assert_eq!(ids(documents), ids(expected), "{name}");
            }
            Strictness::Nothing => {}
        }
    }
}

fn index(collection: &str) -> usize {
    COLLECTIONS.iter().position(|name| *name == collection).expect("a collection")
}

/// A copy of all documents.
pub(super) fn documents(snapshot: &Snapshot) -> Documents {
    let fields = |document: &ddp_core::Document| {
        document.iter().map(|(name, value)| (name.to_string(), value.to_owned())).collect()
    };
    snapshot.iter().map(|(id, document)| (id.to_string(), fields(document))).collect()
}
