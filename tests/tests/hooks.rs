//! What an application learns about connections and messages, and universal publications.

use std::sync::Arc;

use ddp_server::extract::{Connection, Invocation, Params, Subscription};
use ddp_server::{Collection, Error, Server, ServerConfig};
use ddp_tests::Peer;
use ddp_tests::peer::serve;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const TOKENS: Collection<Value> = Collection::new("tokens");

fn added(id: &str) -> Value {
    json!({"msg": "added", "collection": "tokens", "id": id})
}

#[tokio::test]
async fn on_connection_gets_a_handle_that_closes_from_anywhere() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let server = Server::builder()
        .on_connection(move |connection| {
            let closed = sender.clone();
            connection.on_close(move || closed.send(None).unwrap());
            sender.send(Some(connection.clone())).unwrap();
        })
        .on_connection(|_| panic!("a hook that panics harms nobody"))
        .build();
    let address = serve(&server).await;
    let mut peer =
        Peer::connect_with(address, &[("user-agent", "a test"), ("cookie", "x=y")]).await;
    let connection: Connection = seen.recv().await.unwrap().unwrap();
    assert_eq!(connection.id(), peer.session);
    assert_eq!(connection.client_address(), Some("127.0.0.1"));
    assert_eq!(connection.headers().get("User-Agent"), Some("a test"));
    assert_eq!(connection.headers().get("cookie"), None);
    peer.expect_nothing().await;
    std::thread::spawn(move || connection.close()).join().unwrap();
    assert_eq!(peer.try_recv().await, None);
    assert!(seen.recv().await.unwrap().is_none(), "on_close has been called");
}

#[tokio::test]
async fn on_close_comes_after_on_stop_and_at_once_if_it_is_late() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (sender, mut connections) = mpsc::unbounded_channel();
    let note = |what: &'static str| {
        let order = Arc::clone(&order);
        move || order.lock().push(what)
    };
    let (on_stop, on_close) = (note("stop"), note("close"));
    let server = Server::builder()
        .on_connection(move |connection| {
            connection.on_close(on_close.clone());
            sender.send(connection.clone()).unwrap();
        })
        .publish("all", move |subscription: Subscription| {
            subscription.on_stop(on_stop.clone());
            async move { subscription.ready() }
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("1", "all", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["1"]})]).await;
    peer.leave();
    server.close().await;
    assert_eq!(*order.lock(), ["stop", "close"]);
    connections.recv().await.unwrap().on_close(note("late"));
    assert_eq!(*order.lock(), ["stop", "close", "late"]);
}

#[tokio::test]
async fn the_client_address_by_the_number_of_proxies() {
    for (forwarded_count, header, expected) in [
        (0, Some("6.6.6.6"), json!("127.0.0.1")),
        (1, Some("6.6.6.6, 5.5.5.5 ,4.4.4.4"), json!("4.4.4.4")),
        (2, Some("6.6.6.6, 5.5.5.5 ,4.4.4.4"), json!("5.5.5.5")),
        (3, Some("6.6.6.6, 5.5.5.5 ,4.4.4.4"), json!("6.6.6.6")),
        (4, Some("6.6.6.6, 5.5.5.5 ,4.4.4.4"), Value::Null),
        (1, None, Value::Null),
    ] {
        let mut config = ServerConfig::default();
        config.forwarded_count = forwarded_count;
        let server = Server::builder()
            .config(config)
            .method("address", async |connection: Connection| {
                Ok::<_, Error>(connection.client_address().map(str::to_owned))
            })
            .build();
        let header = header.map(|value| ("x-forwarded-for", value));
        let mut peer = Peer::connect_with(serve(&server).await, header.as_slice()).await;
        assert_eq!(peer.call("address", json!([])).await["result"], expected, "{header:?}");
    }
}

#[tokio::test]
async fn on_message_sees_each_message_in_its_turn() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let server = Server::builder()
        .on_message(move |connection, text| {
            sender.send((connection.id().to_owned(), text.to_owned())).unwrap();
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    let unsub = json!({"msg": "unsub", "id": "x"});
    peer.send(unsub.clone()).await;
    peer.expect([json!({"msg": "nosub", "id": "x"})]).await;
    peer.expect_nothing().await;
    peer.send(json!({"msg": "what"})).await;
    let (session, text) = seen.recv().await.unwrap();
    assert_eq!((session, text), (peer.session.clone(), unsub.to_string()));
    assert_eq!(seen.recv().await.unwrap().1, r#"{"msg":"what"}"#, "pings are not among them");
}

#[tokio::test]
async fn an_id_in_use_is_ignored_unless_there_is_no_such_publication() {
    let server = Server::builder()
        .publish("all", async |subscription: Subscription| subscription.ready())
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("1", "all", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["1"]})]).await;
    peer.sub("1", "all", json!([])).await;
    peer.expect_nothing().await;
    peer.sub("1", "none", json!([])).await;
    assert_eq!(peer.recv().await["error"]["error"], 404);
    peer.send(json!({"msg": "unsub", "id": "1"})).await;
    peer.expect([json!({"msg": "nosub", "id": "1"})]).await;
}

#[tokio::test]
async fn universal_publications_begin_with_the_connection_and_at_run_time() {
    let server = Server::builder()
        .publish_universal(async |subscription: Subscription| {
            subscription.added(&TOKENS, "first", &json!({}))?;
            subscription.ready();
            Ok::<_, Error>(())
        })
        .method("publish", async |server: Server, Params((token,)): Params<(String,)>| {
            let publication = move |subscription: Subscription| {
                let token = token.clone();
                async move { subscription.added(&TOKENS, &token, &json!({})) }
            };
            server.publish_universal(publication, ());
            Ok::<_, Error>(())
        })
        .method("whoCalls", async |connection: Option<Connection>, invocation: Invocation| {
            let outer = invocation.connection().map(|connection| connection.id().to_owned());
            assert_eq!(outer.as_deref(), connection.as_ref().map(Connection::id));
            Ok::<_, Error>(outer)
        })
        .build();
    let address = serve(&server).await;
    let (mut one, mut two) = (Peer::connect(address).await, Peer::connect(address).await);
    one.expect([added("first")]).await;
    two.expect([added("first")]).await;
    one.method("m", "publish", json!(["second"])).await;
    two.expect([added("second")]).await;
    one.expect([
        added("second"),
        json!({"msg": "updated", "methods": ["m"]}),
        json!({"msg": "result", "id": "m"}),
    ])
    .await;
    let mut three = Peer::connect(address).await;
    three.expect([added("first"), added("second")]).await;
    three.expect_nothing().await;
    // With a connection, and without one.
    assert_eq!(three.call("whoCalls", json!([])).await["result"], three.session);
    assert_eq!(server.call::<Value>("whoCalls", ()).await.unwrap(), Value::Null);
}

#[tokio::test]
async fn publications_with_names_are_made_and_replaced_at_run_time() {
    let server = Server::builder()
        .method("publish", async |server: Server, Params((token,)): Params<(String,)>| {
            let publication = move |subscription: Subscription| {
                let token = token.clone();
                async move {
                    subscription.added(&TOKENS, &token, &json!({}))?;
                    subscription.ready();
                    Ok::<_, Error>(())
                }
            };
            server.publish("late", publication, ());
            Ok::<_, Error>(())
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("s0", "late", json!([])).await;
    assert_eq!(peer.recv().await["error"]["error"], 404);
    for (id, token) in [("s1", "first"), ("s2", "second")] {
        peer.call("publish", json!([token])).await;
        peer.sub(id, "late", json!([])).await;
        peer.expect([added(token), json!({"msg": "ready", "subs": [id]})]).await;
    }
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_universal_publication_that_fails_says_so_without_an_id() {
    let server = Server::builder()
        .publish_universal(async |subscription: Subscription| {
            subscription.added(&TOKENS, "first", &json!({}))?;
            Err::<(), _>(Error::client(403, "Forbidden"))
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.expect([added("first"), json!({"msg": "removed", "collection": "tokens", "id": "first"})])
        .await;
    let nosub = peer.recv().await;
    assert_eq!((&nosub["msg"], nosub.get("id")), (&json!("nosub"), None));
    peer.expect_nothing().await;
}
