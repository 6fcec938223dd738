//! The merge box against a naive union that stores everything.

mod counts;
mod pieces;
mod shared;
mod strategies;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{Document, DocumentId, Snapshot};

type Fields = BTreeMap<String, String>;
type Documents = BTreeMap<String, Fields>;

/// A client that applies messages as strictly as minimongo: every message must fit what it has.
#[derive(Debug, Default)]
struct Client(BTreeMap<String, Documents>);

impl Client {
    fn apply(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        let string = |name: &str| message[name].as_str().unwrap().to_owned();
        let documents = self.0.entry(string("collection")).or_default();
        let id = string("id");
        match message["msg"].as_str().unwrap() {
            "added" => {
                let known = documents.insert(id, Fields::new());
                assert!(known.is_none(), "added what was there: {text}");
            }
            "removed" => {
                assert!(documents.remove(&id).is_some(), "removed what was not there: {text}");
                return;
            }
            "changed" => {
                let is_empty = message["fields"].is_null() && message["cleared"].is_null();
                assert!(!is_empty, "changed nothing: {text}");
            }
            other => panic!("unexpected {other}"),
        }
        let fields = documents.get_mut(&string("id")).expect("changed what was not there");
        for (name, value) in message["fields"].as_object().into_iter().flatten() {
            let value = value.to_string();
            let old = fields.insert(name.clone(), value.clone());
            assert_ne!(old, Some(value), "a field that did not change: {text}");
        }
        for name in message["cleared"].as_array().into_iter().flatten() {
            let old = fields.remove(name.as_str().unwrap());
            assert!(old.is_some(), "cleared what was not there: {text}");
        }
    }
}

/// What a test does to one of a few subscriptions.
#[derive(Clone, Debug)]
enum Operation {
    /// Sets a document of a collection to these fields, or removes it.
    Set {
        collection: u8,
        id: u8,
        fields: Option<Vec<(u8, u8)>>,
        deliver: bool,
    },
    Remove,
    /// All subscriptions start over, and nothing is sent for now.
    Hold,
    Release,
}

fn operation() -> impl Strategy<Value = (u8, Operation)> {
    let fields = proptest::collection::vec((0..4u8, 0..3u8), 0..4);
    let set = (0..2u8, 0..4u8, proptest::option::weighted(0.7, fields), any::<bool>()).prop_map(
        |(collection, id, fields, deliver)| Operation::Set { collection, id, fields, deliver },
    );
    let other = prop_oneof![
        3 => Just(Operation::Remove),
        1 => Just(Operation::Hold),
        1 => Just(Operation::Release),
    ];
    (0..3u8, prop_oneof![8 => set, 1 => other])
}

/// One subscription: its snapshots by collection, and the last published state of each.
#[derive(Default)]
struct Subscription {
    key: u64,
    snapshots: BTreeMap<u8, (Snapshot, Snapshot)>,
}

fn name(collection: u8) -> crate::CollectionName {
    format!("c{collection}").into()
}

/// The union that the client should see, from what the subscriptions published.
fn union(
    order: &BTreeMap<u8, Vec<u64>>,
    subscriptions: &[Subscription],
) -> BTreeMap<String, Documents> {
    let mut all = BTreeMap::new();
    for (collection, keys) in order {
        let documents: &mut Documents = all.entry(name(*collection).to_string()).or_default();
        for key in keys {
            let subscription = subscriptions.iter().find(|s| s.key == *key).unwrap();
            for (id, document) in subscription.snapshots[collection].1.iter() {
                let fields = documents.entry(id.to_string()).or_default();
                for (field, value) in document.iter() {
                    fields.entry(field.to_string()).or_insert_with(|| value.to_owned());
                }
            }
        }
    }
    all.retain(|_, documents| !documents.is_empty());
    all
}

proptest! {
    /// Whatever subscriptions do, and even if steps are lost on the way, the client sees the union
    /// of what they published, through messages that always fit. During a rerun it sees nothing of
    /// it, and then everything. It makes no difference in which pieces that comes, and whether all of
    /// them are sent before something else happens.
    #[test]
    fn the_client_sees_the_union(
        operations in proptest::collection::vec((operation(), 0..5usize), 1..60),
        piece_bytes in prop_oneof![Just(1), Just(100), Just(PIECE_BYTES)],
    ) {
        let mut merge_box = MergeBox { piece_bytes, ..MergeBox::default() };
        let mut client = Client::default();
        let mut order: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        let mut subscriptions: Vec<Subscription> = (1..=3)
            .map(|key| Subscription { key, ..Subscription::default() })
            .collect();
        let mut next_key = 4;
        let mut is_held = false;
        let mut held = None;
        for ((index, operation), pieces) in operations {
            let subscription = &mut subscriptions[usize::from(index)];
            let key = SubscriptionKey::from(subscription.key);
            let mut messages = Vec::new();
            let mut send = |outgoing: Outgoing| match outgoing {
                Outgoing::Text(text) => messages.push(text),
                Outgoing::Shared(delta) => delta.for_each_message(|text| messages.push(text.to_owned())),
            };
            match operation {
                Operation::Set { collection, id, fields, deliver } => {
                    let (now, told) = subscription.snapshots.entry(collection).or_default();
                    let document = fields.map(|fields| {
                        let texts: Vec<_> = fields
                            .iter()
                            .map(|(field, value)| (format!("f{field}").into(), value.to_string()))
                            .collect();
                        let fields = texts.iter().map(|(field, value): &(Arc<str>, String)| {
                            (field.clone(), value.as_str())
                        });
                        Arc::new(Document::from_fields(fields).unwrap())
                    });
                    let id = DocumentId::from_string(&format!("d{id}"));
                    let delta = now.advance(&name(collection), BTreeMap::from([(id, document)]));
                    if let Some(delta) = delta.filter(|_| deliver) {
                        merge_box.apply(key, Source::Cursor, delta.clone(), &mut send);
                        *told = now.clone();
                        let keys = order.entry(collection).or_default();
                        if !keys.contains(&subscription.key) {
                            keys.push(subscription.key);
                        }
                        // A step that comes again, or late, changes nothing.
                        while merge_box.has_more() {
                            merge_box.send_more(&mut send);
                        }
                        merge_box.apply(key, Source::Cursor, delta.clone(), &mut |outgoing| {
                            panic!("sent again: {outgoing:?}");
                        });
                    }
                }
                Operation::Remove => {
                    merge_box.remove(key, &mut send);
                    for keys in order.values_mut() {
                        keys.retain(|other| *other != subscription.key);
                    }
                    *subscription = Subscription { key: next_key, ..Subscription::default() };
                    next_key += 1;
                }
                Operation::Hold => {
                    let mut renamed = BTreeMap::new();
                    for subscription in &mut subscriptions {
                        let old = SubscriptionKey::from(subscription.key);
                        renamed.insert(old, SubscriptionKey::from(next_key));
                        *subscription = Subscription { key: next_key, ..Subscription::default() };
                        next_key += 1;
                    }
                    merge_box.hold(&renamed, &mut send);
                    order.clear();
                    is_held = true;
                }
                Operation::Release => {
                    merge_box.release(&mut send);
                    is_held = false;
                }
            }
            for _ in 0..pieces {
                merge_box.send_more(&mut send);
            }
            let has_all = !merge_box.has_more();
            for message in messages {
                client.apply(&message);
            }
            client.0.retain(|_, documents| !documents.is_empty());
            if has_all && !is_held {
                prop_assert_eq!(&client.0, &union(&order, &subscriptions));
            }
            if is_held {
                let now = held.get_or_insert_with(|| client.0.clone());
                prop_assert_eq!(&client.0, &*now);
            } else {
                held = None;
            }
        }
    }
}

#[test]
fn one_subscription_is_sent_the_shared_messages() {
    let mut merge_box = MergeBox::default();
    let mut snapshot = Snapshot::default();
    let document = Arc::new(Document::from_fields([("a".into(), "1")]).unwrap());
    let step = BTreeMap::from([(DocumentId::from_string("x"), Some(document))]);
    let delta = snapshot.advance(&"c".into(), step).unwrap();
    let mut shared = 0;
    merge_box.apply(SubscriptionKey::from(1), Source::Cursor, delta.clone(), &mut |outgoing| {
        match outgoing {
            Outgoing::Shared(sent) => shared += usize::from(Arc::ptr_eq(&sent, &delta)),
            Outgoing::Text(text) => panic!("{text}"),
        }
    });
    assert_eq!(shared, 1);
    // The same document from a second subscription changes nothing.
    merge_box.apply(SubscriptionKey::from(2), Source::ByHand, delta.clone(), &mut |outgoing| {
        panic!("{outgoing:?}")
    });
    merge_box.remove(SubscriptionKey::from(1), &mut |outgoing| panic!("{outgoing:?}"));
}
