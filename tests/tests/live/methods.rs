//! Methods that write, and what a subscription may ask for.

use ddp_postgres::Feed;
use ddp_tests::{Client, database};
use serde_json::json;

use super::{Fixture, serve};

async fn a_methods_changes_precede_its_updated(feed: Feed) {
    let fixture = Fixture::start("fence", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks", json!([])).await;
    // A query that reads again after each change is waited for, too.
    client.subscribe("tasks.byText", json!(["y"])).await;
    for round in 0..50 {
        let id = format!("new{round}");
        assert_eq!(client.call("insert", json!([id])).await["result"], 1);
        assert!(client.documents("tasks").contains_key(&id), "`updated` came before {id}");
    }
    let before = client.documents("tasks").len();
    client.call("insert.slowly", json!([])).await;
    assert_eq!(client.documents("tasks").len(), before + 1000, "all parts, before `updated`");
}

async fn queries_that_read_again_have_sent_before_updated(feed: Feed) {
    let fixture = Fixture::start("reread", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks.byText", json!(["y"])).await;
    for round in 0..20 {
        let id = format!("new{round}");
        client.call("insert", json!([id])).await;
        assert!(client.documents("tasks").contains_key(&id), "`updated` came before {id}");
    }
}

async fn a_method_that_writes_and_then_fails_leaves_nothing_and_hangs_nothing(feed: Feed) {
    let fixture = Fixture::start("fail", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks", json!([])).await;
    let result = client.call("insert.fail", json!([])).await;
    assert_eq!(result["error"]["error"], "changed-my-mind");
    client.call("insert", json!(["after"])).await;
    let result = client.call("insert", json!(["after"])).await;
    assert_eq!(result["error"]["reason"], "Internal server error", "a key that is taken");
    let tasks = client.documents("tasks");
    assert!(tasks.contains_key("after") && !tasks.contains_key("ghost"));
}

async fn a_peer_sees_what_a_method_of_another_server_wrote(feed: Feed) {
    let fixture = Fixture::start("peers", feed).await;
    let other = database::name("live_peers_other", feed);
    let url = database::create_database(&other, "").replace(&other, &fixture.database);
    let (peer, _db) = serve(&url, feed).await;
    let (mut one, mut other) =
        (Client::connect(fixture.address).await, Client::connect(peer).await);
    other.subscribe("tasks", json!([])).await;
    fixture.reset();
    one.call("insert", json!(["shared"])).await;
    other.until("the document", |client| client.collections["tasks"].contains_key("shared")).await;
}

async fn what_cannot_be_published_is_refused(feed: Feed) {
    let fixture = Fixture::start("refused", feed).await;
    let mut client = Client::connect(fixture.address).await;
    for name in ["tasks.wrong", "tasks.nowhere", "tasks.twice", "unregistered"] {
        let id = client.send_sub(name, json!([])).await;
        client.until("nosub", |client| client.nosub.contains_key(&id)).await;
        assert_eq!(client.nosub[&id]["error"], 500, "{name}");
        assert!(client.documents("tasks").is_empty());
    }
    client.subscribe("tasks", json!([])).await;
}

ddp_tests::over_both_feeds!(
    a_methods_changes_precede_its_updated,
    queries_that_read_again_have_sent_before_updated,
    a_method_that_writes_and_then_fails_leaves_nothing_and_hangs_nothing,
    a_peer_sees_what_a_method_of_another_server_wrote,
    what_cannot_be_published_is_refused,
);
