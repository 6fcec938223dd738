//! What clients see of documents.

use std::time::Duration;

use ddp_server::extract::{Invocation, Params, Subscription};
use ddp_server::testing::Client;
use ddp_server::{Collection, Error, Server, State, field};
use serde_json::{Value, json};

use super::{TASKS, Tasks, task, tasks, todos};

#[tokio::test(flavor = "multi_thread")]
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

#[tokio::test(flavor = "multi_thread")]
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
