//! Publication strategies and ordered documents, published by hand.

use ddp_server::extract::{Params, Subscription};
use ddp_server::{Collection, Error, PublicationStrategy, Server, ServerConfig};
use ddp_tests::Peer;
use ddp_tests::peer::serve;
use serde_json::{Value, json};

const EVENTS: Collection<Value> = Collection::new("events");

/// Does what its arguments say.
async fn script(
    subscription: Subscription,
    Params((steps,)): Params<(Vec<(String, String, Value)>,)>,
) -> Result<(), Error> {
    for (step, id, value) in steps {
        match step.as_str() {
            "added" => subscription.added(&EVENTS, &id, &value)?,
            "changed" => {
                let fields = value.as_object().into_iter().flatten();
                let fields = fields.map(|(name, value)| {
                    (name.as_str(), Some(value.clone()).filter(|value| !value.is_null()))
                });
                subscription.changed(&EVENTS, &id, fields)?;
            }
            "removed" => subscription.removed(&EVENTS, &id),
            "addedBefore" => {
                subscription.added_before(&EVENTS, &id, &json!({"n": 1}), value.as_str())?;
            }
            "movedBefore" => subscription.moved_before(&EVENTS, &id, value.as_str()),
            other => return Err(Error::client("unknown", other)),
        }
    }
    subscription.ready();
    Ok(())
}

async fn peer(strategy: PublicationStrategy) -> Peer {
    let server = Server::builder()
        .publish("script", script)
        .publication_strategy("events", strategy)
        .build();
    Peer::connect(serve(&server).await).await
}

fn message(msg: &str, id: &str, fields: Value) -> Value {
    let mut message = json!({"msg": msg, "collection": "events", "id": id});
    if !fields.is_null() {
        message["fields"] = fields;
    }
    message
}

#[tokio::test]
async fn nothing_is_remembered_of_what_is_sent_and_forgotten() {
    let mut peer = peer(PublicationStrategy::NoMergeNoHistory).await;
    let steps = json!([[
        ["added", "a", {"n": 1}],
        ["added", "a", {"n": 1}],
        ["changed", "unknown", {"n": 2, "gone": null}],
        ["changed", "a", {}],
        ["removed", "unknown", null],
    ]]);
    peer.sub("s1", "script", steps).await;
    let mut changed = message("changed", "unknown", json!({"n": 2}));
    changed["cleared"] = json!(["gone"]);
    peer.expect([
        message("added", "a", json!({"n": 1})),
        message("added", "a", json!({"n": 1})),
        changed,
        message("removed", "unknown", Value::Null),
        json!({"msg": "ready", "subs": ["s1"]}),
    ])
    .await;
    peer.send(json!({"msg": "unsub", "id": "s1"})).await;
    peer.expect([json!({"msg": "nosub", "id": "s1"})]).await;
}

#[tokio::test]
async fn without_merging_each_subscription_speaks_for_itself() {
    let mut peer = peer(PublicationStrategy::NoMerge).await;
    for id in ["s1", "s2"] {
        peer.sub(id, "script", json!([[["added", "a", {"n": 1}]]])).await;
        peer.expect([
            message("added", "a", json!({"n": 1})),
            json!({"msg": "ready", "subs": [id]}),
        ])
        .await;
    }
    peer.send(json!({"msg": "unsub", "id": "s2"})).await;
    peer.expect([message("removed", "a", Value::Null), json!({"msg": "nosub", "id": "s2"})]).await;
}

#[tokio::test]
async fn ordered_documents() {
    let mut peer = peer(PublicationStrategy::ServerMerge).await;
    let steps = json!([[
        ["addedBefore", "a", null],
        ["addedBefore", "b", "a"],
        ["movedBefore", "b", null],
        ["changed", "b", {"n": 2}],
        ["movedBefore", "unknown", null],
        ["removed", "a", null],
    ]]);
    peer.sub("s1", "script", steps).await;
    let placed = |msg: &str, id: &str, fields: Value, before: Value| {
        let mut message = message(msg, id, fields);
        message["before"] = before;
        message
    };
    peer.expect([
        placed("addedBefore", "a", json!({"n": 1}), Value::Null),
        placed("addedBefore", "b", json!({"n": 1}), json!("a")),
        placed("movedBefore", "b", Value::Null, Value::Null),
        message("changed", "b", json!({"n": 2})),
        message("removed", "a", Value::Null),
        json!({"msg": "ready", "subs": ["s1"]}),
    ])
    .await;
    peer.send(json!({"msg": "unsub", "id": "s1"})).await;
    peer.expect([message("removed", "b", Value::Null), json!({"msg": "nosub", "id": "s1"})]).await;
}

#[tokio::test]
async fn places_are_not_remembered_either_of_what_is_sent_and_forgotten() {
    let mut peer = peer(PublicationStrategy::NoMergeNoHistory).await;
    let steps = json!([[
        ["addedBefore", "a", null],
        ["removed", "a", null],
        ["addedBefore", "a", "b"],
        ["movedBefore", "unknown", "a"],
    ]]);
    peer.sub("s1", "script", steps).await;
    let placed = |msg: &str, id: &str, fields: Value, before: Value| {
        let mut message = message(msg, id, fields);
        message["before"] = before;
        message
    };
    peer.expect([
        placed("addedBefore", "a", json!({"n": 1}), Value::Null),
        message("removed", "a", Value::Null),
        placed("addedBefore", "a", json!({"n": 1}), json!("b")),
        placed("movedBefore", "unknown", Value::Null, json!("a")),
        json!({"msg": "ready", "subs": ["s1"]}),
    ])
    .await;
}

#[tokio::test]
async fn an_id_among_the_fields_is_left_out() {
    let steps = json!([[
        ["added", "a", {"_id": "other", "n": 1}],
        ["changed", "a", {"_id": "other", "n": 2}],
        ["changed", "a", {"_id": null}],
    ]]);
    for strategy in [PublicationStrategy::ServerMerge, PublicationStrategy::NoMergeNoHistory] {
        let mut peer = peer(strategy).await;
        peer.sub("s1", "script", steps.clone()).await;
        peer.expect([
            message("added", "a", json!({"n": 1})),
            message("changed", "a", json!({"n": 2})),
            json!({"msg": "ready", "subs": ["s1"]}),
        ])
        .await;
    }
}

#[tokio::test]
async fn a_client_too_far_behind_with_what_cannot_be_left_out_is_disconnected() {
    let mut config = ServerConfig::default();
    config.outbox_messages_max = 100;
    let server = Server::builder()
        .config(config)
        .publish("flood", async |subscription: Subscription| {
            // All at once, so that nothing can be sent in between.
            for number in 0..200 {
                subscription.added(&EVENTS, &number.to_string(), &json!({}))?;
            }
            subscription.ready();
            Ok::<_, Error>(())
        })
        .publish("few", async |subscription: Subscription| {
            for number in 0..100 {
                subscription.added(&EVENTS, &number.to_string(), &json!({}))?;
            }
            subscription.ready();
            Ok::<_, Error>(())
        })
        .publication_strategy("events", PublicationStrategy::NoMergeNoHistory)
        .build();
    let address = serve(&server).await;
    let mut peer = Peer::connect(address).await;
    peer.sub("s1", "flood", json!([])).await;
    assert_eq!(peer.try_recv().await, None);
    assert_eq!(server.stats().disconnected_behind, 1);
    let mut peer = Peer::connect(address).await;
    peer.sub("s1", "few", json!([])).await;
    for number in 0..100 {
        assert_eq!(peer.recv().await["id"], number.to_string());
    }
}
