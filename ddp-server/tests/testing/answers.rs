//! The answers to calls and subscriptions.

use std::sync::Arc;
use std::time::Duration;

use ddp_core::DdpError;
use ddp_core::error::ErrorCode;
use ddp_server::Error;
use ddp_server::State;
use ddp_server::extract::{Invocation, Subscription};
use ddp_server::rate_limit::Rule;
use ddp_server::testing::Client;
use tokio::sync::Notify;

use super::{TASKS, Tasks, task, tasks, todos};

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
    assert_eq!(error, DdpError::internal());
    let error = client.call::<()>("missing", ()).await.unwrap_err();
    assert_eq!(error, DdpError::method_not_found("missing"));
    let error = client.call::<String>("insert", (1, 2)).await.unwrap_err();
    assert_eq!(error, DdpError::match_failed());
    let error = client.subscribe("missing", ()).await.unwrap_err();
    assert_eq!(error, DdpError::subscription_not_found("missing"));
    let error = client.subscribe("secret", ()).await.unwrap_err();
    assert_eq!(error, DdpError::new(403, "not for you"));
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
    assert_eq!(error.error, ErrorCode::from("too-many-requests"));
    let neighbour = Client::builder(&server).remote_addr(([127, 0, 0, 1], 7)).connect().await;
    neighbour.call::<String>("insert", ("home", "c")).await.unwrap_err();
    let other = Client::builder(&server).remote_addr(([192, 0, 2, 1], 7)).connect().await;
    other.call::<String>("insert", ("home", "c")).await.unwrap();
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
