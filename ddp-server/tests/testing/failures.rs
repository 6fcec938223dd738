//! The messages of failing tests.

use std::sync::Arc;
use std::time::Duration;

use ddp_server::testing::Client;
use ddp_server::{Collection, Error};

use super::{TASKS, panic_of, tasks, todos};

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
        "tests/testing/failures.rs:",
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
        assert!(text.contains("tests/testing/failures.rs:") && text.contains(part), "{text}");
    }
}
