//! Meteor's four publication strategies, with two overlapping subscriptions.

use super::*;
use crate::snapshot::CollectionName;

/// Two subscriptions to one collection, and what was sent since the last look.
struct Peer {
    merge_box: MergeBox,
    snapshots: BTreeMap<u64, Snapshot>,
    sent: Vec<String>,
}

impl Peer {
    fn new(strategy: PublicationStrategy) -> Self {
        let strategies = PublicationStrategies::default().with("c", strategy);
        assert_eq!(strategies.of("other"), PublicationStrategy::ServerMerge);
        Self { merge_box: MergeBox::new(strategies), snapshots: BTreeMap::new(), sent: vec![] }
    }

    fn step(&mut self, key: u64, id: &str, fields: Option<&[(&str, &str)]>) -> Arc<Delta> {
        let fields = fields.map(|fields| fields.iter().map(|(name, text)| ((*name).into(), *text)));
        let document = fields.map(|fields| Arc::new(Document::from_fields(fields).unwrap()));
        let step = BTreeMap::from([(DocumentId::from_string(id), document)]);
        let snapshot = self.snapshots.entry(key).or_default();
        snapshot.advance(&CollectionName::from("c"), step).unwrap()
    }

    /// Sets a subscription's document to these fields, or removes it.
    fn set(&mut self, key: u64, id: &str, fields: Option<&[(&str, &str)]>) -> Vec<String> {
        let delta = self.step(key, id, fields);
        let mut sent = Vec::new();
        let key = SubscriptionKey::from(key);
        self.merge_box.apply(key, Source::Cursor, delta.clone(), &mut note(&mut sent));
        sent
    }

    /// Sets a subscription's document and puts it in its place.
    fn put(&mut self, key: u64, id: &str, text: &str, before: Option<&str>) -> Vec<String> {
        let delta = self.step(key, id, Some(&[("a", text)]));
        let (collection, id) = (CollectionName::from("c"), DocumentId::from_string(id));
        let place = Place::before(before.map(DocumentId::from_string));
        let place = Placement { collection, id, place };
        let mut sent = Vec::new();
        let key = SubscriptionKey::from(key);
        self.merge_box.place(key, Some(&delta), place, &mut note(&mut sent));
        sent
    }

    fn remove(&mut self, key: u64) -> Vec<String> {
        let mut sent = Vec::new();
        self.merge_box.remove(SubscriptionKey::from(key), &mut note(&mut sent));
        sent
    }

    fn hold(&mut self, renamed: &[(u64, u64)]) {
        let key = SubscriptionKey::from;
        let renamed = renamed.iter().map(|(old, new)| (key(*old), key(*new))).collect();
        self.merge_box.hold(&renamed, &mut note(&mut self.sent));
    }

    fn release(&mut self) -> Vec<String> {
        self.merge_box.release(&mut note(&mut self.sent));
        std::mem::take(&mut self.sent)
    }
}

/// Keeps messages without their common parts.
fn note(sent: &mut Vec<String>) -> impl FnMut(Outgoing) {
    let mut push =
        |text: &str| sent.push(text.replace(r#"{"msg":"#, "").replace(r#","collection":"c""#, ""));
    move |outgoing| match outgoing {
        Outgoing::Text(text) => push(&text),
        Outgoing::Shared(delta) => delta.for_each_message(&mut push),
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn no_merge_sends_what_each_subscription_does() {
    let mut peer = Peer::new(PublicationStrategy::NoMerge);
    let added = r#""added","id":"x","fields":{"a":1}}"#;
    assert_eq!(peer.set(1, "x", Some(&[("a", "1")])), [added]);
    assert_eq!(peer.set(2, "x", Some(&[("a", "1")])), [added]);
    assert_eq!(
        peer.set(1, "x", Some(&[("b", "2")])),
        [r#""changed","id":"x","fields":{"b":2},"cleared":["a"]}"#]
    );
    assert_eq!(peer.remove(1), [r#""removed","id":"x"}"#]);
    // In a rerun each subscription sends its own difference.
    peer.hold(&[(2, 3)]);
    assert_eq!(peer.set(3, "y", Some(&[("a", "1")])), NOTHING);
    assert_eq!(peer.release(), [r#""removed","id":"x"}"#, r#""added","id":"y","fields":{"a":1}}"#]);
}

#[test]
fn no_merge_no_history_removes_nothing_by_itself() {
    let mut peer = Peer::new(PublicationStrategy::NoMergeNoHistory);
    let added = r#""added","id":"x","fields":{"a":1}}"#;
    assert_eq!(peer.set(1, "x", Some(&[("a", "1")])), [added]);
    assert_eq!(peer.set(2, "x", Some(&[("a", "1")])), [added]);
    assert_eq!(peer.set(1, "x", None), [r#""removed","id":"x"}"#]);
    assert_eq!(peer.remove(2), NOTHING);
    // It continues during a rerun.
    peer.hold(&[(1, 3)]);
    assert_eq!(peer.set(3, "x", Some(&[("a", "1")])), [added]);
    assert_eq!(peer.release(), NOTHING);
}

#[test]
fn no_merge_multi_counts_who_publishes_a_document() {
    let mut peer = Peer::new(PublicationStrategy::NoMergeMulti);
    assert_eq!(peer.set(1, "x", Some(&[("a", "1")])), [r#""added","id":"x","fields":{"a":1}}"#]);
    // All fields, whether the client has them or not.
    assert_eq!(
        peer.set(2, "x", Some(&[("a", "1"), ("b", "2")])),
        [r#""changed","id":"x","fields":{"a":1,"b":2}}"#]
    );
    assert_eq!(peer.set(1, "x", Some(&[("a", "5")])), [r#""changed","id":"x","fields":{"a":5}}"#]);
    assert_eq!(peer.set(2, "x", None), NOTHING);
    assert_eq!(peer.set(2, "x", Some(&[])), NOTHING);
    assert_eq!(peer.remove(1), NOTHING);
    assert_eq!(peer.remove(2), [r#""removed","id":"x"}"#]);
    peer.snapshots.clear();
    peer.set(4, "x", Some(&[("a", "1")]));
    peer.hold(&[(4, 5)]);
    peer.set(5, "y", Some(&[("a", "1")]));
    assert_eq!(peer.release(), [r#""removed","id":"x"}"#, r#""added","id":"y","fields":{"a":1}}"#]);
}

#[test]
fn a_rerun_removes_before_it_adds_without_merging() {
    let mut peer = Peer::new(PublicationStrategy::NoMerge);
    peer.set(2, "x", Some(&[("a", "1")]));
    // The first now publishes what the second published.
    peer.hold(&[(1, 3), (2, 4)]);
    peer.set(3, "x", Some(&[("a", "1")]));
    assert_eq!(peer.release(), NOTHING, "the client has it");
    peer.hold(&[(4, 5), (3, 6)]);
    peer.set(5, "x", Some(&[("a", "2")]));
    assert_eq!(peer.release(), [r#""removed","id":"x"}"#, r#""added","id":"x","fields":{"a":2}}"#]);
}

#[test]
fn a_rerun_puts_documents_in_their_places_without_merging() {
    let mut peer = Peer::new(PublicationStrategy::NoMerge);
    peer.put(1, "x", "1", None);
    assert_eq!(
        peer.put(1, "y", "1", Some("x")),
        [r#""addedBefore","id":"y","fields":{"a":1},"before":"x"}"#]
    );
    peer.hold(&[(1, 2)]);
    peer.put(2, "x", "2", None);
    peer.put(2, "z", "1", Some("x"));
    assert_eq!(
        peer.release(),
        [
            r#""removed","id":"y"}"#,
            r#""changed","id":"x","fields":{"a":2}}"#,
            r#""movedBefore","id":"x","before":null}"#,
            r#""addedBefore","id":"z","fields":{"a":1},"before":"x"}"#,
        ]
    );
}

#[test]
fn a_rerun_leaves_no_value_at_the_client_that_nobody_publishes() {
    let mut peer = Peer::new(PublicationStrategy::NoMergeMulti);
    peer.set(1, "x", Some(&[("a", "1"), ("b", "1")]));
    // The client has 2 now.
    peer.set(2, "x", Some(&[("a", "2")]));
    peer.hold(&[(1, 3), (2, 4)]);
    peer.set(3, "x", Some(&[("a", "1")]));
    peer.set(4, "x", Some(&[("a", "5")]));
    assert_eq!(peer.release(), [r#""changed","id":"x","fields":{"a":1},"cleared":["b"]}"#]);
}

#[test]
fn places_of_documents_that_are_gone_are_forgotten_during_a_rerun() {
    let mut peer = Peer::new(PublicationStrategy::ServerMerge);
    peer.hold(&[]);
    for _ in 0..3 {
        peer.put(1, "gone", "1", None);
        let delta = peer.step(1, "gone", None);
        let key = SubscriptionKey::from(1);
        peer.merge_box.apply(key, Source::ByHand, delta.clone(), &mut |_| {});
    }
    let state = format!("{:?}", peer.merge_box);
    assert!(!state.contains("gone"), "{state}");
    assert_eq!(peer.release(), NOTHING);
}

#[test]
fn a_rerun_takes_back_nothing_of_what_is_not_remembered() {
    let mut peer = Peer::new(PublicationStrategy::NoMergeNoHistory);
    peer.set(1, "x", Some(&[("a", "1")]));
    peer.hold(&[(1, 2)]);
    assert_eq!(peer.release(), NOTHING);
}

#[test]
fn a_step_that_comes_late_during_a_rerun_changes_nothing() {
    let mut peer = Peer::new(PublicationStrategy::ServerMerge);
    peer.hold(&[]);
    let steps = ["1", "2"].map(|text| peer.step(1, "x", Some(&[("a", text)])));
    for delta in steps.iter().rev() {
        let key = SubscriptionKey::from(1);
        peer.merge_box.apply(key, Source::Cursor, delta.clone(), &mut |_| {});
    }
    assert_eq!(peer.release(), [r#""added","id":"x","fields":{"a":2}}"#]);
}
