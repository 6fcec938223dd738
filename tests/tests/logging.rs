//! What developers find in the log when clients are told less.

use ddp_postgres::{Db, Table};
use ddp_server::extract::{Invocation, Params, Subscription};
use ddp_server::{Collection, Error, Server};
use ddp_tests::peer::serve;
use ddp_tests::{Log, Peer, database};
use serde_json::json;
use tracing::subscriber::DefaultGuard;

#[derive(Debug, thiserror::Error)]
#[error("cannot save the task")]
struct CannotSave(#[source] std::io::Error);

fn fail() -> Result<(), Error> {
    Err(CannotSave(std::io::Error::other("the disk is full")).into())
}

/// What this thread logs from now on, at the usual level.
fn listen() -> (Log, DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

/// Checks that exactly one line was logged, with these words.
fn assert_line(text: &str, words: &[&str]) {
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

#[tokio::test]
async fn internal_errors_are_logged_in_full_and_clients_get_500() {
    let (log, _guard) = listen();
    let server = Server::builder()
        .method("fail", async || fail())
        .method("panic", async || -> Result<(), Error> { panic!("a bug") })
        .method("typed", async |Params((_,)): Params<(Vec<u32>,)>| Ok::<_, Error>(()))
        .method("one", async |Params(_): Params<String>| Ok::<_, Error>(()))
        .method("refuse", async || Err::<(), _>(Error::client("no", "Not now")))
        .publish("fail", async || fail())
        .publish("typed", async |Params((_,)): Params<(Vec<u32>,)>| ())
        .publish("later", async |subscription: Subscription| {
            subscription.error(Error::internal("it went away"));
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    log.take();
    let internal = json!({
        "isClientSafe": true, "error": 500, "reason": "Internal server error",
        "message": "Internal server error [500]", "errorType": "Meteor.Error",
    });
    let session = format!("session={:?}", peer.session);
    let exception = "ERROR meteor.connection{";
    for (method, error) in
        [("fail", "cannot save the task: the disk is full"), ("panic", "handler panicked: a bug")]
    {
        assert_eq!(peer.call(method, json!([])).await["error"], internal);
        let (method, error) = (format!("method={method:?}"), format!("error={error:?}"));
        let message = "exception while invoking a method";
        assert_line(&log.take(), &[exception, message, &method, &session, &error]);
    }
    assert_eq!(peer.call("typed", json!([[1, "x"]])).await["error"]["error"], 400);
    let error = "error=[0][1]: expected u32, got string";
    let words = ["WARN", "match failed", r#"method="typed""#, &session, error];
    assert_line(&log.take(), &words);
    peer.call("one", json!(["x"])).await;
    let words = ["error=expected string, got array; ", "write `Params<(String,)>`"];
    assert_line(&log.take(), &words);
    assert_eq!(peer.call("refuse", json!([])).await["error"]["error"], "no");
    assert_eq!(log.take(), "", "what the client was told");

    let message = "exception in a publication";
    peer.sub("1", "fail", json!([])).await;
    assert_eq!(peer.recv().await, json!({"msg": "nosub", "id": "1", "error": internal}));
    let error = r#"error="cannot save the task: the disk is full""#;
    let words = [exception, message, r#"publication="fail""#, &session, error];
    assert_line(&log.take(), &words);
    peer.sub("2", "typed", json!(["x"])).await;
    assert_eq!(peer.recv().await["error"]["error"], 400);
    let words = ["WARN", "match failed", r#"publication="typed""#, &session, "error=[0]: "];
    assert_line(&log.take(), &words);
    peer.sub("3", "later", json!([])).await;
    assert_eq!(peer.recv().await["error"], internal);
    let error = r#"error="it went away""#;
    assert_line(&log.take(), &[exception, message, r#"publication="later""#, &session, error]);
}

#[tokio::test]
async fn a_line_of_a_handler_says_what_runs_and_for_whom() {
    let (log, _guard) = listen();
    let server = Server::builder()
        .method("login", async |invocation: Invocation, Params((user,)): Params<(String,)>| {
            invocation.set_user_id(Some(&user)).await
        })
        .method("outer", async |invocation: Invocation| {
            // It continues in its own task.
            tokio::task::yield_now().await;
            tracing::info!("in the outer method");
            invocation.call::<()>("inner", ()).await
        })
        .method("inner", async || {
            tracing::info!("in the inner method");
            Ok::<_, Error>(())
        })
        .publish("tasks", async |subscription: Subscription| {
            tracing::info!("in the publication");
            subscription.ready();
        })
        .publish_universal(async |subscription: Subscription| {
            tracing::info!("in the universal publication");
            subscription.ready();
        })
        .on_connection(|connection| {
            tracing::info!("in on_connection");
            connection.on_close(|| tracing::info!("in on_close"));
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    let session = format!("session={:?}", peer.session);
    let connection =
        format!(r#"meteor.connection{{{session} client="127.0.0.1" transport="websocket-raw"}}"#);
    let text = log.take();
    let lines: Vec<&str> = text.lines().collect();
    let universal = r#":meteor.publication{publication="(universal)" "#;
    assert_line(lines[0], &[&connection, universal, "in the universal publication"]);
    assert_line(lines[1], &[&format!("{connection}: "), "in on_connection"]);

    assert_eq!(peer.call("login", json!(["ada"])).await["error"], json!(null));
    let user = r#"user="ada"}"#;
    assert_line(&log.take(), &[universal, user]);
    peer.call("outer", json!([])).await;
    let text = log.take();
    let lines: Vec<&str> = text.lines().collect();
    let outer = format!(r#"{connection}:meteor.method{{method="outer" {session} {user}"#);
    let inner = format!(r#"{outer}:meteor.method{{method="inner" {session} {user}"#);
    assert_line(lines[0], &[&format!("{outer}: "), "in the outer method"]);
    assert_line(lines[1], &[&format!("{inner}: "), "in the inner method"]);
    peer.sub("1", "tasks", json!([])).await;
    assert_eq!(peer.recv().await["msg"], "ready");
    let publication = format!(r#"meteor.publication{{publication="tasks" {session} {user}: "#);
    assert_line(&log.take(), &[&connection, &publication, "in the publication"]);

    server.call::<()>("inner", ()).await.unwrap();
    assert_line(&log.take(), &[r#" meteor.method{method="inner"}: "#, "in the inner method"]);
    peer.leave();
    server.close().await;
    assert_line(&log.take(), &[&format!("{connection}: "), "in on_close"]);
}

#[tokio::test]
async fn live_queries_that_read_again_are_told_with_the_cause_and_a_first_read_is_not() {
    let url = database::create_database("logging_again", "CREATE TABLE tasks (id int PRIMARY KEY)");
    let (log, _guard) = listen();
    let db = Db::builder(url).table(Table::new("tasks").all_columns()).connect().await.unwrap();
    let mut tasks =
        db.find(&Collection::<serde_json::Value>::new("tasks")).observe().await.unwrap();
    assert_eq!(log.take(), "");
    database::psql("logging_again", "INSERT INTO tasks VALUES (1)");
    tasks.next().await.unwrap().unwrap();
    database::psql(
        "logging_again",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'ddp feed'",
    );
    database::psql("logging_again", "INSERT INTO tasks VALUES (2)");
    tasks.next().await.unwrap().unwrap();
    let text = log.take();
    let again = text.lines().find(|line| line.contains("reading live queries again"));
    let words = [r#"collection="tasks""#, "queries=1", r#"cause="the feed was interrupted""#];
    assert_line(again.unwrap_or_else(|| panic!("{text}")), &words);
    db.close().await;
}

#[tokio::test]
async fn a_client_that_fails_all_the_time_makes_few_lines() {
    const CALLS: usize = 3_000;
    let (log, _guard) = listen();
    let server = Server::builder()
        .method("fail", async || fail())
        .method("typed", async |Params((_,)): Params<(u32,)>| Ok::<_, Error>(()))
        .publish("fail", async || fail())
        .publish("typed", async |Params((_,)): Params<(u32,)>| ())
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    log.take();
    let began = std::time::Instant::now();
    let long = "x".repeat(5_000);
    for number in 0..CALLS {
        let id = number.to_string();
        for method in ["fail", "typed"] {
            let id = format!("{method}{id}");
            let params = if method == "fail" { json!([]) } else { json!([long]) };
            peer.send(json!({"msg": "method", "id": id, "method": method, "params": params})).await;
            while peer.recv().await["msg"] != "result" {}
        }
        for publication in ["fail", "typed"] {
            let params = if publication == "fail" { json!([]) } else { json!([long]) };
            peer.sub(&id, publication, params).await;
            assert_eq!(peer.recv().await["msg"], "nosub");
        }
    }
    let seconds = began.elapsed().as_secs() as usize + 2;
    // The last counts come within a second.
    let mut text = String::new();
    let mut counted = 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while counted < 4 * (CALLS - 1) && std::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        text.push_str(&log.take());
        let counts =
            text.lines().filter_map(|line| line.rsplit_once("count=")?.1.parse::<usize>().ok());
        counted = counts.sum();
    }
    let lines = text.lines().count();
    // A kind whose flood paused for a second had its next line in full.
    let full = lines - text.matches("count=").count();
    assert_eq!(counted + full, 4 * CALLS, "each is told or counted: {text}");
    assert!(lines <= 4 * (1 + seconds), "{lines} lines in {seconds} s");
    assert!(text.len() < lines * 2_000, "{} bytes in {lines} lines", text.len());
}
