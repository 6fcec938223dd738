//! How a client handles faults that the real server must not have.

use std::time::Duration;

use ddp_core::ejson::Ejson;
use ddp_core::merge_box::{PublicationStrategies, PublicationStrategy};

use super::Client;
use super::state::{Call, Shared, Standing};
use crate::server::Server;

const ADDED: &str = r#"{"msg":"added","collection":"tasks","id":"1","fields":{"a":1,"b":2}}"#;

/// A client with this strategy that got these messages, with a subscription `1` and a call `2`.
fn after(strategy: PublicationStrategy, messages: &[&str]) -> Shared {
    let shared = Shared::new(PublicationStrategies::new(strategy), Duration::from_secs(10));
    shared.note(|state| {
        state.subscriptions.insert("1".to_owned(), Standing::Pending);
        state.calls.insert("2".to_owned(), Call::default());
        for message in messages {
            assert!(!state.handle(message), "no ping");
        }
    });
    shared
}

fn failure(strategy: PublicationStrategy, messages: &[&str]) -> Option<String> {
    after(strategy, messages).look_anyway().failure().map(str::to_owned)
}

/// The documents of `tasks` as EJSON text.
fn tasks(shared: &Shared) -> Vec<String> {
    let documents = shared.look().minimongo.documents("tasks").into_iter();
    documents.map(|(_, document)| Ejson::Object(document).to_text()).collect()
}

#[test]
fn a_message_that_does_not_fit_fails_the_test() {
    let table: &[(&[&str], &str)] = &[
        (&[ADDED, ADDED], "has this document already"),
        (&[r#"{"msg":"changed","collection":"tasks","id":"1"}"#], "does not have this document"),
        (&[r#"{"msg":"removed","collection":"tasks","id":"1"}"#], "does not have this document"),
        (
            &[ADDED, r#"{"msg":"changed","collection":"tasks","id":"1","cleared":["c"]}"#],
            r#"no field "c" to be cleared"#,
        ),
        (
            &[r#"{"msg":"movedBefore","collection":"tasks","id":"1","before":null}"#],
            "does not have this document",
        ),
        (
            &[ADDED, r#"{"msg":"movedBefore","collection":"tasks","id":"1","before":"9"}"#],
            r#"no document "9" to put it before"#,
        ),
        (&[r#"{"msg":"added","collection":"tasks"}"#], "it has no `id`"),
        (&[r#"{"msg":"added","collection":"tasks","id":"1","fields":5}"#], "not 5"),
        (&[r#"{"msg":"ready","subs":["9"]}"#], "has no subscription 9"),
        (
            &[r#"{"msg":"nosub","id":"1"}"#, r#"{"msg":"ready","subs":["1"]}"#],
            "subscription 1 has stopped",
        ),
        (&[r#"{"msg":"nosub","id":"9"}"#], "has no subscription 9"),
        (&[r#"{"msg":"result","id":"9"}"#], "waits for no call 9"),
        (&[r#"{"msg":"result","id":"2"}"#; 2], "call 2 has had its result"),
        (&[r#"{"msg":"updated","methods":["2"]}"#; 2], "call 2 has been updated before"),
        (&[r#"{"msg":"error","reason":"Bad request"}"#], "refused: Bad request"),
        (&[r#"{"msg":"failed","version":"2"}"#], "does not speak version 1"),
        (&[r#"{"msg":"news"}"#], "a message that is not of DDP"),
        (&["{}"], "it has no `msg`"),
        (&["["], "EOF"),
    ];
    for (messages, expected) in table {
        let failure = failure(PublicationStrategy::ServerMerge, messages);
        let failure = failure.unwrap_or_else(|| panic!("{messages:?} should fail"));
        let last = messages[messages.len() - 1];
        let says = format!("the server's message {last} does not fit: ");
        assert!(failure.starts_with(&says) && failure.contains(expected), "{failure}");
        assert!(failure.contains(&format!("\n  < {last}")), "it shows what came: {failure}");
    }
}

#[test]
fn messages_that_fit_make_documents() {
    let shared = after(
        PublicationStrategy::ServerMerge,
        &[
            r#"{"server_id":"0"}"#,
            r#"{"msg":"connected","session":"s"}"#,
            ADDED,
            r#"{"msg":"added","collection":"tasks","id":"~7"}"#,
            r#"{"msg":"changed","collection":"tasks","id":"1","fields":{"b":{"$date":5},"c":3},"cleared":["a"]}"#,
            r#"{"msg":"addedBefore","collection":"tasks","id":"-507f1f77bcf86cd799439011","before":"1"}"#,
            r#"{"msg":"added","collection":"tasks","id":"507f1f77bcf86cd799439011"}"#,
            r#"{"msg":"added","collection":"tasks","id":"gone"}"#,
            r#"{"msg":"removed","collection":"tasks","id":"gone"}"#,
        ],
    );
    let expected = [
        r#"{"_id":"507f1f77bcf86cd799439011"}"#,
        r#"{"_id":"1","b":{"$date":5},"c":3}"#,
        r#"{"_id":7}"#,
        r#"{"_id":{"$type":"oid","$value":"507f1f77bcf86cd799439011"}}"#,
    ];
    assert_eq!(tasks(&shared), expected);
}

#[test]
fn without_merging_a_client_is_as_patient_as_meteors() {
    for strategy in [
        PublicationStrategy::NoMerge,
        PublicationStrategy::NoMergeMulti,
        PublicationStrategy::NoMergeNoHistory,
    ] {
        let shared = after(
            strategy,
            &[
                ADDED,
                r#"{"msg":"added","collection":"tasks","id":"1","fields":{"b":3}}"#,
                r#"{"msg":"changed","collection":"tasks","id":"2","fields":{"a":1}}"#,
                r#"{"msg":"changed","collection":"tasks","id":"2","cleared":["c"]}"#,
                r#"{"msg":"removed","collection":"tasks","id":"3"}"#,
            ],
        );
        assert_eq!(tasks(&shared), [r#"{"_id":"1","a":1,"b":3}"#, r#"{"_id":"2","a":1}"#]);
    }
}

/// A client whose server sent a message that does not fit.
async fn misled() -> Client {
    let client = Client::connect(&Server::builder().build()).await;
    client.shared.note(|state| state.handle(r#"{"msg":"ready","subs":["9"]}"#));
    client
}

#[tokio::test]
#[should_panic(expected = "has no subscription 9")]
async fn whoever_looks_is_told() {
    let client = misled().await;
    client.wait_until(|_| true).await;
}

#[tokio::test]
#[should_panic(expected = "has no subscription 9")]
async fn a_client_that_nobody_looks_at_tells_at_its_end() {
    drop(misled().await);
}
