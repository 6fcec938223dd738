//! How connections end, and clients that do not keep up.

use std::sync::Arc;
use std::time::Duration;

use ddp_server::extract::{Connection, Subscription};
use ddp_server::testing::Client;
use ddp_server::{Server, ServerConfig};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{TASKS, panic_of, task, tasks, todos};

/// What a server knows of its connections.
#[derive(Clone, Default)]
struct Notes {
    /// The newest connection.
    connection: Arc<Mutex<Option<Connection>>>,
    /// What has ended, in order.
    ends: Arc<Mutex<Vec<&'static str>>>,
}

impl Notes {
    fn note(&self, what: &'static str) -> impl Fn() + Clone + Send + Sync + 'static {
        let ends = Arc::clone(&self.ends);
        move || ends.lock().push(what)
    }

    fn server(&self) -> Server {
        let (on_stop, on_close) = (self.note("stop"), self.note("close"));
        let newest = Arc::clone(&self.connection);
        todos()
            .on_connection(move |connection| {
                connection.on_close(on_close.clone());
                *newest.lock() = Some(connection.clone());
            })
            .publish("watched", move |subscription: Subscription| {
                subscription.on_stop(on_stop.clone());
                async move { subscription.ready() }
            })
            .with_state(tasks())
    }
}

#[tokio::test]
async fn the_end_of_a_client_stops_and_closes() {
    let notes = Notes::default();
    let server = notes.server();
    let client = Client::connect(&server).await;
    client.subscribe("watched", ()).await.unwrap();
    client.close().await;
    assert_eq!(*notes.ends.lock(), ["stop", "close"]);
    assert_eq!(server.connection_count(), 0);

    let client = Client::connect(&server).await;
    client.subscribe("watched", ()).await.unwrap();
    let connection = notes.connection.lock().take().unwrap();
    assert_eq!(connection.id(), client.session());
    connection.close();
    let closed = client.closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (1000, "Normal closure"));
    assert_eq!(*notes.ends.lock(), ["stop", "close", "stop", "close"]);
    client.close().await;
}

#[tokio::test]
async fn a_client_that_is_dropped_is_gone() {
    let ended = Arc::new(Notify::new());
    let ending = Arc::clone(&ended);
    let server = todos()
        .on_connection(move |connection| {
            let ending = Arc::clone(&ending);
            connection.on_close(move || ending.notify_one());
        })
        .with_state(tasks());
    let client = Client::connect(&server).await;
    let subscription = client.subscribe("all", ()).await.unwrap();
    drop(client);
    tokio::time::timeout(Duration::from_secs(10), ended.notified()).await.expect("on_close");
    let text = panic_of(subscription.unsubscribe()).await;
    assert!(
        text.contains("tests/testing/connections.rs") && text.contains("the client is closed"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_ends_its_clients() {
    let notes = Notes::default();
    let server = notes.server();
    let client = Client::connect(&server).await;
    client.subscribe("watched", ()).await.unwrap();
    let (closed, ()) = tokio::join!(client.closed(), server.close());
    assert_eq!((closed.code, closed.reason.as_str()), (1001, "server closed"));
    assert_eq!(*notes.ends.lock(), ["stop", "close"]);
    let text = panic_of(async move {
        client.call::<String>("insert", ("home", "a")).await.unwrap();
    });
    let text = text.await;
    assert!(text.contains("closed, code 1001 (server closed), while waiting for"), "{text}");
    let text = panic_of(async move {
        Client::connect(&server).await;
    });
    let text = text.await;
    assert!(text.contains("while waiting for `connected`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_lags_and_then_gets_the_difference() {
    let mut config = ServerConfig::default();
    config.outbox_deltas_max = 8;
    config.outbox_bytes_max = 1024;
    let tasks = tasks();
    tasks.insert_with_id("1", &task("home", "0")).unwrap();
    let server = todos().config(config).with_state(tasks.clone());
    let slow = Client::builder(&server).buffer_bytes(1024).connect().await;
    let quick = Client::connect(&server).await;
    for client in [&slow, &quick] {
        client.subscribe("all", ()).await.unwrap();
    }
    slow.pause();
    // Each step is seen by the quick client, so that the server has handled it.
    for step in 1..=200 {
        let text = format!("{step} {}", "x".repeat(100));
        assert!(tasks.update("1", |task| task.text.clone_from(&text)).unwrap());
        quick.wait_until(|quick| quick.documents(&TASKS)[0].text == text).await;
    }
    assert_ne!(slow.documents(&TASKS), quick.documents(&TASKS));
    let stats = server.stats();
    assert!(stats.lags > 0 && stats.steps_left_out > 0, "{stats:?}");
    slow.resume();
    slow.wait_until(|slow| slow.documents(&TASKS) == quick.documents(&TASKS)).await;
    let changes = |client: &Client| {
        client.messages().iter().filter(|text| text.contains(r#""msg":"changed""#)).count()
    };
    assert_eq!(changes(&quick), 200);
    assert!(changes(&slow) < 150, "{} of 200", changes(&slow));
}

#[tokio::test]
async fn pings_are_answered() {
    let mut config = ServerConfig::default();
    config.session.heartbeat_interval = Duration::from_millis(20);
    config.session.heartbeat_timeout = Duration::from_secs(5);
    let server = todos().config(config).with_state(tasks());
    let client = Client::connect(&server).await;
    let pings = |client: &Client| {
        client.messages().iter().filter(|text| **text == r#"{"msg":"ping"}"#).count()
    };
    client.wait_until(|client| pings(client) >= 3).await;
    assert_eq!(server.stats().disconnected_silent, 0);
}

#[tokio::test]
async fn a_client_that_is_silent_is_disconnected() {
    let mut config = ServerConfig::default();
    config.session.heartbeat_interval = Duration::from_millis(20);
    config.session.heartbeat_timeout = Duration::from_millis(20);
    config.close_timeout = Duration::from_millis(20);
    let ended = Arc::new(Notify::new());
    let ending = Arc::clone(&ended);
    let server = todos()
        .config(config)
        .on_connection(move |connection| {
            let ending = Arc::clone(&ending);
            connection.on_close(move || ending.notify_one());
        })
        .with_state(tasks());
    let client = Client::connect(&server).await;
    client.pause();
    tokio::time::timeout(Duration::from_secs(10), ended.notified()).await.expect("on_close");
    assert_eq!(server.stats().disconnected_silent, 1);
    client.resume();
    assert_eq!(client.closed().await.code, 1000);
}

#[tokio::test]
async fn a_message_that_is_too_large_disconnects() {
    let mut config = ServerConfig::default();
    config.message_bytes_max = 1000;
    let server = todos().config(config).with_state(tasks());
    let client = Arc::new(Client::connect(&server).await);
    let calling = Arc::clone(&client);
    let text = panic_of(async move {
        calling.call::<String>("insert", ("home", "x".repeat(1000))).await.unwrap();
    });
    let text = text.await;
    assert!(text.contains("code 1009 (Message too big)"), "{text}");
    assert_eq!(client.closed().await.code, 1009);
}
