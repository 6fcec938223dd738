//! What developers find in the log when clients are told less.

use std::time::{Duration, Instant};

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Invocation, Params, State, Subscription};
use ddp_server::{Collection, Cursor, Error, Server, field};
use ddp_tests::peer::serve;
use ddp_tests::{Client, Log, Peer, database};
use serde_json::{Value, json};
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
    for said in ["feed lost", "feed back"] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(said)).collect();
        assert_line(&lines.join("\n"), &[r#"feed="notify""#]);
    }
    db.close().await;
}

#[tokio::test]
async fn a_table_that_changes_is_told_with_what_has_changed() {
    let url = database::create_database(
        "logging_changed",
        "CREATE TABLE tasks (id int PRIMARY KEY, old int)",
    );
    let db = Db::builder(url).table(Table::new("tasks").all_columns());
    let db = db.check_every(Duration::from_secs(3600)).connect().await.unwrap();
    // Its own installation is announced, and has it check the tables once.
    db.check().await.unwrap();
    let (log, _guard) = listen();
    database::psql("logging_changed", "ALTER TABLE tasks DROP old, ADD title text");
    db.check().await.unwrap();
    let text = log.take();
    let changed = text.lines().find(|line| line.contains("the table has changed"));
    let words = [r#"collection="tasks""#, "new column", "title", "no column", "old", "any more"];
    assert_line(changed.unwrap_or_else(|| panic!("{text}")), &words);
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
    let began = Instant::now();
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
    let deadline = Instant::now() + Duration::from_secs(10);
    while counted < 4 * (CALLS - 1) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
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

/// How often each is sent. All other changes wait while rows are read by their keys.
const JUNK: usize = 6_000;
const ROWS: usize = 3_400;
const KEYS: usize = 200;
const SUBSCRIPTIONS: usize = 400;

const HOSTS: Collection<Value> = Collection::new("hosts");

async fn by_addresses(
    State(db): State<Db>,
    Params((addresses,)): Params<(Vec<String>,)>,
) -> Cursor<Value> {
    db.find(&HOSTS).filter(field("address").is_in(addresses))
}

/// What was logged and, of lines with these words, how many there are or are counted.
fn counted(text: &str, words: &[&str]) -> usize {
    let lines = text.lines().filter(|line| words.iter().any(|words| line.contains(words)));
    let count = |line: &str| line.rsplit_once("count=")?.1.split(' ').next()?.parse().ok();
    lines.map(|line| count(line).unwrap_or(1)).sum()
}

/// Sends what no trigger would, each in a transaction of its own, as any role may.
async fn send_junk(name: &str, feed: Feed) {
    let send = match feed {
        Feed::Notify => "pg_notify(",
        _ => "pg_logical_emit_message(true, ",
    };
    let channel = "SELECT substring(prosrc from '''(ddp_hosts_[0-9a-f]+)''') FROM pg_proc
        WHERE pronamespace = 'ddp'::regnamespace AND proname LIKE 'hosts_insert%'";
    let channel = database::psql(name, channel).trim().to_owned();
    // Nothing at all, an invalid row, and a key that the column's type cannot hold.
    for (payload, times) in [
        ("'junk ' || n", JUNK),
        ("xid || ' 1 1 1 u {\"id\":' || n || '}'", ROWS),
        ("xid || ' 1 1 1 k 99999999999' || n", KEYS),
    ] {
        let junk = format!(
            "DO $$ DECLARE xid text; BEGIN FOR n IN 1..{times} LOOP
                xid := pg_current_xact_id();
                PERFORM {send}'{channel}', {payload});
                COMMIT;
            END LOOP; END $$"
        );
        let name = name.to_owned();
        let sending = move || database::psql_alone(&name, &junk);
        tokio::task::spawn_blocking(sending).await.expect("it is sent");
    }
}

/// Subscribes to queries that PostgreSQL refuses: they have more constants than are tried alone.
async fn subscribe_in_vain(client: &mut Client, times: usize) {
    for sent in 1..=times {
        let nowhere: Vec<_> = (0..=100).map(|number| format!("({sent},-{number})")).collect();
        client.send_sub("byAddresses", json!([nowhere])).await;
        let enough = sent.saturating_sub(100).max(if sent == times { times } else { 0 });
        client.until("an answer", |client| client.nosub.len() >= enough).await;
    }
}

async fn whatever_writers_and_clients_do_makes_few_lines_of_the_database(feed: Feed) {
    let name = database::name("logging_junk", feed);
    let setup = format!("{} CREATE TABLE hosts (id int PRIMARY KEY, address stay)", database::STAY);
    let url = database::create_database(&name, &setup);
    let (log, _guard) = listen();
    let hosts = Table::new("hosts").all_columns();
    let db = Db::builder(url).feed(feed).table(hosts).connect().await.unwrap();
    let server = Server::builder()
        .publish("hosts", async |State(db): State<Db>| db.find(&HOSTS))
        .publish("byAddresses", by_addresses)
        .with_state(db.clone());
    let mut client = Client::connect(serve(&server).await).await;
    client.subscribe("hosts", json!([])).await;
    let began = Instant::now();
    send_junk(&name, feed).await;
    database::psql(&name, "INSERT INTO hosts VALUES (1, '(1,1)')");
    client.until("it goes on", |client| !client.documents("hosts").is_empty()).await;
    subscribe_in_vain(&mut client, SUBSCRIPTIONS).await;

    // The last counts come within a second.
    let mut text = log.take();
    let deadline = Instant::now() + Duration::from_secs(10);
    let lost = ["changes were lost"];
    let unusable = ["unusable row in a notification"];
    let failed = ["live queries failed"];
    let is_told = |text: &str| counted(text, &lost) >= JUNK && counted(text, &unusable) >= ROWS;
    while !is_told(&text) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        text.push_str(&log.take());
    }
    let seconds = began.elapsed().as_secs() as usize + 2;
    assert_eq!(counted(&text, &lost), JUNK, "{text}");
    assert_eq!(counted(&text, &unusable), ROWS, "{text}");
    assert!(counted(&text, &failed) > 0, "{text}");
    assert!(counted(&text, &["by key; reading again", "arrived faster"]) > 0, "{text}");
    let lines = text.lines().count();
    assert!(lines < 6 * seconds, "{lines} lines in {seconds} s: {text}");
    assert!(text.len() < lines * 1_500, "{} bytes in {lines} lines", text.len());
    db.close().await;
}

// On one thread, whose log is read.
#[tokio::test]
async fn a_load_that_is_cancelled_is_told_of_and_tried_again() {
    let name = "logging_cancelled";
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY); INSERT INTO tasks VALUES (1)";
    let url = database::create_database(name, setup);
    let db = Db::builder(&url).table(Table::new("tasks").all_columns()).connect().await.unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&Collection::<Value>::new("tasks")))
        .with_state(db.clone());
    let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    holder.batch_execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut client = Client::connect(serve(&server).await).await;
    let subscription = client.send_sub("tasks", json!([])).await;
    let (log, _guard) = listen();
    let cancel = "SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_locks
        WHERE NOT granted AND relation = 'tasks'::regclass";
    let deadline = Instant::now() + Duration::from_secs(20);
    while db.stats().loads_failed < 3 {
        assert!(Instant::now() < deadline, "{:?}", db.stats());
        holder.query_one(cancel, &[]).await.unwrap();
        client.read_for(Duration::from_millis(5)).await;
    }
    let told = log.take();
    let first = told.lines().find(|line| line.contains("loading failed")).unwrap();
    let words = ["WARN", r#"collection="tasks""#, "canceling statement", "raise statement_timeout"];
    for word in words {
        assert!(first.contains(word), "{word} is missing in {first}");
    }
    assert!(client.nosub.is_empty() && !client.ready.contains(&subscription));
    holder.batch_execute("COMMIT").await.unwrap();
    client.until("ready", |client| client.ready.contains(&subscription)).await;
    assert!(client.documents("tasks").contains_key("~1"));
    db.close().await;
}

// On one thread, whose log is read.
#[tokio::test]
async fn whatever_is_notified_makes_few_lines_of_the_log() {
    whatever_writers_and_clients_do_makes_few_lines_of_the_database(Feed::Notify).await;
}

#[tokio::test]
async fn whatever_is_in_the_wal_makes_few_lines_of_the_log() {
    whatever_writers_and_clients_do_makes_few_lines_of_the_database(Feed::Wal).await;
}
