//! Tables that somebody has locked hold up nobody but their own queries.

use std::time::Duration;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Cursor, Server, field};
use ddp_tests::peer::{Peer, serve};
use ddp_tests::{Client, database};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

const TASKS: Collection<Value> = Collection::new("tasks");
const LISTS: Collection<Value> = Collection::new("lists");

const SETUP: &str = "CREATE TABLE tasks (id int PRIMARY KEY, title text);
    CREATE TABLE lists (id int PRIMARY KEY, title text); INSERT INTO lists VALUES (1, 'a')";

async fn titled(State(db): State<Db>, Params((title,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("title").eq(title))
}

async fn start(name: &str, feed: Feed) -> (String, std::net::SocketAddr, Db) {
    let name = database::name(name, feed);
    let url = database::create_database(&name, SETUP);
    let builder = Db::builder(url)
        .feed(feed)
        .table(Table::new("tasks").all_columns())
        .table(Table::new("lists").all_columns());
    let db = builder.connections_max(4).connect().await.unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .publish("tasks.titled", titled)
        .publish("tasks.once", async |State(db): State<Db>| db.find(&TASKS).once())
        .publish("lists", async |State(db): State<Db>| db.find(&LISTS))
        .with_state(db.clone());
    (name, serve(&server).await, db)
}

async fn session(name: &str) -> tokio_postgres::Client {
    let url = database::database_url(name);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// With a pool of 4, 2 of them for reads.
async fn reads_of_other_tables_go_on(feed: Feed) {
    let (name, address, _db) = start("locks_reads", feed).await;
    let holder = session(&name).await;
    holder.batch_execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut waiting = Vec::new();
    for number in 0..20 {
        let mut peer = Peer::connect(address).await;
        let name = if number % 2 == 0 { "tasks.titled" } else { "tasks.once" };
        let params = if number % 2 == 0 { json!([number.to_string()]) } else { json!([]) };
        peer.sub("s", name, params).await;
        peer.send(json!({"msg": "ping", "id": "p"})).await;
        peer.expect([json!({"msg": "pong", "id": "p"})]).await;
        waiting.push(peer);
    }
    let mut client = Client::connect(address).await;
    client.subscribe("lists", json!([])).await;
    assert!(client.documents("lists").contains_key("~1"));
    holder.batch_execute("INSERT INTO tasks VALUES (1, '0'); COMMIT").await.unwrap();
    for mut peer in waiting {
        while peer.recv().await["msg"] != "ready" {}
    }
}

/// Of a row that a statement touches twice, the key is read: behind a lock if somebody waited for one.
async fn changes_of_other_tables_go_on(feed: Feed) {
    let (name, address, _db) = start("locks_changes", feed).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    client.subscribe("lists", json!([])).await;
    let (writer, holder) = (session(&name).await, session(&name).await);
    let twice = "INSERT INTO tasks VALUES (1, 'a'); UPDATE tasks SET title = 'b' WHERE id = 1";
    writer.batch_execute(&format!("BEGIN; {twice}")).await.unwrap();
    let lock = holder.batch_execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE");
    let locked = async {
        let waits =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tasks'::regclass";
        while database::psql(&name, waits).trim() != "1" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        writer.batch_execute("COMMIT").await.unwrap();
    };
    let (held, ()) = tokio::join!(lock, locked);
    held.unwrap();
    database::psql(&name, "INSERT INTO lists VALUES (2, 'b')");
    client.until("the list", |client| client.documents("lists").contains_key("~2")).await;
    assert!(!client.documents("tasks").contains_key("~1"), "nobody can read it");
    holder.batch_execute("COMMIT").await.unwrap();
    let is_there =
        |client: &Client| client.documents("tasks").get("~1").is_some_and(|t| t["title"] == "b");
    client.until("the task", is_there).await;
}

fn channel_of_tasks(database: &str) -> String {
    let channel = "SELECT substring(prosrc from '''(ddp_tasks_[0-9a-f]+)''') FROM pg_proc
        WHERE pronamespace = 'ddp'::regnamespace AND proname LIKE 'tasks_insert%'";
    database::psql(database, channel).trim().to_owned()
}

/// As many as somebody likes, of transactions that have been or will be, and of another table in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_keys_that_come_together_are_few_reads() {
    const KEYS: usize = 5_000;
    let (name, address, db) = start("locks_forged_keys", Feed::Notify).await;
    let setup = format!("INSERT INTO tasks SELECT g, 'a' FROM generate_series(1, {KEYS}) AS g");
    database::psql(&name, &setup);
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    client.subscribe("lists", json!([])).await;
    assert_eq!(client.documents("tasks").len(), KEYS);
    let (channel, before) = (channel_of_tasks(&name), db.stats());
    let xid = "CASE WHEN g % 2 = 0 THEN 3 ELSE 99999990000 END + g";
    let forge = format!("pg_notify('{channel}', {xid} || ' 1 1 1 k ' || g)");
    let forge = format!("SELECT count({forge}) FROM generate_series(1, {KEYS}) AS g");
    let write = "UPDATE tasks SET title = 'b' WHERE id = 1; INSERT INTO lists VALUES (2, 'b')";
    database::psql(&name, &format!("BEGIN; {forge}; {write}; COMMIT"));
    client.until("the list", |client| client.documents("lists").contains_key("~2")).await;
    assert_eq!(client.documents("tasks")["~1"]["title"], "b");
    let after = db.stats();
    let reads = after.key_reads - before.key_reads;
    assert!((1..=20).contains(&reads), "{reads} reads of {KEYS} keys");
    assert_eq!((after.requeries, after.loads), (before.requeries, before.loads));
}

/// A role without privileges sends what a trigger would, of transactions that there are not.
async fn forged_messages_hold_up_nobody(feed: Feed) {
    let (name, address, _db) = start("locks_forged", feed).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    client.subscribe("lists", json!([])).await;
    let channel = channel_of_tasks(&name);
    let send = match feed {
        Feed::Wal => "pg_logical_emit_message(true, ",
        _ => "pg_notify(",
    };
    let began = std::time::Instant::now();
    database::psql(
        &name,
        &format!(
            "SELECT {send}'{}', (99999990000 + g) || ' 1 1 1 k 1') FROM generate_series(1, 60) g",
            channel
        ),
    );
    database::psql(&name, "INSERT INTO lists VALUES (3, 'c')");
    client.until("the list", |client| client.documents("lists").contains_key("~3")).await;
    // Looking for each of them would take a second.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    database::psql(&name, "INSERT INTO tasks VALUES (4, 'd')");
    client.until("the task", |client| client.documents("tasks").contains_key("~4")).await;
}

/// Any program may write such messages; those on a table's channel are read again for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_messages_of_others_pass_by_the_feed() {
    let (name, address, _db) = start("locks_long", Feed::Wal).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    let feed = "SELECT pid FROM pg_stat_activity
        WHERE application_name = 'ddp feed' AND datname = current_database()";
    let before = database::psql(&name, feed);
    let channel = "(SELECT substring(prosrc from '''(ddp_tasks_[0-9a-f]+)''') FROM pg_proc
        WHERE pronamespace = 'ddp'::regnamespace AND proname LIKE 'tasks_insert%')";
    for (number, prefix) in [(1, "'other'"), (2, channel), (3, "repeat('o', 100000)")] {
        for transactional in ["true", "false"] {
            let long = format!(
                "SELECT length(pg_logical_emit_message({transactional}, {prefix}, repeat('x', 40000000))::text)"
            );
            database::psql(&name, &long);
        }
        database::psql(&name, &format!("INSERT INTO tasks VALUES ({number})"));
        let id = format!("~{number}");
        client.until("the task", |client| client.documents("tasks").contains_key(&id)).await;
    }
    assert_eq!(database::psql(&name, feed), before, "the same connection");
}

ddp_tests::over_both_feeds!(
    reads_of_other_tables_go_on,
    changes_of_other_tables_go_on,
    forged_messages_hold_up_nobody,
);
