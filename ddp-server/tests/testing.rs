//! The client for tests, against servers in memory.

use std::sync::Arc;
use std::time::Duration;

use ddp_server::extract::{Connection, Invocation, Params, Subscription};
use ddp_server::rate_limit::Rule;
use ddp_server::testing::Client;
use ddp_server::{
    Collection, Config, Error, MemoryCollection, Server, ServerBuilder, State, field,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    list: String,
    text: String,
}

const TASKS: Collection<Task> = Collection::new("tasks");

type Tasks = MemoryCollection<Task>;

async fn insert(
    State(tasks): State<Tasks>,
    Params((list, text)): Params<(String, String)>,
) -> Result<String, Error> {
    if text.is_empty() {
        return Err(
            Error::client("empty-text", "a task needs text").details(&json!({"field": "text"}))
        );
    }
    tasks.insert(&Task { list, text })
}

fn todos() -> ServerBuilder<Tasks> {
    Server::builder()
        .publish("all", async |State(tasks): State<Tasks>| tasks.find())
        .publish(
            "byList",
            async |State(tasks): State<Tasks>, Params((list,)): Params<(String,)>| {
                tasks.find().filter(field("list").eq(list))
            },
        )
        .method("insert", insert)
}

fn tasks() -> Tasks {
    MemoryCollection::new(&TASKS)
}

fn task(list: &str, text: &str) -> Task {
    Task { list: list.to_owned(), text: text.to_owned() }
}

/// What a task panics with.
async fn panic_of(test: impl Future<Output = ()> + Send + 'static) -> String {
    let panic = tokio::spawn(test).await.expect_err("a panic").into_panic();
    panic.downcast_ref::<String>().cloned().expect("a text")
}

#[tokio::test]
async fn two_clients_see_each_others_changes() {
    let server = todos().with_state(tasks());
    let (ada, bob) = (Client::connect(&server).await, Client::connect(&server).await);
    assert_eq!((server.connection_count(), ada.session().len()), (2, 17));
    assert_ne!(ada.session(), bob.session());
    for client in [&ada, &bob] {
        client.subscribe("all", ()).await.unwrap();
    }
    let first: String = ada.call("insert", ("home", "a")).await.unwrap();
    assert_eq!(ada.documents(&TASKS), [task("home", "a")], "there when the call returns");
    bob.wait_until(|bob| bob.documents(&TASKS).len() == 1).await;
    let second: String = bob.call("insert", ("work", "b")).await.unwrap();
    ada.wait_until(|ada| ada.documents(&TASKS).len() == 2).await;
    let documents = ada.documents_by_id(&TASKS);
    assert_eq!(documents[&first], task("home", "a"));
    assert_eq!(documents[&second], task("work", "b"));
}

#[tokio::test]
async fn a_call_returns_after_what_was_written_behind_its_fence() {
    async fn slow(
        State(tasks): State<Tasks>,
        invocation: Invocation,
        Params((text,)): Params<(String,)>,
    ) -> Result<(), Error> {
        let write = invocation.fence().begin_write();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            tasks.insert(&task("home", &text)).expect("a document");
            drop(write);
        });
        Ok(())
    }
    let server = todos().method("slow", slow).with_state(tasks());
    let client = Client::connect(&server).await;
    client.subscribe("all", ()).await.unwrap();
    client.call::<()>("slow", ("late",)).await.unwrap();
    assert_eq!(client.documents(&TASKS), [task("home", "late")]);
    let messages = client.messages();
    let place = |msg: &str| {
        let msg = format!(r#""msg":"{msg}""#);
        messages.iter().position(|text| text.contains(&msg)).expect("the message")
    };
    assert!(place("result") < place("added"), "the method does not wait: {messages:#?}");
    assert!(place("added") < place("updated"), "but the call does: {messages:#?}");
}

#[tokio::test]
async fn overlapping_subscriptions_are_merged() {
    let tasks = tasks();
    tasks.insert_with_id("1", &task("home", "a")).unwrap();
    tasks.insert_with_id("2", &task("work", "b")).unwrap();
    let server = todos().with_state(tasks.clone());
    let client = Client::connect(&server).await;
    let all = client.subscribe("all", ()).await.unwrap();
    let home = client.subscribe("byList", ("home",)).await.unwrap();
    let added = |client: &Client| {
        client.messages().iter().filter(|text| text.contains(r#""msg":"added""#)).count()
    };
    assert_eq!(added(&client), 2, "each document is sent once");
    all.unsubscribe().await;
    assert_eq!(client.documents(&TASKS), [task("home", "a")]);
    assert!(tasks.update("1", |task| task.text = "c".to_owned()).unwrap());
    client.changed().await;
    assert_eq!(client.documents(&TASKS), [task("home", "c")]);
    home.unsubscribe().await;
    assert!(client.documents(&TASKS).is_empty());
    assert_eq!(added(&client), 2);
}

#[tokio::test]
async fn errors_are_what_clients_see() {
    let server = todos()
        .method("broken", async || Err::<(), _>(Error::internal("a secret")))
        .publish("secret", async |_: Subscription| Err::<(), _>(Error::client(403, "not for you")))
        .with_state(tasks());
    let client = Client::connect(&server).await;
    let error = client.call::<String>("insert", ("home", "")).await.unwrap_err();
    assert_eq!(error.to_string(), "a task needs text [empty-text]");
    assert_eq!(error.details.as_deref(), Some(r#"{"field":"text"}"#));
    let error = client.call::<()>("broken", ()).await.unwrap_err();
    assert_eq!(error, ddp_core::DdpError::internal());
    let error = client.call::<()>("missing", ()).await.unwrap_err();
    assert_eq!(error, ddp_core::DdpError::method_not_found("missing"));
    let error = client.call::<String>("insert", (1, 2)).await.unwrap_err();
    assert_eq!(error, ddp_core::DdpError::match_failed());
    let error = client.subscribe("missing", ()).await.unwrap_err();
    assert_eq!(error, ddp_core::DdpError::subscription_not_found("missing"));
    let error = client.subscribe("secret", ()).await.unwrap_err();
    assert_eq!(error, ddp_core::DdpError::new(403, "not for you"));
}

#[tokio::test]
async fn a_subscription_may_be_stopped_by_the_server() {
    let stop = Arc::new(Notify::new());
    let stopping = Arc::clone(&stop);
    let server = todos()
        .publish("once", async |subscription: Subscription| subscription.stop())
        .publish("for a while", move |subscription: Subscription| {
            let stopping = Arc::clone(&stopping);
            async move {
                subscription.added(&TASKS, "1", &task("home", "a"))?;
                subscription.ready();
                stopping.notified().await;
                subscription.error(Error::client("over", "that was it"));
                Ok::<_, Error>(())
            }
        })
        .with_state(tasks());
    let client = Client::connect(&server).await;
    let once = client.subscribe("once", ()).await.unwrap();
    assert_eq!(once.stopped().await, None);
    let subscription = client.subscribe("for a while", ()).await.unwrap();
    assert_eq!(client.documents(&TASKS).len(), 1);
    stop.notify_one();
    assert_eq!(subscription.stopped().await.unwrap().to_string(), "that was it [over]");
    assert!(client.documents(&TASKS).is_empty());
    subscription.unsubscribe().await;
}

#[tokio::test]
async fn rate_limits_hold_for_each_address() {
    let rule = Rule::new(2, Duration::from_secs(3600)).per_address();
    let server = todos().rate_limit(rule).with_state(tasks());
    let first = Client::connect(&server).await;
    for text in ["a", "b"] {
        first.call::<String>("insert", ("home", text)).await.unwrap();
    }
    let error = first.call::<String>("insert", ("home", "c")).await.unwrap_err();
    assert_eq!(error.error, ddp_core::error::ErrorCode::from("too-many-requests"));
    let neighbour = Client::builder(&server).remote_addr(([127, 0, 0, 1], 7)).connect().await;
    neighbour.call::<String>("insert", ("home", "c")).await.unwrap_err();
    let other = Client::builder(&server).remote_addr(([192, 0, 2, 1], 7)).connect().await;
    other.call::<String>("insert", ("home", "c")).await.unwrap();
}

/// What a server notes of its connections.
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
    assert!(text.contains("tests/testing.rs") && text.contains("the client is closed"), "{text}");
}

#[tokio::test]
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

#[tokio::test]
async fn a_client_that_pauses_lags_and_then_gets_the_difference() {
    let mut config = Config::default();
    config.queued_deltas_max = 8;
    config.queued_bytes_max = 1024;
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
    let mut config = Config::default();
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
    let mut config = Config::default();
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
async fn calls_run_in_the_order_in_which_they_are_made() {
    let server = todos()
        .method("wait", async |State(gate): State<Tasks>, invocation: Invocation| {
            invocation.unblock();
            while gate.get("1")?.is_none() {
                tokio::task::yield_now().await;
            }
            Ok::<_, Error>("waited")
        })
        .method("open", async |State(gate): State<Tasks>| {
            gate.insert_with_id("1", &task("home", "a"))
        })
        .with_state(tasks());
    let client = Client::connect(&server).await;
    let (waited, opened) =
        tokio::join!(client.call::<String>("wait", ()), client.call::<()>("open", ()));
    assert_eq!((waited.unwrap().as_str(), opened), ("waited", Ok(())));
}

#[tokio::test]
async fn login_runs_subscriptions_anew() {
    let server = todos()
        .publish("mine", async |State(tasks): State<Tasks>, subscription: Subscription| {
            let user = subscription.user_id().map_or_else(String::new, |user| user.to_string());
            tasks.find().filter(field("list").eq(user))
        })
        .method("login", async |invocation: Invocation, Params((user,)): Params<(String,)>| {
            invocation.set_user_id(Some(&user)).await
        })
        .with_state({
            let tasks = tasks();
            tasks.insert(&task("ada", "a")).unwrap();
            tasks.insert(&task("bob", "b")).unwrap();
            tasks
        });
    let client = Client::connect(&server).await;
    client.subscribe("mine", ()).await.unwrap();
    assert!(client.documents(&TASKS).is_empty());
    for (user, text) in [("ada", "a"), ("bob", "b")] {
        client.call::<()>("login", (user,)).await.unwrap();
        assert_eq!(client.documents(&TASKS), [task(user, text)]);
    }
}

#[tokio::test]
async fn documents_have_ids_and_places() {
    const NUMBERS: Collection<Value> = Collection::new("numbers");
    let server = Server::builder()
        .publish("ordered", async |subscription: Subscription| {
            for (id, before) in [("b", None), ("507f1f77bcf86cd799439011", None), ("a", Some("b"))]
            {
                subscription.added_before(&NUMBERS, id, &json!({"n": id.len()}), before)?;
            }
            subscription.moved_before(&NUMBERS, "b", None);
            subscription.ready();
            Ok::<_, Error>(())
        })
        .build();
    let client = Client::connect(&server).await;
    client.subscribe("ordered", ()).await.unwrap();
    let documents = client.documents(&NUMBERS);
    let expected = [
        json!({"_id": "a", "n": 1}),
        json!({"_id": "507f1f77bcf86cd799439011", "n": 24}),
        json!({"_id": "b", "n": 1}),
    ];
    assert_eq!(documents, expected);
    let ids: Vec<String> = client.documents_by_id(&NUMBERS).into_keys().collect();
    assert_eq!(ids, ["507f1f77bcf86cd799439011", "a", "b"]);
}

#[tokio::test]
async fn a_wait_in_vain_says_for_what_and_what_came() {
    let server = todos()
        .method("never", async || {
            std::future::pending::<()>().await;
            Ok::<_, Error>(())
        })
        .with_state(tasks());
    // Long enough to connect, however loaded the machine.
    let timeout = Duration::from_secs(1);
    let client = Arc::new(Client::builder(&server).timeout(timeout).connect().await);
    let [calling, waiting] = [(); 2].map(|()| Arc::clone(&client));
    let (call, condition, change) = tokio::join!(
        panic_of(async move { calling.call("never", ()).await.unwrap() }),
        panic_of(async move {
            waiting.pause();
            waiting.wait_until(|client| !client.documents(&TASKS).is_empty()).await;
        }),
        panic_of(async move { client.changed().await }),
    );
    for part in [
        "tests/testing.rs:",
        "waited 1s in vain for the end of method \"never\"",
        r#"> {"msg":"method","id":"1","method":"never","params":[]}"#,
        r#"< {"msg":"connected""#,
    ] {
        assert!(call.contains(part), "{part} is missing: {call}");
    }
    let said = "in vain for the condition to hold (the client is paused)";
    assert!(condition.contains(said), "{condition}");
    assert!(change.contains("in vain for a change of documents"), "{change}");
}

#[tokio::test]
async fn values_that_do_not_fit_are_told_with_their_place() {
    let server = todos().with_state(tasks());
    let client = Arc::new(Client::connect(&server).await);
    client.subscribe("all", ()).await.unwrap();
    client.call::<String>("insert", ("home", "a")).await.unwrap();
    for (calling, part) in [
        (Arc::clone(&client), "the result of method \"insert\" is no u8: expected"),
        (Arc::clone(&client), "of \"tasks\" is no u8"),
        (client, "parameters of \"insert\" must be a tuple, such as (a, b), not \"home\""),
    ] {
        let text = panic_of(async move {
            match part {
                _ if part.contains("result") => {
                    calling.call::<u8>("insert", ("home", "a")).await.unwrap();
                }
                _ if part.contains("tuple") => {
                    calling.call::<u8>("insert", "home").await.unwrap();
                }
                _ => assert!(calling.documents(&Collection::<u8>::new("tasks")).is_empty()),
            }
        });
        let text = text.await;
        assert!(text.contains("tests/testing.rs:") && text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_disconnects() {
    let mut config = Config::default();
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
