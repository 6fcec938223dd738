//! Bugs that similar servers have shipped, each with a test that would show it here.
//!
//! Those of Meteor 3.5 and redis-oplog:
//!
//! | bug | test |
//! |---|---|
//! | the stream opened after the snapshot | `live`: `what_is_committed_during_a_read_is_neither_lost_nor_doubled` |
//! | a replayed event removes a live document | `a_replayed_deletion_removes_no_row_that_is_there_again` |
//! | clients silently stale after a lost feed | `live`: `what_is_committed_while_the_feed_is_down_arrives` |
//! | a fence that hangs | `live`: `a_fence_whose_token_got_lost_fires_after_the_requery` |
//! | an endless restart when history is lost | `a_lost_feed_costs_one_read_of_each_query` |
//! | messages reordered on resume | `a_client_that_comes_back_begins_anew` |
//! | `close()` ignored during the grace period of a resume | `a_connection_that_is_closed_ends_at_once` |
//! | a 10,000-row update stalls every server | `a_large_update_is_one_message_and_one_read` |
//! | changes to unrelated tables cost CPU | `changes_of_tables_that_nobody_observes_are_not_heard` |
//!
//! Those of django-ddp 0.19.1:
//!
//! | bug | test |
//! |---|---|
//! | several saves in one transaction arrive newest first | `live`: `several_saves_in_one_transaction_end_on_the_last` |
//! | create, save and delete in one transaction leave a ghost | `a_row_that_came_and_went_in_one_transaction_is_never_seen` |
//! | writes during a subscribe are lost until the next save | `live`: `what_is_committed_during_a_read_is_neither_lost_nor_doubled` |
//! | a method that writes and then fails hangs | `live`: `a_method_that_writes_and_then_fails_leaves_nothing_and_hangs_nothing` |
//! | a lost LISTEN connection stops all updates, unnoticed | `live`: `what_is_committed_while_the_feed_is_down_arrives` |
//! | subscriptions of a killed server go on costing every write | `a_server_that_was_killed_leaves_nothing_behind` |
//! | `changed` carries every field, even if nothing changed | `changed_has_the_fields_that_changed_and_no_others` |
//! | dates lose milliseconds | `dates_keep_their_milliseconds` |
//! | 2 × subscriptions + 9 statements for each save | `live`: `a_change_costs_the_server_no_statement` |

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use ddp_postgres::{Db, Table};
use ddp_server::extract::State;
use ddp_server::{Collection, Error, Server, WriteFence};
use ddp_tests::{Client, Peer, database};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_postgres::{AsyncMessage, NoTls};

const TASKS: Collection<Value> = Collection::new("tasks");
const OTHERS: Collection<Value> = Collection::new("others");

const SETUP: &str = "
    CREATE EXTENSION pg_stat_statements;
    CREATE TABLE tasks (id text PRIMARY KEY, rank int, text text, at timestamptz);
    CREATE TABLE others (id int PRIMARY KEY, text text);
    INSERT INTO tasks (id, rank) SELECT 't' || n, n FROM generate_series(1, 10) AS n;
";

async fn start(name: &str) -> (SocketAddr, Db) {
    let url = database::create_database(name, SETUP);
    let db = Db::builder(url)
        .table(Table::new("tasks").all_columns())
        .table(Table::new("others").all_columns())
        .connect()
        .await
        .unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .publish("others", async |State(db): State<Db>| db.find(&OTHERS))
        .method("barrier", barrier)
        .with_state(db.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    (address, db)
}

/// When this is updated, everything committed before has been sent.
async fn barrier(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    Ok(db.begin(&fence).await?.commit().await?)
}

/// How often rows of the tasks were read.
fn reads(database: &str) -> u64 {
    let sql = "SELECT COALESCE(sum(calls), 0) FROM pg_stat_statements \
               WHERE query LIKE '%to_json%tasks%' AND dbid = \
               (SELECT oid FROM pg_database WHERE datname = current_database())";
    database::psql(database, sql).trim().parse().unwrap()
}

#[tokio::test]
async fn a_replayed_deletion_removes_no_row_that_is_there_again() {
    let name = "regression_replay";
    let (address, _db) = start(name).await;
    let mut first = Client::connect(address).await;
    first.subscribe("tasks", json!([])).await;
    for _ in 0..30 {
        // The deletion is in the feed when the new client's read starts, and may arrive after it.
        let writing = tokio::task::spawn_blocking(move || {
            let again = "DELETE FROM tasks WHERE id = 't1'; INSERT INTO tasks VALUES ('t1', 1)";
            database::psql_alone(name, again);
        });
        let mut client = Client::connect(address).await;
        client.subscribe("tasks", json!([])).await;
        writing.await.unwrap();
        client.call("barrier", json!([])).await;
        assert!(client.documents("tasks").contains_key("t1"));
        client.close().await;
    }
    first.call("barrier", json!([])).await;
    assert_eq!(first.documents("tasks").len(), 10);
}

#[tokio::test]
async fn a_lost_feed_costs_one_read_of_each_query() {
    let name = "regression_restart";
    let (address, _db) = start(name).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    database::forget_statements(name);
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'ddp feed'";
    assert_eq!(database::psql(name, kill).trim(), "1");
    database::psql(name, "INSERT INTO tasks VALUES ('new', 0)");
    client.until("the row", |client| client.documents("tasks").len() == 11).await;
    client.call("barrier", json!([])).await;
    assert_eq!(reads(name), 1);
}

#[tokio::test]
async fn a_client_that_comes_back_begins_anew() {
    let (address, _db) = start("regression_resume").await;
    let mut first = Client::connect(address).await;
    first.subscribe("tasks", json!([])).await;
    let session = first.session.clone();
    drop(first);
    let mut peer = Peer::open(address).await;
    let connect = json!({"msg": "connect", "version": "1", "support": ["1"], "session": session});
    peer.send(connect).await;
    let connected = peer.recv().await;
    assert_eq!(connected["msg"], "connected");
    assert_ne!(connected["session"], json!(session), "nothing of the old session is replayed");
    peer.send(json!({"msg": "sub", "id": "s", "name": "tasks", "params": []})).await;
    for _ in 0..10 {
        assert_eq!(peer.recv().await["msg"], "added");
    }
    assert_eq!(peer.recv().await, json!({"msg": "ready", "subs": ["s"]}));
}

#[tokio::test]
async fn a_connection_that_is_closed_ends_at_once() {
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::builder()
        .on_connection(move |connection| {
            let closed = closed.clone();
            connection.on_close(move || {
                let _ = closed.send(());
            });
            connection.close();
        })
        .build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    let mut peer = Peer::open(address).await;
    peer.send(json!({"msg": "connect", "version": "1", "support": ["1"]})).await;
    tokio::time::timeout(Duration::from_secs(60), is_closed.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_large_update_is_one_message_and_one_read() {
    let name = "regression_bulk";
    let (address, _db) = start(name).await;
    database::psql(name, "INSERT INTO tasks SELECT 'b' || n, n FROM generate_series(1, 12000) n");
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    let mut other = Client::connect(address).await;
    other.subscribe("others", json!([])).await;

    let channel = database::psql(
        name,
        "SELECT channel FROM (SELECT pg_catalog.regexp_matches(prosrc, '''(ddp_tasks[^'']*)''') AS m \
         FROM pg_proc WHERE pronamespace = 'ddp'::regnamespace) AS f, unnest(m) AS channel LIMIT 1",
    );
    let url = database::shared_cluster().lock().unwrap().database_url(name);
    let (listener, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let (heard, mut notifications) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = heard.send(notification.payload().to_owned());
            }
        }
    });
    listener.batch_execute(&format!("LISTEN \"{}\"; LISTEN last", channel.trim())).await.unwrap();

    database::forget_statements(name);
    database::psql(name, "UPDATE tasks SET rank = rank + 1; INSERT INTO others VALUES (1, 'x')");
    other.until("the other row", |client| client.documents("others").len() == 1).await;
    client.call("barrier", json!([])).await;
    assert_eq!(client.documents("tasks")["b12000"]["rank"], 12001);
    assert_eq!(reads(name), 1);
    database::psql(name, "NOTIFY last, 'last'");
    let mut payloads = Vec::new();
    while let Some(payload) = notifications.recv().await.filter(|payload| payload != "last") {
        payloads.push(payload);
    }
    assert_eq!(payloads.len(), 1, "{payloads:?}");
    assert!(payloads[0].len() < 50);
}

#[tokio::test]
async fn changes_of_tables_that_nobody_observes_are_not_heard() {
    let name = "regression_unrelated";
    let (address, db) = start(name).await;
    let mut client = Client::connect(address).await;
    client.subscribe("others", json!([])).await;
    let before = client.messages;
    database::forget_statements(name);
    for _ in 0..20 {
        database::psql(name, "UPDATE tasks SET rank = rank + 1");
    }
    client.call("barrier", json!([])).await;
    assert_eq!(client.messages, before + 2, "the call's result and updated");
    assert_eq!(reads(name), 0);
    // The feed's connection listens only on the channels of the one table and of the tokens, so
    // PostgreSQL does not even send it other changes.
    let listens = database::psql(
        name,
        "SELECT query FROM pg_stat_activity WHERE application_name = 'ddp feed' \
         AND datname = current_database()",
    );
    assert!(!listens.contains("ddp_tasks"), "{listens}");
    drop(db);
}

#[tokio::test]
async fn a_row_that_came_and_went_in_one_transaction_is_never_seen() {
    let name = "regression_ghost";
    let (address, _db) = start(name).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    let before = client.messages;
    let sql = "BEGIN; INSERT INTO tasks VALUES ('ghost', 1); UPDATE tasks SET rank = 2 \
               WHERE id = 'ghost'; DELETE FROM tasks WHERE id = 'ghost'; COMMIT";
    database::psql(name, sql);
    client.call("barrier", json!([])).await;
    assert_eq!(client.messages, before + 2, "the call's result and updated");
}

/// A killed process leaves no subscription, slot or row behind.
#[tokio::test]
async fn a_server_that_was_killed_leaves_nothing_behind() {
    let name = "regression_killed";
    let setup = "
        CREATE TABLE tasks (id text PRIMARY KEY, list_id text, text text, checked boolean,
            rank integer, created_at timestamptz, revision bigint);
        CREATE TABLE lists (id integer PRIMARY KEY, title text);
        CREATE TABLE notes (id integer PRIMARY KEY, text text);
        CREATE TABLE parts (a integer, b integer, PRIMARY KEY (a, b));";
    let url = database::create_database(name, setup);
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_ddp-converge"))
        .env("DATABASE_URL", &url)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let line = tokio::io::AsyncBufReadExt::lines(output).next_line().await.unwrap().unwrap();
    let mut client = Client::connect(line.parse().unwrap()).await;
    client.subscribe("tasks", json!([])).await;
    child.kill().await.unwrap();
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND application_name LIKE 'ddp%'";
    while database::psql(name, connections).trim() != "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'ddp'::regnamespace \
                AND relkind IN ('r', 'S', 'v')) + (SELECT count(*) FROM pg_replication_slots \
                WHERE database = current_database())";
    assert_eq!(database::psql(name, left).trim(), "0");
    database::psql(name, "INSERT INTO tasks (id) VALUES ('a')");
}

#[tokio::test]
async fn changed_has_the_fields_that_changed_and_no_others() {
    let name = "regression_fields";
    let (address, _db) = start(name).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    database::psql(name, "UPDATE tasks SET rank = rank, text = text");
    database::psql(name, "UPDATE tasks SET text = 'new' WHERE id = 't3'");
    let changed: Value = serde_json::from_str(&client.next().await).unwrap();
    let expected =
        json!({"msg": "changed", "collection": "tasks", "id": "t3", "fields": {"text": "new"}});
    assert_eq!(changed, expected);
}

#[tokio::test]
async fn dates_keep_their_milliseconds() {
    let name = "regression_dates";
    let (address, _db) = start(name).await;
    database::psql(name, "UPDATE tasks SET at = '2024-02-29 12:34:56.789+00' WHERE id = 't1'");
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    assert_eq!(client.documents("tasks")["t1"]["at"], json!({"$date": 1_709_210_096_789_i64}));
    database::psql(name, "UPDATE tasks SET at = '1969-12-31 23:59:59.001+00' WHERE id = 't1'");
    client.call("barrier", json!([])).await;
    assert_eq!(client.documents("tasks")["t1"]["at"], json!({"$date": -999}));
}
