//! Arguments, results, calls within calls and custom types, over the wire.

use std::time::Duration;

use ddp_core::ejson::{Custom, CustomType, Ejson, Object};
use ddp_server::extract::{Invocation, Params, Subscription};
use ddp_server::rate_limit::Rule;
use ddp_server::{Collection, Error, MemoryCollection, Server, State};
use ddp_tests::Peer;
use ddp_tests::peer::serve;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A type that the application's clients register with `EJSON.addType("Point", …)`.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    x: f64,
    y: f64,
}

impl CustomType for Point {
    const NAME: &'static str = "Point";

    fn to_value(&self) -> Ejson {
        let fields = [("x", self.x), ("y", self.y)];
        Ejson::Object(
            fields
                .map(|(name, value)| (name.to_owned(), Ejson::Number(value)))
                .into_iter()
                .collect::<Object>(),
        )
    }

    fn from_value(value: &Ejson) -> Option<Self> {
        let Ejson::Object(fields) = value else { return None };
        let number = |name: &str| match fields.get(name) {
            Some(Ejson::Number(number)) => Some(*number),
            _ => None,
        };
        Some(Self { x: number("x")?, y: number("y")? })
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Shape {
    corner: Custom<Point>,
}

const SHAPES: Collection<Shape> = Collection::new("shapes");

async fn mirror(
    State(shapes): State<MemoryCollection<Shape>>,
    Params((point,)): Params<(Custom<Point>,)>,
) -> Result<Custom<Point>, Error> {
    let Custom(Point { x, y }) = point.clone();
    shapes.insert_with_id("a", &Shape { corner: point })?;
    Ok(Custom(Point { x: y, y: x }))
}

async fn insert(
    State(shapes): State<MemoryCollection<Shape>>,
    invocation: Invocation,
) -> Result<String, Error> {
    let id = invocation.random_id("shapes");
    shapes.insert_with_id(&id, &Shape { corner: Custom(Point { x: 0.0, y: 0.0 }) })?;
    Ok(id)
}

async fn insert_twice(invocation: Invocation) -> Result<Vec<String>, Error> {
    let first = invocation.call("insert", ()).await?;
    let second = invocation.call("insert", ()).await?;
    Ok(vec![first, second])
}

async fn outer(invocation: Invocation, Params((what,)): Params<(String,)>) -> Result<Value, Error> {
    invocation.call(&what, ("x",)).await
}

fn server() -> Server {
    Server::builder()
        .publish("shapes", async |State(shapes): State<MemoryCollection<Shape>>| shapes.find())
        .publish("viaMethod", async |subscription: Subscription| {
            let number: u32 = subscription.call("number", ()).await?;
            subscription.added(&Collection::new("numbers"), "a", &json!({"number": number}))?;
            subscription.ready();
            Ok::<_, Error>(())
        })
        .method("number", async || Ok::<_, Error>(7))
        .method("mirror", mirror)
        .method("insert", insert)
        .method("insertTwice", insert_twice)
        .method("uuid", async |invocation: Invocation| {
            Ok::<_, Error>(invocation.random_uuid("tasks"))
        })
        .method("outer", outer)
        .method("typed", async |Params((_, _)): Params<(u32, Option<String>)>| Ok::<_, Error>(()))
        .method("refuse", async |Params((why,)): Params<(String,)>| {
            Err::<(), _>(Error::client("refused", why).with_details(&json!({"retry": false})))
        })
        .method("limited", async || Ok::<_, Error>(()))
        .method("free", async || Ok::<_, Error>(()))
        .rate_limit(Rule::new(2, Duration::from_secs(60)).method("limited").per_connection())
        .rate_limit(Rule::new(1, Duration::from_secs(60)).publication("shapes").per_address())
        .with_state(MemoryCollection::new(&SHAPES))
}

#[tokio::test]
async fn custom_types_go_both_ways() {
    let mut peer = Peer::connect(serve(&server()).await).await;
    peer.sub("s", "shapes", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["s"]})]).await;
    let point = json!({"$type": "Point", "$value": {"x": 1, "y": 2.5}});
    peer.method("m", "mirror", json!([point])).await;
    peer.expect([
        json!({"msg": "added", "collection": "shapes", "id": "a", "fields": {"corner": point}}),
        json!({"msg": "updated", "methods": ["m"]}),
        json!({"msg": "result", "id": "m", "result": {"$type": "Point", "$value": {"x": 2.5, "y": 1}}}),
    ])
    .await;
    for wrong in [
        json!({"x": 1, "y": 2}),
        json!({"$type": "Point", "$value": {}}),
        json!({"$type": "Other", "$value": {}}),
    ] {
        assert_eq!(peer.call("mirror", json!([wrong])).await["error"]["error"], 400, "{wrong}");
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit() {
    let mut peer = Peer::connect(serve(&server()).await).await;
    for (params, fits) in [
        (json!([1, "x"]), true),
        // A missing value counts as null.
        (json!([1]), true),
        (json!([1, null]), true),
        (json!([]), false),
        (json!([1, "x", 2]), false),
        (json!(["1"]), false),
        (json!([1, 2]), false),
        (json!([-1]), false),
    ] {
        let result = peer.call("typed", params.clone()).await;
        if fits {
            assert_eq!(result, json!({"msg": "result", "id": "call"}), "{params}");
        } else {
            let error = json!({
                "isClientSafe": true, "error": 400, "reason": "Match failed",
                "message": "Match failed [400]", "errorType": "Meteor.Error",
            });
            assert_eq!(result["error"], error, "{params}");
        }
    }
}

#[tokio::test]
async fn a_method_calls_another_and_its_errors_come_through() {
    let mut peer = Peer::connect(serve(&server()).await).await;
    let error = &peer.call("outer", json!(["refuse"])).await["error"];
    assert_eq!(error["error"], "refused");
    assert_eq!(error["reason"], "x");
    assert_eq!(error["details"], json!({"retry": false}));
    assert_eq!(peer.call("outer", json!(["unknown"])).await["error"]["error"], 404);
    assert_eq!(peer.call("outer", json!(["typed"])).await["error"]["error"], 400);
    peer.sub("s", "viaMethod", json!([])).await;
    peer.expect([
        json!({"msg": "added", "collection": "numbers", "id": "a", "fields": {"number": 7}}),
        json!({"msg": "ready", "subs": ["s"]}),
    ])
    .await;
}

/// Printed by the stub in the documentation, with this seed.
#[tokio::test]
async fn a_uuid_is_the_one_that_the_clients_stub_drew() {
    let mut peer = Peer::connect(serve(&server()).await).await;
    let call = json!({
        "msg": "method", "id": "1", "method": "uuid", "params": [],
        "randomSeed": "c0ffee00c0ffee00c0ff",
    });
    peer.send(call).await;
    peer.expect([json!({"msg": "updated", "methods": ["1"]})]).await;
    assert_eq!(peer.recv().await["result"], "b8781c05-8250-4c17-95b2-e06b87c8c07e");
}

#[tokio::test]
async fn inner_calls_draw_the_ids_that_the_clients_stub_drew() {
    let address = serve(&server()).await;
    let mut peer = Peer::connect(address).await;
    peer.send(json!({
        "msg": "method", "id": "1", "method": "insertTwice", "params": [], "randomSeed": "seed",
    }))
    .await;
    peer.expect([json!({"msg": "updated", "methods": ["1"]})]).await;
    let ids = &peer.recv().await["result"];
    // As `DDPCommon.makeRpcSeed`, whose vectors ddp-core's own tests have.
    let mut outer = ddp_core::random::RandomStream::from_seed("seed");
    let expected: Vec<String> = (0..2)
        .map(|_| {
            let seed = outer.rpc_seed("insert");
            ddp_core::random::RandomStream::from_seed(seed).document_id("shapes")
        })
        .collect();
    assert_eq!(*ids, json!(expected));
}

#[tokio::test]
async fn too_many_requests_are_refused_as_by_meteor() {
    let address = serve(&server()).await;
    let mut peer = Peer::connect(address).await;
    for _ in 0..2 {
        assert_eq!(peer.call("limited", json!([])).await.get("error"), None);
    }
    let error = &peer.call("limited", json!([])).await["error"];
    assert_eq!(error["error"], "too-many-requests");
    let millis = error["details"]["timeToReset"].as_u64().unwrap();
    assert!(millis > 0 && millis <= 60_000, "{error}");
    let seconds = millis.div_ceil(1000);
    let reason = format!(
        "Error, too many requests. Please slow down. You must wait {seconds} seconds before trying again."
    );
    assert_eq!(error["reason"], reason);
    assert_eq!(peer.call("free", json!([])).await.get("error"), None);
    let mut other = Peer::connect(address).await;
    assert_eq!(other.call("limited", json!([])).await.get("error"), None, "another connection");
    peer.sub("1", "shapes", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["1"]})]).await;
    other.sub("2", "shapes", json!([])).await;
    let nosub = other.recv().await;
    assert_eq!(
        (&nosub["id"], &nosub["error"]["error"]),
        (&json!("2"), &json!("too-many-requests"))
    );
}
