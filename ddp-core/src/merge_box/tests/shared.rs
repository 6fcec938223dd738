//! Subscriptions that show the same live queries, against a union in which each has its own copy.

use super::*;
use crate::id::LiveQueryKey;

const COLLECTION: &str = "c";
const SUBSCRIPTIONS: usize = 6;
const QUERIES: u8 = 4;

/// The fields of a document with their values, or none if it goes.
type Contents = Option<Vec<(u8, u8)>>;

#[derive(Clone, Debug)]
enum Operation {
    /// Begins to show a live query.
    Show {
        query: u8,
    },
    /// Sets a document of a live query to these fields, or removes it. The step may get lost.
    Step {
        query: u8,
        id: u8,
        fields: Contents,
        deliver: bool,
    },
    /// The same for all live queries, as a change of a row that they share.
    StepAll {
        id: u8,
        fields: Contents,
    },
    /// The same for several documents in one step, which live queries of the same documents share.
    /// They hear of it from this one on, forwards or backwards, some of them later.
    StepTogether {
        documents: Vec<(u8, Contents)>,
        first: u8,
        backwards: bool,
        late: u8,
    },
    /// What they have yet to hear.
    Late,
    /// A live query gets the documents of another, as one step.
    Copy {
        from: u8,
        to: u8,
    },
    ByHand {
        id: u8,
        fields: Contents,
    },
    Remove,
    Hold,
    Release,
}

fn operation() -> impl Strategy<Value = (usize, Operation)> {
    let fields = || {
        let fields = proptest::collection::vec((0..4u8, 0..3u8), 0..4);
        proptest::option::weighted(0.7, fields)
    };
    let step = (0..QUERIES, 0..4u8, fields(), proptest::bool::weighted(0.8));
    let step = step.prop_map(|(query, id, fields, deliver)| Operation::Step {
        query,
        id,
        fields,
        deliver,
    });
    let documents = proptest::collection::vec((0..4u8, fields()), 1..4);
    let together = (documents, 0..QUERIES, any::<bool>(), any::<u8>());
    let together = together.prop_map(|(documents, first, backwards, late)| {
        Operation::StepTogether { documents, first, backwards, late }
    });
    let operation = prop_oneof![
        6 => (0..QUERIES).prop_map(|query| Operation::Show { query }),
        6 => step,
        3 => (0..4u8, fields()).prop_map(|(id, fields)| Operation::StepAll { id, fields }),
        6 => together,
        2 => Just(Operation::Late),
        6 => (0..QUERIES, 0..QUERIES).prop_map(|(from, to)| Operation::Copy { from, to }),
        3 => (0..4u8, fields()).prop_map(|(id, fields)| Operation::ByHand { id, fields }),
        3 => Just(Operation::Remove),
        1 => Just(Operation::Hold),
        1 => Just(Operation::Release),
    ];
    (0..SUBSCRIPTIONS, operation)
}

fn document(fields: Contents) -> Option<Arc<Document>> {
    let texts: Vec<_> =
        fields?.iter().map(|(name, value)| (format!("f{name}"), value.to_string())).collect();
    let fields = texts.iter().map(|(name, value)| (name.as_str().into(), value.as_str()));
    Some(Arc::new(Document::from_fields(fields).unwrap()))
}

/// What the client should see, and what does not count on the merge box for it.
#[derive(Default)]
struct Model {
    queries: [Snapshot; QUERIES as usize],
    /// As the merge box was told of them last.
    told: [Snapshot; QUERIES as usize],
    keys: [u64; SUBSCRIPTIONS],
    last_key: u64,
    by_hand: BTreeMap<u64, Snapshot>,
    /// Steps that have yet to be told.
    late: Vec<(u8, Arc<Delta>)>,
    /// Who shows what, in the order in which they began.
    views: Vec<(u64, Source)>,
}

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        (0..SUBSCRIPTIONS).for_each(|index| model.renew(index));
        model
    }

    /// Gives a subscription another key.
    fn renew(&mut self, index: usize) {
        self.last_key += 1;
        self.keys[index] = self.last_key;
    }

    fn show(&mut self, key: u64, source: Source) {
        if !self.views.contains(&(key, source)) {
            self.views.push((key, source));
        }
    }

    fn shows(&self, query: u8) -> bool {
        self.views.iter().any(|(_, source)| *source == live(query))
    }

    fn union(&self) -> Documents {
        let mut union = Documents::new();
        for (key, source) in &self.views {
            let snapshot = match source {
                Source::LiveQuery(query) => (0..QUERIES)
                    .find(|other| LiveQueryKey::from(u64::from(*other)) == *query)
                    .map(|query| &self.told[usize::from(query)]),
                _ => self.by_hand.get(key),
            };
            for (id, document) in snapshot.unwrap().iter() {
                let fields = union.entry(id.to_string()).or_default();
                for (field, value) in document.iter() {
                    fields.entry(field.to_string()).or_insert_with(|| value.to_owned());
                }
            }
        }
        union
    }
}

fn live(query: u8) -> Source {
    Source::LiveQuery(LiveQueryKey::from(u64::from(query)))
}

/// A step of some live queries, told if `deliver`.
fn step(
    model: &mut Model,
    merge_box: &mut MergeBox,
    query: u8,
    (id, document): (&DocumentId, Option<&Arc<Document>>),
    deliver: bool,
    send: &mut impl FnMut(Outgoing),
) {
    let documents = BTreeMap::from([(id.clone(), document.cloned())]);
    let delta = model.queries[usize::from(query)].advance(&COLLECTION.into(), documents);
    tell(model, merge_box, query, delta.filter(|_| deliver), send);
}

/// A step of several documents of all live queries: those that share documents share it.
fn step_together(
    model: &mut Model,
    merge_box: &mut MergeBox,
    documents: &BTreeMap<DocumentId, Option<Arc<Document>>>,
    turns: impl Iterator<Item = u8>,
    late: u8,
    send: &mut impl FnMut(Outgoing),
) {
    let mut taken: Vec<(Snapshot, Arc<Delta>)> = Vec::new();
    for query in turns {
        let snapshot = &mut model.queries[usize::from(query)];
        let like = taken.iter().find_map(|(before, step)| snapshot.follow(before, step));
        let delta = like.or_else(|| {
            let before = snapshot.clone();
            let step = snapshot.advance(&COLLECTION.into(), documents.clone())?;
            taken.push((before, Arc::clone(&step)));
            Some(step)
        });
        if late >> query & 1 == 1 {
            model.late.extend(delta.map(|delta| (query, delta)));
            continue;
        }
        tell(model, merge_box, query, delta, send);
    }
}

fn tell(
    model: &mut Model,
    merge_box: &mut MergeBox,
    query: u8,
    delta: Option<Arc<Delta>>,
    send: &mut impl FnMut(Outgoing),
) {
    let at = usize::from(query);
    if let Some(delta) = delta {
        let query_key = LiveQueryKey::from(u64::from(query));
        merge_box.step(query_key, &delta, send);
        merge_box.step(query_key, &delta, &mut |again| panic!("sent again: {again:?}"));
        if model.shows(query) && delta.to() > model.told[at].version() {
            model.told[at] = delta.after().clone();
        }
    }
}

proptest! {
    /// Whoever shows a live query, and however often, the client sees the union of what each would
    /// show alone, in the order in which they began.
    #[test]
    fn a_shared_live_query_is_seen_as_if_each_had_its_own(
        operations in proptest::collection::vec(operation(), 1..80),
    ) {
        let mut merge_box = MergeBox::default();
        let mut client = Client::default();
        let mut model = Model::new();
        let mut is_held = false;
        for (index, operation) in operations {
            let key = model.keys[index];
            let subscription = SubscriptionKey::from(key);
            let mut messages = Vec::new();
            let mut send = |outgoing: Outgoing| match outgoing {
                Outgoing::Text(text) => messages.push(text),
                Outgoing::Shared(delta) => delta.for_each_message(|text| messages.push(text.to_owned())),
            };
            match operation {
                Operation::Show { query } => {
                    let at = usize::from(query);
                    let initial = model.queries[at].initial(&COLLECTION.into());
                    merge_box.apply(subscription, live(query), initial, &mut send);
                    model.told[at] = model.queries[at].clone();
                    model.show(key, live(query));
                }
                Operation::Step { query, id, fields, deliver } => {
                    let (id, document) = (DocumentId::from_string(&format!("d{id}")), document(fields));
                    let change = (&id, document.as_ref());
                    step(&mut model, &mut merge_box, query, change, deliver, &mut send);
                }
                Operation::StepAll { id, fields } => {
                    let (id, document) = (DocumentId::from_string(&format!("d{id}")), document(fields));
                    for query in 0..QUERIES {
                        let change = (&id, document.as_ref());
                        step(&mut model, &mut merge_box, query, change, true, &mut send);
                    }
                }
                Operation::Late => {
                    for (query, delta) in std::mem::take(&mut model.late) {
                        tell(&mut model, &mut merge_box, query, Some(delta), &mut send);
                    }
                }
                Operation::StepTogether { documents, first, backwards, late } => {
                    let id = |id| DocumentId::from_string(&format!("d{id}"));
                    let documents =
                        documents.into_iter().map(|(key, fields)| (id(key), document(fields)));
                    let turns = (0..QUERIES).map(|turn| {
                        let turn = if backwards { QUERIES - turn } else { turn };
                        (first + turn) % QUERIES
                    });
                    let documents = documents.collect();
                    step_together(&mut model, &mut merge_box, &documents, turns, late, &mut send);
                }
                Operation::Copy { from, to } => {
                    let from = model.queries[usize::from(from)].clone();
                    let documents = from.iter().map(|(id, d)| (id.clone(), Arc::clone(d)));
                    let copy = &mut model.queries[usize::from(to)];
                    let delta = copy.replace(&COLLECTION.into(), documents.collect());
                    prop_assert!(copy.share(&from));
                    tell(&mut model, &mut merge_box, to, delta, &mut send);
                }
                Operation::ByHand { id, fields } => {
                    let snapshot = model.by_hand.entry(key).or_default();
                    let id = DocumentId::from_string(&format!("d{id}"));
                    let documents = BTreeMap::from([(id, document(fields))]);
                    if let Some(delta) = snapshot.advance(&COLLECTION.into(), documents) {
                        merge_box.apply(subscription, Source::ByHand, delta, &mut send);
                        model.show(key, Source::ByHand);
                    }
                }
                Operation::Remove => {
                    merge_box.remove(subscription, &mut send);
                    model.views.retain(|(other, _)| *other != key);
                    model.by_hand.remove(&key);
                    model.renew(index);
                }
                Operation::Hold => {
                    let before = model.keys;
                    (0..SUBSCRIPTIONS).for_each(|index| model.renew(index));
                    let renamed = before.into_iter().zip(model.keys);
                    let key = SubscriptionKey::from;
                    let renamed = renamed.map(|(old, new)| (key(old), key(new))).collect();
                    merge_box.hold(&renamed, &mut send);
                    model.views.clear();
                    model.by_hand.clear();
                    is_held = true;
                }
                Operation::Release => {
                    merge_box.release(&mut send);
                    is_held = false;
                }
            }
            prop_assert!(!is_held || messages.is_empty(), "{:?}", messages);
            for message in messages {
                client.apply(&message);
            }
            client.0.retain(|_, documents| !documents.is_empty());
            if !is_held {
                let seen = client.0.get(COLLECTION).cloned().unwrap_or_default();
                prop_assert_eq!(seen, model.union());
            }
        }
    }
}

#[test]
fn a_step_that_comes_late_is_seen_where_an_earlier_subscription_shows_less_by_then() {
    let mut merge_box = MergeBox::default();
    let (mut client, mut messages) = (Client::default(), Vec::new());
    let mut send = |outgoing: Outgoing| match outgoing {
        Outgoing::Text(text) => messages.push(text),
        Outgoing::Shared(delta) => {
            delta.for_each_message(|text| messages.push(text.to_owned()));
        }
    };
    let step = |snapshot: &mut Snapshot, fields: &[(u8, u8)]| {
        let documents = [(DocumentId::from_string("d"), document(Some(fields.to_vec())))];
        snapshot.advance(&COLLECTION.into(), BTreeMap::from(documents)).unwrap()
    };
    let mut first = Snapshot::default();
    step(&mut first, &[(0, 0), (1, 0)]);
    for query in 0..QUERIES {
        let initial = first.initial(&COLLECTION.into());
        merge_box.apply(u64::from(query).into(), live(query), initial, &mut send);
    }
    let (key, before, mut second) = (LiveQueryKey::from, first.clone(), first.clone());
    let update = step(&mut first, &[(0, 1), (1, 1)]);
    merge_box.step(key(0), &update, &mut send);
    merge_box.step(key(0), &step(&mut first, &[(0, 2)]), &mut send);
    merge_box.step(key(1), &second.follow(&before, &update).unwrap(), &mut send);
    messages.iter().for_each(|text| client.apply(text));
    let seen = |field: &str| client.0[COLLECTION]["d"][field].clone();
    assert_eq!((seen("f0"), seen("f1")), ("2".to_owned(), "1".to_owned()));
}
