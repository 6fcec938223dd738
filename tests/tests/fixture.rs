//! What `ddp-fixture` answers, on the wire: the semantics that the browser tests of Meteor's client
//! rely on, message by message, while they check only the outcome.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use ddp_core::random::RandomStream;
use ddp_tests::Peer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running fixture, which ends when this is dropped.
struct Fixture {
    process: Child,
    address: SocketAddr,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Fixture {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ddp-fixture"))
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().trim_start_matches("ddp-fixture at http://").trim_end_matches('/');
        Self { process, address: address.parse().unwrap() }
    }

    async fn peer(&self) -> Peer {
        Peer::connect(self.address).await
    }

    /// The status code and the body.
    async fn get(&self, path: &str) -> (String, String) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    }
}

fn added(collection: &str, id: &str, fields: Value) -> Value {
    json!({"msg": "added", "collection": collection, "id": id, "fields": fields})
}

fn changed(collection: &str, id: &str, fields: Value) -> Value {
    json!({"msg": "changed", "collection": collection, "id": id, "fields": fields})
}

fn removed(collection: &str, id: &str) -> Value {
    json!({"msg": "removed", "collection": collection, "id": id})
}

fn ready(id: &str) -> Value {
    json!({"msg": "ready", "subs": [id]})
}

fn error(code: u16, reason: &str) -> Value {
    json!({
        "isClientSafe": true, "error": code, "reason": reason,
        "message": format!("{reason} [{code}]"), "errorType": "Meteor.Error",
    })
}

/// A call ends with both messages, in either order. Returns the result.
async fn end_of(peer: &mut Peer, id: &str) -> Option<Value> {
    let mut messages = [peer.recv().await, peer.recv().await];
    messages.sort_by_key(|message| message["msg"].to_string());
    let [result, updated] = messages;
    assert_eq!(updated, json!({"msg": "updated", "methods": [id]}));
    assert_eq!((&result["msg"], &result["id"]), (&json!("result"), &json!(id)));
    assert_eq!(result.get("error"), None);
    result.get("result").cloned()
}

async fn result(peer: &mut Peer, method: &str, params: Value) -> Value {
    let message = peer.call(method, params).await;
    assert_eq!(message.get("error"), None, "{method}");
    message["result"].clone()
}

async fn error_code(peer: &mut Peer, method: &str, params: Value) -> Value {
    peer.call(method, params).await["error"]["error"].clone()
}

#[tokio::test]
async fn arguments_come_back_as_they_went() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    for value in [
        json!(12),
        json!({"$date": 1_700_000_000_123_i64}),
        json!({"d": {"$date": 5}, "s": "x"}),
        json!({"$type": "oid", "$value": "507f1f77bcf86cd799439011"}),
        json!({"$escape": {"$date": 30}}),
        json!({"$literal": {"$escape": {"$date": 30}}}),
        json!({"$InfNaN": -1}),
        Value::Null,
    ] {
        assert_eq!(result(&mut peer, "echo", json!([value])).await, json!([value]));
        assert_eq!(result(&mut peer, "echoOne", json!([value])).await, value);
    }
    assert_eq!(result(&mut peer, "echo", json!([])).await, json!([]));
    for undefined in ["nothing", "echoOne"] {
        assert_eq!(peer.call(undefined, json!([])).await.get("result"), None, "{undefined}");
    }
    assert_eq!(result(&mut peer, "s2s", json!(["foo"])).await, "s2s foo");
    assert_eq!(result(&mut peer, "reverse", json!(["bar"])).await, "rab LOCAL");
    for only in ["server-only", "client-only"] {
        assert_eq!(result(&mut peer, only, json!([])).await, "result");
    }
    assert_eq!(result(&mut peer, "isCallAsync", json!([])).await, false);
    assert_eq!(error_code(&mut peer, "s2s", json!([1])).await, 400);
}

#[tokio::test]
async fn errors_reach_the_client_if_they_are_meant_to() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    for place in ["server", "both"] {
        let message = peer.call("exception", json!([place])).await;
        assert_eq!(message["error"], error(500, "Internal server error"));
        let message = peer.call("exception", json!([place, {"intended": true}])).await;
        assert_eq!(message["error"], error(999, "Client-visible test exception"));
    }
    assert_eq!(peer.call("exception", json!(["client"])).await.get("error"), None);
    let message = peer.call("unknown method", json!([])).await;
    assert_eq!(message["error"], error(404, "Method 'unknown method' not found"));
}

#[tokio::test]
async fn a_result_is_the_value_of_when_it_was_sent() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    assert_eq!(result(&mut peer, "getArray", json!(["a"])).await, json!([]));
    result(&mut peer, "pushToArray", json!(["a", "xxx"])).await;
    assert_eq!(result(&mut peer, "getArray", json!(["a"])).await, json!(["xxx"]));
    assert_eq!(result(&mut peer, "getArray", json!(["b"])).await, json!([]));
}

#[tokio::test]
async fn a_method_that_unblocks_can_be_ended_by_the_next() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    // Sent at once, and sent when the first one has ended.
    for (waits, expected) in [(false, false), (true, true)] {
        peer.method("1", "delayedTrue", json!(["token"])).await;
        let mut result = None;
        if !waits {
            peer.method("2", "makeDelayedTrueImmediatelyReturnFalse", json!(["token"])).await;
        }
        while result.is_none() {
            let message = peer.recv().await;
            if message["msg"] == "result" && message["id"] == "1" {
                result = message.get("result").cloned();
            }
        }
        assert_eq!(result, Some(json!(expected)));
    }
}

#[tokio::test]
async fn clients_write_to_the_ledger_under_the_ids_that_their_stubs_drew() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    peer.sub("s", "ledger", json!(["w"])).await;
    peer.expect([ready("s")]).await;
    let alice = RandomStream::from_seed("seed").document_id("ledger");
    let document = json!({"name": "alice", "balance": 100, "world": "w"});
    peer.send(json!({
        "msg": "method", "id": "1", "method": "/ledger/insertAsync", "params": [document],
        "randomSeed": "seed",
    }))
    .await;
    peer.expect([added("ledger", &alice, document)]).await;
    assert_eq!(end_of(&mut peer, "1").await, Some(json!(alice)));
    let bob = json!({"_id": "bob", "name": "bob", "balance": 50, "world": "w"});
    assert_eq!(result(&mut peer, "/ledger/insert", json!([bob])).await, "bob");
    assert_eq!(error_code(&mut peer, "/ledger/insert", json!([bob])).await, 409);

    peer.method("2", "ledger/transfer", json!(["w", "alice", "bob", 10])).await;
    peer.expect([
        changed("ledger", &alice, json!({"balance": 90})),
        changed("ledger", "bob", json!({"balance": 60})),
    ])
    .await;
    assert_eq!(end_of(&mut peer, "2").await, None);
    // Only stubs cheat.
    let cheat = json!(["w", "alice", "bob", 100, true]);
    assert_eq!(error_code(&mut peer, "ledger/transfer", cheat).await, 409);
    let elsewhere = json!(["v", "alice", "bob", 1]);
    assert_eq!(error_code(&mut peer, "ledger/transfer", elsewhere).await, 404);

    let set = json!(["bob", {"$set": {"name": "Bob"}, "$inc": {"balance": 1.5}}]);
    assert_eq!(result(&mut peer, "/ledger/updateAsync", set).await, 1);
    let missing = json!([{"_id": "nobody"}, {"$set": {"name": "x"}}, {}]);
    assert_eq!(result(&mut peer, "/ledger/update", missing).await, 0);
    assert_eq!(result(&mut peer, "/ledger/removeAsync", json!([{"_id": "bob"}])).await, 1);
    assert_eq!(result(&mut peer, "/ledger/remove", json!(["bob"])).await, 0);
}

#[tokio::test]
async fn clients_may_not_write_otherwise() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    for (method, params) in [
        ("/ledger/updateAsync", json!([{"name": "bob"}, {"$set": {"a": 1}}])),
        ("/ledger/updateAsync", json!(["bob", {"a": 1}])),
        ("/ledger/updateAsync", json!(["bob", {}])),
        ("/ledger/updateAsync", json!(["bob", {"$rename": {"a": "b"}}])),
        ("/ledger/updateAsync", json!(["bob", {"$set": {"a": 1}}, {"upsert": true}])),
        ("/ledger/removeAsync", json!([{}])),
        ("/objectsWithUsers/insertAsync", json!([{}])),
        ("/collectionOne/updateAsync", json!(["x", {"$set": {"a": 1}}])),
        ("/livedata-tests/remove", json!(["x"])),
    ] {
        assert_eq!(error_code(&mut peer, method, params.clone()).await, 403, "{method} {params}");
    }
}

/// Logs in as this user. Returns what happens to the documents, and the names then shown.
async fn log_in(peer: &mut Peer, user: Value, shown: &mut Vec<(String, String)>) -> Vec<String> {
    peer.method("login", "setUserId", json!([user])).await;
    let (mut seen, mut is_updated) = (Vec::new(), false);
    while !is_updated {
        let message = peer.recv().await;
        let id = message["id"].as_str().unwrap_or_default().to_owned();
        match message["msg"].as_str().unwrap() {
            "added" => {
                let fields = message["fields"].as_object().unwrap();
                assert_eq!(fields.len(), 1, "the owners are not shown: {message}");
                shown.push((id, fields["name"].as_str().unwrap().to_owned()));
                seen.push("added".to_owned());
            }
            "removed" => {
                shown.retain(|(other, _)| *other != id);
                seen.push("removed".to_owned());
            }
            "updated" => is_updated = true,
            "ready" | "result" => {}
            _ => panic!("unexpected {message}"),
        }
    }
    shown.sort_by(|a, b| a.1.cmp(&b.1));
    seen.sort();
    seen
}

#[tokio::test]
async fn another_user_sees_other_objects_and_nothing_flaps() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    let mut shown = Vec::new();
    peer.sub("s", "objectsWithUsers", json!([])).await;
    let first = peer.recv().await;
    assert_eq!(first["fields"], json!({"name": "owned by none"}));
    peer.expect([ready("s")]).await;
    shown.push((first["id"].as_str().unwrap().to_owned(), "owned by none".to_owned()));
    let a = "added".to_owned();
    let r = "removed".to_owned();
    let both = ["owned by one/two - a", "owned by one/two - b"];
    let two = [both[0], both[1], "owned by two - a", "owned by two - b"];
    for (user, messages, names) in [
        (json!("1"), vec![&a, &a, &a, &r], vec!["owned by one - a", both[0], both[1]]),
        (json!("2"), vec![&a, &a, &r], two.to_vec()),
        (json!("2"), vec![], two.to_vec()),
        (json!("3"), vec![&r, &r, &r, &r], vec![]),
        (Value::Null, vec![&a], vec!["owned by none"]),
    ] {
        let seen = log_in(&mut peer, user.clone(), &mut shown).await;
        assert_eq!(seen.iter().collect::<Vec<_>>(), messages, "for {user}");
        assert_eq!(shown.iter().map(|(_, name)| name).collect::<Vec<_>>(), names, "for {user}");
    }
}

#[tokio::test]
async fn a_subscription_stops_as_the_user_for_whom_it_ran() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    result(&mut peer, "setUserId", json!(["100"])).await;
    peer.sub("s", "recordUserIdOnStop", json!(["key"])).await;
    let when_stopped = "userIdWhenStopped";
    assert_eq!(peer.call(when_stopped, json!(["key"])).await.get("result"), None);
    result(&mut peer, "setUserId", json!(["101"])).await;
    assert_eq!(result(&mut peer, when_stopped, json!(["key"])).await, "100");
    result(&mut peer, "setUserId", json!([null])).await;
    assert_eq!(result(&mut peer, when_stopped, json!(["key"])).await, "101");
    peer.send(json!({"msg": "unsub", "id": "s"})).await;
    peer.expect([json!({"msg": "nosub", "id": "s"})]).await;
    assert_eq!(peer.call(when_stopped, json!(["key"])).await["result"], Value::Null);
    assert_eq!(result(&mut peer, "setUserIdAfterUnblock", json!([])).await, true);
}

#[tokio::test]
async fn universal_subscriptions_overlap_and_can_be_made_at_run_time() {
    let fixture = Fixture::start();
    let (mut one, mut two) = (fixture.peer().await, fixture.peer().await);
    let document = |collection: &str, token: &str| json!({"msg": "added", "collection": collection, "id": token});
    one.method("1", "testOverlappingSubs", json!(["t"])).await;
    one.expect([document("overlappingUniversalSubs", "t")]).await;
    assert_eq!(end_of(&mut one, "1").await, None);
    one.method("2", "runtimeUniversalSubCreation", json!(["u"])).await;
    one.expect([document("runtimeSubCreation", "u")]).await;
    assert_eq!(end_of(&mut one, "2").await, None);
    two.expect([document("overlappingUniversalSubs", "t"), document("runtimeSubCreation", "u")])
        .await;
    let mut late = fixture.peer().await;
    late.expect([document("runtimeSubCreation", "u")]).await;
    for peer in [&mut one, &mut two, &mut late] {
        peer.expect_nothing().await;
    }
}

#[tokio::test]
async fn publications_end_with_their_errors_and_take_their_documents_along() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    let internal = error(500, "Internal server error");
    let explicit = error(412, "Explicit error");
    for (options, expected) in [
        (json!({"throwInHandler": true}), Some(&explicit)),
        (json!({"throwInHandler": true, "internalError": true}), Some(&internal)),
        (json!({"errorInHandler": true}), Some(&explicit)),
        (json!({"errorInHandler": true, "internalError": true}), Some(&internal)),
        (json!({"errorLater": true}), Some(&explicit)),
        (json!({"errorLater": true, "internalError": true}), Some(&internal)),
        (json!({"stopInHandler": true}), None),
    ] {
        peer.sub("s", "publisherErrors", json!(["c", options])).await;
        let first = peer.recv().await;
        assert_eq!((&first["msg"], &first["fields"]), (&json!("added"), &json!({"foo": 42})));
        let mut nosub = json!({"msg": "nosub", "id": "s"});
        if let Some(error) = expected {
            nosub["error"] = error.clone();
        }
        let id = first["id"].as_str().unwrap();
        peer.expect([ready("s"), removed("c", id), nosub]).await;
    }
    peer.sub("s", "publisherErrors", json!(["c", {"throwWhenUserIdSet": true}])).await;
    let first = peer.recv().await;
    peer.expect([ready("s")]).await;
    peer.method("m", "setUserId", json!(["bla"])).await;
    peer.expect([
        json!({"msg": "nosub", "id": "s", "error": explicit}),
        removed("c", first["id"].as_str().unwrap()),
    ])
    .await;
    assert_eq!(end_of(&mut peer, "m").await, None);
}

#[tokio::test]
async fn several_cursors_are_published_if_they_are_of_different_collections() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    peer.sub("s", "multiPublish", json!([{"normal": 1}])).await;
    let mut shown = Vec::new();
    for _ in 0..5 {
        let message = peer.recv().await;
        shown.push(format!("{} {}", message["collection"], message["fields"]["name"]));
    }
    shown.sort();
    assert_eq!(
        shown,
        [
            r#""collectionOne" "value1""#,
            r#""collectionOne" "value2""#,
            r#""collectionTwo" "value3""#,
            r#""collectionTwo" "value4""#,
            r#""collectionTwo" "value5""#,
        ]
    );
    peer.expect([ready("s")]).await;
    for mistake in ["dup", "notCursor", "other"] {
        peer.sub("t", "multiPublish", json!([{mistake: 1}])).await;
        let error = error(500, "Internal server error");
        peer.expect([json!({"msg": "nosub", "id": "t", "error": error})]).await;
    }
}

#[tokio::test]
async fn documents_by_hand_change_and_are_shared() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    peer.sub("s", "publisherCloning", json!([{"normal": 1}])).await;
    peer.expect([
        added("publisherCloning", "a", json!({"x": {"y": 42}})),
        changed("publisherCloning", "a", json!({"x": {"y": 43}})),
        ready("s"),
    ])
    .await;
    result(&mut peer, "livedata/setup", json!(["X"])).await;
    for name in ["pub1X", "pub2X"] {
        peer.sub(name, name, json!([])).await;
        peer.expect([ready(name)]).await;
    }
    for (method, expected, returned) in [
        ("livedata/pub1go", added("MultiPubCollectionX", "foo", json!({"a": "aa"})), 1),
        ("livedata/pub2go", changed("MultiPubCollectionX", "foo", json!({"b": "bb"})), 2),
    ] {
        peer.method("m", method, json!(["X"])).await;
        peer.expect([expected]).await;
        assert_eq!(end_of(&mut peer, "m").await, Some(json!(returned)));
    }
    assert_eq!(error_code(&mut peer, "livedata/pub1go", json!(["Y"])).await, 500);
}

#[tokio::test]
async fn methods_call_methods() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    peer.sub("s", "clivedata-tests", json!([])).await;
    peer.expect([ready("s")]).await;
    let inserted = result(&mut peer, "insertData", json!([{"a": 1}])).await;
    let id = inserted[0].as_str().unwrap();
    assert_eq!(inserted[1], format!("inserted with: {id}"));
    let texts = json!({"before": "before update: a:1", "after": "after update: a:2, gotData:true"});
    let updated = result(&mut peer, "updateData", json!([id, {"a": 2}])).await;
    assert_eq!(updated, json!([1, texts]));
    let data = result(&mut peer, "getData", json!([id])).await;
    assert_eq!(data, json!({"_id": id, "a": 2, "gotData": true}));
    assert_eq!(error_code(&mut peer, "updateData", json!(["nothing", {"a": 2}])).await, 500);
}

#[tokio::test]
async fn the_server_notes_what_it_runs_in_which_order() {
    let fixture = Fixture::start();
    let mut peer = fixture.peer().await;
    for (name, returned) in [
        ("server-only-sync", json!("sync-result")),
        ("server-only-async", json!("server-only-async-result")),
        ("sync-stub", json!("sync-server-result")),
        ("async-stub", json!("async-server-result")),
        ("callSyncStubFromAsyncStub", json!("server result")),
        ("callSyncStubFromSyncStub", json!("server result")),
        ("callAsyncStubFromAsyncStub", json!("server result")),
        ("callAsyncFromSyncStub", Value::Null),
        ("blockingMethod", Value::Null),
    ] {
        assert_eq!(result(&mut peer, name, json!([])).await, returned, "{name}");
        assert_eq!(result(&mut peer, "getAndResetEvents", json!([])).await, json!([name]));
    }
    peer.method("1", "server-only-sync", json!([])).await;
    peer.sub("s", "simple-publication", json!([])).await;
    peer.method("2", "unblockedMethod", json!([{"delay": 300}])).await;
    peer.method("3", "blockingMethod", json!([])).await;
    while peer.recv().await != json!({"msg": "updated", "methods": ["2"]}) {}
    assert_eq!(
        result(&mut peer, "getAndResetEvents", json!([])).await,
        json!([
            "server-only-sync",
            "publication",
            "unblock start",
            "blockingMethod",
            "unblock end"
        ])
    );
}

#[tokio::test]
async fn every_other_path_is_the_page() {
    let fixture = Fixture::start();
    let page = fixture.get("/").await;
    assert_eq!(page.0, "200");
    for path in ["/websockets", "/websockets/", "/what/ever"] {
        assert_eq!(fixture.get(path).await, page, "{path}");
    }
    for path in ["/websocket", "/websocket/"] {
        let refusal = ("400".to_owned(), "Not a valid websocket request".to_owned());
        assert_eq!(fixture.get(path).await, refusal, "{path}");
    }
}
