//! Publications with live queries and documents by hand, and their mail on its way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ddp_core::merge_box::{
    Direct, Place, Placement, PublicationStrategies, PublicationStrategy, Source,
};
use ddp_core::session::Input;
use ddp_core::{
    CollectionName, Delta, Document, DocumentId, LiveQueryKey, Snapshot, SubscriptionKey,
};

use super::documents::documents;
use super::{COLLECTIONS, ORDERED};
use crate::client::{Documents, Fields};

/// How many publications there are.
pub(super) const PUBLICATIONS: u8 = 12;

/// The collection of each live query.
const QUERIES: [&str; 4] = [COLLECTIONS[0], COLLECTIONS[0], COLLECTIONS[1], COLLECTIONS[2]];

/// Something for a session.
#[derive(Clone, Debug)]
pub(super) enum Mail {
    Delta(SubscriptionKey, Source, Arc<Delta>),
    Step(LiveQueryKey, Arc<Delta>),
    Placed(SubscriptionKey, Option<Arc<Delta>>, Placement),
    Direct(SubscriptionKey, Direct),
}

impl Mail {
    pub(super) fn input(self) -> Input<'static> {
        match self {
            Self::Delta(key, source, delta) => Input::Delta(key, source, delta),
            Self::Step(query, delta) => Input::Step(query, delta),
            Self::Placed(key, delta, placement) => Input::Placed(key, delta, placement),
            Self::Direct(key, direct) => Input::Direct(key, direct),
        }
    }
}

/// A live query, with a plain copy of what it should hold.
#[derive(Debug, Default)]
struct Query {
    snapshot: Snapshot,
    documents: Documents,
}

#[derive(Debug, Default)]
struct Run {
    publication: u8,
    by_hand: BTreeMap<&'static str, Snapshot>,
}

/// All publications of a server, for one session.
#[derive(Debug)]
pub(super) struct Publications {
    strategies: PublicationStrategies,
    queries: [Query; QUERIES.len()],
    runs: BTreeMap<SubscriptionKey, Run>,
    mail: VecDeque<Mail>,
}

impl Publications {
    pub(super) fn new(strategies: PublicationStrategies) -> Self {
        let (runs, mail) = Default::default();
        Self { strategies, queries: Default::default(), runs, mail }
    }

    /// The live queries that a publication follows, at most one per collection.
    fn followed(publication: u8) -> impl Iterator<Item = usize> {
        let of_first = [None, Some(0), Some(1)][usize::from(publication % 3)];
        let of_second = (publication / 3 % 2 == 1).then_some(2);
        let of_third = (publication / 6 % 2 == 1).then_some(3);
        [of_first, of_second, of_third].into_iter().flatten()
    }

    pub(super) fn begin(&mut self, key: SubscriptionKey, publication: u8) {
        for query in Self::followed(publication) {
            let delta = self.queries[query].snapshot.initial(&QUERIES[query].into());
            self.mail.push_back(Mail::Delta(key, Source::LiveQuery(query_key(query)), delta));
        }
        self.runs.insert(key, Run { publication, ..Run::default() });
    }

    /// Mail that is still on its way.
    pub(super) fn end(&mut self, key: SubscriptionKey) {
        self.runs.remove(&key);
    }

    pub(super) fn rerun(&mut self, renamed: &BTreeMap<SubscriptionKey, SubscriptionKey>) {
        let old = std::mem::take(&mut self.runs);
        assert!(old.keys().eq(renamed.keys()));
        for (key, run) in old {
            self.begin(renamed[&key], run.publication);
        }
    }

    /// Sets a document of a live query to these fields, or removes it.
    pub(super) fn write(&mut self, query: u8, id: u8, fields: Option<Fields>) {
        let query = usize::from(query) % QUERIES.len();
        let Query { snapshot, documents: copy } = &mut self.queries[query];
        let id = document_id(id);
        match fields.clone() {
            Some(fields) => copy.insert(id.to_string(), fields),
            None => copy.remove(id.as_str()),
        };
        let step = BTreeMap::from([(id, fields.map(document))]);
        let delta = snapshot.advance(&QUERIES[query].into(), step);
        assert_eq!(documents(snapshot), *copy);
        let follows = |run: &Run| Self::followed(run.publication).any(|other| other == query);
        if let Some(delta) = delta
            && self.runs.values().any(follows)
        {
            self.mail.push_back(Mail::Step(query_key(query), delta));
        }
    }

    /// Publishes a document by hand, or removes it.
    pub(super) fn by_hand(
        &mut self,
        key: SubscriptionKey,
        collection: u8,
        id: u8,
        fields: Option<Fields>,
    ) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        let name = COLLECTIONS[usize::from(collection) % COLLECTIONS.len()];
        let (id, document) = (document_id(id), fields.map(document));
        if self.strategies.of(name) == PublicationStrategy::NoMergeNoHistory {
            if let Some(document) = document {
                let after = Some(Arc::unwrap_or_clone(document));
                let direct =
                    Direct { collection: name.into(), id, before: None, after, place: None };
                self.mail.push_back(Mail::Direct(key, direct));
            }
            return;
        }
        let step = BTreeMap::from([(id, document)]);
        let snapshot = run.by_hand.entry(name).or_default();
        if let Some(delta) = snapshot.advance(&name.into(), step) {
            self.mail.push_back(Mail::Delta(key, Source::ByHand, delta));
        }
    }

    /// Puts a document of the ordered collection in its place.
    pub(super) fn place(
        &mut self,
        key: SubscriptionKey,
        id: u8,
        fields: Option<Fields>,
        before: Option<u8>,
    ) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        let (id, name) = (document_id(id), CollectionName::from(ORDERED));
        let snapshot = run.by_hand.entry(ORDERED).or_default();
        let step = fields.map(|fields| BTreeMap::from([(id.clone(), Some(document(fields)))]));
        let delta = step.and_then(|step| snapshot.advance(&name, step));
        if snapshot.get(&id).is_some() {
            let place = Place::before(before.map(document_id));
            let placement = Placement { collection: name, id, place };
            self.mail.push_back(Mail::Placed(key, delta, placement));
        }
    }

    pub(super) fn next_mail(&mut self) -> Option<Mail> {
        self.mail.pop_front()
    }

    /// Keeps only the newest step of each source, in the oldest one's position, and of each live
    /// query, after what begins to show it. If documents have places, no step may be skipped.
    pub(super) fn conflate(&mut self) {
        let mut kept: VecDeque<Mail> = VecDeque::new();
        for mail in std::mem::take(&mut self.mail) {
            let same = |other: &Mail| match (other, &mail) {
                (Mail::Delta(key, source, old), Mail::Delta(other, other_source, new)) => {
                    (key, source, old.collection()) == (other, other_source, new.collection())
                        && &**old.collection() != ORDERED
                }
                (Mail::Step(query, _), Mail::Step(other, _)) => query == other,
                _ => false,
            };
            match kept.iter().position(same) {
                Some(old) if matches!(mail, Mail::Delta(..)) => kept[old] = mail,
                Some(old) => {
                    kept.remove(old);
                    kept.push_back(mail);
                }
                None => kept.push_back(mail),
            }
        }
        self.mail = kept;
    }
}

fn query_key(query: usize) -> LiveQueryKey {
    LiveQueryKey::from(query as u64)
}

fn document_id(id: u8) -> DocumentId {
    DocumentId::from_string(&format!("d{}", id % 5))
}

fn document(fields: Fields) -> Arc<Document> {
    let fields = fields.iter().map(|(name, value)| (name.as_str().into(), value.as_str()));
    Arc::new(Document::from_fields(fields).expect("short values"))
}
