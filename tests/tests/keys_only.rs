//! Tables that broadcast keys only: each server reads the rows that it needs.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use ddp_postgres::{Db, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Error, Server, WriteFence, field};
use ddp_tests::{Client, database};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_postgres::{AsyncMessage, NoTls};

const TASKS: Collection<Value> = Collection::new("tasks");
const NOTES: Collection<Value> = Collection::new("notes");
const SETUP: &str = "
    CREATE TABLE tasks (id text PRIMARY KEY, text text);
    CREATE TABLE notes (id text PRIMARY KEY, text text);";

/// A server with one keys-only table among others, and a client subscribed to that one.
struct Fixture {
    database: String,
    url: String,
    db: Db,
    client: Client,
    subscription: String,
}

impl Fixture {
    async fn start(name: &str) -> Self {
        Self::with_connections(name, 2).await
    }

    async fn with_connections(name: &str, connections_max: usize) -> Self {
        let database = format!("keys_only_{name}");
        let url = database::create_database(&database, SETUP);
        let db = Db::builder(&url)
            .connections_max(connections_max)
            // The tests hold reads up for longer than a server lets them.
            .key_read_within(std::time::Duration::from_secs(120))
            .table(Table::new("tasks").all_columns().keys_only())
            .table(Table::new("notes").all_columns())
            .connect()
            .await
            .unwrap();
        let server = Server::builder()
            .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
            .publish("notes.none", async |State(db): State<Db>| {
                db.find(&NOTES).filter(field("_id").eq("none"))
            })
            .method("both", insert_into_both)
            .with_state(db.clone());
        let mut client = Client::connect(ddp_tests::peer::serve(&server).await).await;
        let subscription = client.subscribe("tasks", json!([])).await;
        Self { database, url, db, client, subscription }
    }

    async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn psql(&self, sql: &str) {
        database::psql(&self.database, sql);
    }

    async fn until(&mut self, id: &str, text: Option<&str>) {
        let is_so = |client: &Client| match (client.documents("tasks").get(id), text) {
            (None, None) => true,
            (Some(task), Some(text)) => task["text"] == text,
            _ => false,
        };
        self.client.until(id, is_so).await;
    }
}

async fn insert_into_both(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute("INSERT INTO tasks VALUES ($1, 'by a method')", &[&id]).await?;
    transaction.execute("INSERT INTO notes VALUES ($1)", &[&id]).await?;
    Ok(transaction.commit().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_tell_keys_and_clients_see_rows() {
    let mut fixture = Fixture::start("rows").await;
    // Anybody can listen.
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (eavesdropper, mut connection) =
        tokio_postgres::connect(&fixture.url, NoTls).await.unwrap();
    let writes = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                writes.lock().push(notification.payload().to_owned());
            }
        }
    });
    let channel = "SELECT format('LISTEN %I', substring(prosrc from '''(ddp_tasks_[0-9a-f]+)''')) \
                   FROM pg_proc WHERE pronamespace = 'ddp'::regnamespace \
                   AND proname LIKE 'tasks_insert%'";
    let listen = eavesdropper.query_one(channel, &[]).await.unwrap();
    eavesdropper.batch_execute(listen.get(0)).await.unwrap();

    fixture.psql("INSERT INTO tasks VALUES ('a', 'secret'), ('b\"\\ü', 'secret')");
    fixture.until("a", Some("secret")).await;
    fixture.until("b\"\\ü", Some("secret")).await;
    fixture.psql("UPDATE tasks SET text = 'secret too' WHERE id = 'a'");
    fixture.until("a", Some("secret too")).await;
    fixture.psql("UPDATE tasks SET id = 'c' WHERE id = 'a'");
    fixture.until("c", Some("secret too")).await;
    fixture.until("a", None).await;
    fixture.psql("DELETE FROM tasks WHERE id = 'c'");
    fixture.until("c", None).await;
    fixture.psql("BEGIN; TRUNCATE tasks; INSERT INTO tasks VALUES ('d', 'secret'); COMMIT");
    fixture.until("d", Some("secret")).await;
    fixture.until("b\"\\ü", None).await;

    eavesdropper.batch_execute("").await.unwrap();
    let heard = heard.lock();
    assert!(
        heard.len() >= 7 && !heard.iter().any(|payload| payload.contains("secret")),
        "{heard:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_costs_one_select_and_none_if_nobody_observes() {
    let mut fixture = Fixture::start("selects").await;
    fixture.psql(
        "BEGIN; INSERT INTO tasks SELECT n::text, 'a' FROM generate_series(1, 50) AS n; \
         UPDATE tasks SET text = 'b'; INSERT INTO tasks VALUES ('x', 'x'); \
         DELETE FROM tasks WHERE id = '7'; COMMIT",
    );
    fixture.until("x", Some("x")).await;
    fixture.until("50", Some("b")).await;
    fixture.until("7", None).await;
    assert_eq!((fixture.db.stats().key_reads, fixture.db.stats().batches), (1, 1));
    // A deleted row need not be read.
    fixture.psql("DELETE FROM tasks WHERE id = '8'");
    fixture.until("8", None).await;
    assert_eq!((fixture.db.stats().key_reads, fixture.db.stats().batches), (1, 2));

    let id = fixture.subscription.clone();
    fixture.client.unsubscribe(&id).await;
    fixture.psql("UPDATE tasks SET text = 'unseen'");
    fixture.client.subscribe("tasks", json!([])).await;
    assert_eq!(fixture.client.documents("tasks")["x"]["text"], "unseen");
    assert_eq!((fixture.db.stats().key_reads, fixture.db.stats().requeries), (1, 0));
}

/// Each kind of change, and keys that change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_composite_keys_are_read_by_one_select_for_each_transaction() {
    let name = "keys_only_composite";
    let setup = "CREATE TABLE tasks (room int, name text, text text, PRIMARY KEY (room, name))";
    let url = database::create_database(name, setup);
    let table = Table::new("tasks").all_columns().keys_only();
    let builder = Db::builder(&url).key_read_within(Duration::from_secs(120)).table(table);
    let db = builder.connect().await.unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .with_state(db.clone());
    let mut client = Client::connect(ddp_tests::peer::serve(&server).await).await;
    client.subscribe("tasks", json!([])).await;
    let many = "INSERT INTO tasks SELECT n % 3, 'n' || n, 'a' FROM generate_series(1, 500) AS n";
    for (number, change) in [
        many,
        "UPDATE tasks SET text = 'b'",
        "UPDATE tasks SET room = room + 10 WHERE name IN ('n1', 'n2', 'n3')",
        "INSERT INTO tasks VALUES (7, '\",]', 'x'); UPDATE tasks SET text = 'c' WHERE room = 7;
        DELETE FROM tasks WHERE name = 'n5'",
        "UPDATE tasks SET text = 'd' WHERE (room, name) = (7, '\",]')",
    ]
    .into_iter()
    .enumerate()
    {
        database::psql(name, &format!("BEGIN; {change}; COMMIT"));
        let expected = database::psql(
            name,
            "SELECT json_object_agg(format('[%s,%s]', room, to_json(name)),
                json_build_object('room', room, 'name', name, 'text', text)) FROM tasks",
        );
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let is_seen = |client: &Client| json!(client.documents("tasks")) == expected;
        client.until(change, is_seen).await;
        let stats = db.stats();
        let counted = (stats.key_reads, stats.batches, stats.requeries, stats.loads);
        let transactions = number as u64 + 1;
        assert_eq!(counted, (transactions, transactions, 0, 1), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_behind_a_read_waits_for_it() {
    let mut fixture = Fixture::start("order").await;
    for round in 0..20 {
        let id = format!("task {round}");
        assert_eq!(fixture.client.call("both", json!([id])).await.get("error"), None);
        let tasks = fixture.client.documents("tasks");
        assert_eq!(tasks[&id]["text"], "by a method", "`updated` came before {id}");
    }
    // A row that is gone before it can be read, and a subscription that starts in the meantime.
    let locker = insert_and_lock(&fixture, "INSERT INTO tasks VALUES ('brief', 'gone soon')").await;
    let changes = "DELETE FROM tasks WHERE id = 'brief'; INSERT INTO tasks VALUES ('last', 'x')";
    locker.batch_execute(changes).await.unwrap();
    let id = fixture.client.send_sub("notes.none", json!([])).await;
    locker.batch_execute("COMMIT").await.unwrap();
    fixture.client.until("ready", |client| client.ready.contains(&id)).await;
    fixture.until("last", Some("x")).await;
    fixture.until("brief", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_much_waits_for_a_read_everything_is_read_again() {
    let mut fixture = Fixture::start("overflow").await;
    fixture.client.subscribe("notes.none", json!([])).await;
    let locker = insert_and_lock(&fixture, "INSERT INTO tasks VALUES ('first', 'x')").await;
    let mut written = 0;
    while fixture.db.stats().gaps_overflow == 0 {
        assert!(written < 200, "it never overflows");
        written += 1;
        fixture.psql(&format!("INSERT INTO notes VALUES ('{written}', repeat('x', 1000000))"));
    }
    assert!(written > 50, "{written} MB");
    locker.batch_execute("COMMIT").await.unwrap();
    fixture.psql("INSERT INTO tasks VALUES ('second', 'x')");
    fixture.until("first", Some("x")).await;
    fixture.until("second", Some("x")).await;
    assert_eq!(fixture.db.stats().gaps_overflow, 1);
    fixture.client.call("both", json!(["after"])).await;
    assert!(fixture.client.documents("tasks").contains_key("after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_whose_connection_is_lost_is_tried_again() {
    let mut fixture = Fixture::start("lost").await;
    let loads = fixture.db.stats().loads;
    let locker = insert_and_lock(&fixture, "INSERT INTO tasks VALUES ('a', 'x')").await;
    end_read(&fixture, "pg_terminate_backend").await;
    locker.batch_execute("COMMIT").await.unwrap();
    fixture.until("a", Some("x")).await;
    let stats = fixture.db.stats();
    assert_eq!((stats.key_reads, stats.requeries, stats.loads), (2, 0, loads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_read_make_queries_read_again() {
    let mut fixture = Fixture::start("error").await;
    let locker = insert_and_lock(&fixture, "INSERT INTO tasks VALUES ('a', 'x')").await;
    end_read(&fixture, "pg_cancel_backend").await;
    locker.batch_execute("COMMIT").await.unwrap();
    fixture.until("a", Some("x")).await;
    let stats = fixture.db.stats();
    assert_eq!((stats.key_reads, stats.requeries, stats.gaps_connection), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_hangs_holds_nobody_up_once_the_feed_began_anew() {
    let mut fixture = Fixture::with_connections("hangs", 8).await;
    let locker = insert_and_lock(&fixture, "INSERT INTO tasks VALUES ('a', 'x')").await;
    let watcher = fixture.connect().await;
    let is_hanging = "SELECT EXISTS (SELECT FROM pg_stat_activity \
                      WHERE datname = current_database() AND wait_event_type = 'Lock' \
                      AND query LIKE '%ddp_key%')";
    until_true(&watcher, is_hanging).await;
    let end_feed = "SELECT count(pg_terminate_backend(pid)) = 1 FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'ddp feed'";
    until_true(&watcher, end_feed).await;
    // Its token comes behind the read.
    let id = fixture.client.send_sub("notes.none", json!([])).await;
    fixture.client.until("ready", |client| client.ready.contains(&id)).await;
    assert_eq!(fixture.db.stats().gaps_connection, 1);
    locker.batch_execute("COMMIT").await.unwrap();
    fixture.until("a", Some("x")).await;
}

/// Makes the server's read of rows by key fail, while it waits for a lock.
async fn end_read(fixture: &Fixture, by: &str) {
    let end_read = format!(
        "SELECT COALESCE(bool_and({by}(pid)), false) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock' \
         AND query LIKE '%ddp_key%'"
    );
    until_true(&fixture.connect().await, &end_read).await;
}

/// Inserts into the tasks, and locks them before the server can read the new rows. The lock is
/// released when the returned transaction commits.
async fn insert_and_lock(fixture: &Fixture, insert: &str) -> tokio_postgres::Client {
    let (writer, locker) = (fixture.connect().await, fixture.connect().await);
    let watcher = fixture.connect().await;
    writer.batch_execute(&format!("BEGIN; {insert}")).await.unwrap();
    let is_waiting = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
                      WHERE NOT granted AND datname = current_database())";
    // Whoever waits for the lock gets it when the writer commits, before the server reads.
    let lock = locker.batch_execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE");
    let commit = async {
        until_true(&watcher, is_waiting).await;
        writer.batch_execute("COMMIT").await
    };
    futures::future::try_join(lock, commit).await.unwrap();
    locker
}

/// Repeats the question until the answer is yes.
async fn until_true(client: &tokio_postgres::Client, sql: &str) {
    let asking = async {
        while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap_or_else(|_| panic!("{sql}"));
}
