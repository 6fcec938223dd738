//! The two change feeds: what each needs, and how both catch up on what they miss.

use std::net::SocketAddr;
use std::time::Duration;

use ddp_cluster::{Cluster, ClusterOptions, ShutdownMode};
use ddp_postgres::{Db, Feed, Stats, Table};
use ddp_server::extract::State;
use ddp_server::{Collection, Server};
use ddp_tests::{Client, database};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

const TASKS: Collection<Value> = Collection::new("tasks");
const SETUP: &str = "CREATE TABLE tasks (id text PRIMARY KEY, text text)";
const ROWS_MAX: u32 = 100;
/// How long something may take that happens soon unless it is broken.
const PATIENCE: Duration = Duration::from_secs(40);

async fn connect(url: &str, feed: Feed) -> Result<Db, ddp_postgres::Error> {
    Db::builder(url)
        .feed(feed)
        .table(Table::new("tasks").all_columns().rows_max(ROWS_MAX))
        .connect()
        .await
}

async fn serve(db: &Db) -> SocketAddr {
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .with_state(db.clone());
    ddp_tests::peer::serve(&server).await
}

/// A client subscribed to all tasks.
async fn subscriber(db: &Db) -> Client {
    let mut client = Client::connect(serve(db).await).await;
    client.subscribe("tasks", json!([])).await;
    client
}

async fn until_there(client: &mut Client, id: &str) {
    client.until(id, |client| client.documents("tasks").contains_key(id)).await;
}

/// Waits until the counters have these values.
async fn until_counted(db: &Db, is_right: impl Fn(&Stats) -> bool) {
    let waiting = async {
        while !is_right(&db.stats()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let counted = tokio::time::timeout(PATIENCE, waiting).await;
    counted.unwrap_or_else(|_| panic!("{:?}", db.stats()));
}

#[tokio::test]
async fn a_server_without_wal_level_logical_says_what_is_missing() {
    let mut cluster = Cluster::start(ClusterOptions::temporary().without_durability()).unwrap();
    cluster.psql("postgres", SETUP).unwrap();
    let error = connect(&cluster.url(), Feed::Wal).await.unwrap_err().to_string();
    for word in ["wal_level = logical", "replica", "notify"] {
        assert!(error.contains(word), "{error}");
    }
    cluster.psql("postgres", "ALTER SYSTEM SET wal_level = logical").unwrap();
    cluster.psql("postgres", "ALTER SYSTEM SET max_replication_slots = 1").unwrap();
    cluster.restart(ShutdownMode::Fast).unwrap();
    let db = connect(&cluster.url(), Feed::Wal).await.unwrap();
    let error = connect(&cluster.url(), Feed::Wal).await.unwrap_err().to_string();
    for word in ["max_replication_slots", "max_wal_senders", "notify"] {
        assert!(error.contains(word), "{error}");
    }
    db.close().await;
}

#[tokio::test]
async fn a_role_that_may_not_replicate_is_told_so() {
    let setup =
        format!("{SETUP}; CREATE ROLE feeds_reader LOGIN; ALTER TABLE tasks OWNER TO feeds_reader");
    let url = database::create_database("feeds_role", &setup);
    // A role that may do so installs the triggers and the publication.
    connect(&url, Feed::Wal).await.unwrap().close().await;
    let url = url.replace("postgres://postgres@", "postgres://feeds_reader@");
    let db = Db::builder(&url)
        .feed(Feed::Wal)
        .table(Table::new("tasks").all_columns().rows_max(ROWS_MAX))
        .without_install();
    let error = db.connect().await.unwrap_err().to_string();
    for word in ["REPLICATION", "notify"] {
        assert!(error.contains(word), "{error}");
    }
    database::psql("feeds_role", "ALTER ROLE feeds_reader REPLICATION");
    let db = Db::builder(&url)
        .feed(Feed::Wal)
        .table(Table::new("tasks").all_columns().rows_max(ROWS_MAX))
        .without_install();
    let db = db.connect().await.unwrap();
    let mut client = subscriber(&db).await;
    database::psql("feeds_role", "INSERT INTO tasks VALUES ('a')");
    until_there(&mut client, "a").await;
}

#[tokio::test]
async fn a_server_that_may_not_install_refuses_the_triggers_of_another_feed() {
    let url = database::create_database("feeds_other", SETUP);
    let without_install = |feed| {
        let builder = Db::builder(&url)
            .feed(feed)
            .table(Table::new("tasks").all_columns().rows_max(ROWS_MAX))
            .without_install();
        async { builder.connect().await.map(drop).map_err(|error| error.to_string()) }
    };
    let error = without_install(Feed::Notify).await.unwrap_err();
    assert!(error.contains("lacks the right triggers"), "{error}");
    for (installed, other) in [(Feed::Wal, Feed::Notify), (Feed::Notify, Feed::Wal)] {
        connect(&url, installed).await.unwrap();
        without_install(installed).await.unwrap();
        let error = without_install(other).await.unwrap_err();
        let said = format!("send through the {installed:?} feed").to_lowercase();
        assert!(error.contains(&said), "{error}");
    }
}

/// The last installation decides which feed a table uses. Servers on the other feed must not go on
/// as if nothing happened any more.
#[tokio::test]
async fn subscriptions_end_when_another_server_installs_for_another_feed() {
    for (ours, theirs) in [(Feed::Notify, Feed::Wal), (Feed::Wal, Feed::Notify)] {
        let name = database::name("feeds_deaf", ours);
        let url = database::create_database(&name, SETUP);
        let db = connect(&url, ours).await.unwrap();
        let address = serve(&db).await;
        let mut client = Client::connect(address).await;
        let id = client.subscribe("tasks", json!([])).await;
        let other = connect(&url, theirs).await.unwrap();
        client.until("the end", |client| client.nosub.contains_key(&id)).await;
        assert_eq!(client.nosub[&id]["error"], "collection-unavailable");
        let id = client.send_sub("tasks", json!([])).await;
        client.until("a refusal", |client| client.nosub.contains_key(&id)).await;
        let mut theirs = subscriber(&other).await;
        database::psql(&name, "INSERT INTO tasks VALUES ('a')");
        until_there(&mut theirs, "a").await;

        // After an installation for our feed it works again, and the other one does not.
        let _again = connect(&url, ours).await.unwrap();
        theirs.until("the end", |client| !client.nosub.is_empty()).await;
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            // The news of the installation may still be on its way.
            let id = client.send_sub("tasks", json!([])).await;
            let is_answered =
                |client: &Client| client.nosub.contains_key(&id) || client.ready.contains(&id);
            client.until("an answer", is_answered).await;
            if client.ready.contains(&id) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "still deaf");
        }
        database::psql(&name, "INSERT INTO tasks VALUES ('b')");
        until_there(&mut client, "b").await;
    }
}

/// The feed did not exist yet, so nobody heard of an installation.
#[tokio::test]
async fn an_installation_before_the_feed_has_begun_is_noticed() {
    let name = "feeds_early";
    let url = database::create_database(name, SETUP);
    // A slot is there when the transactions that were writing have ended.
    let (writer, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    writer.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let db = connect(&url, Feed::Wal).await.unwrap();
    assert_eq!(db.stats().feed_connections, 0);
    let _theirs = connect(&url, Feed::Notify).await.unwrap();
    writer.batch_execute("COMMIT").await.unwrap();
    until_counted(&db, |stats| stats.feed_connections == 1).await;
    let mut client = Client::connect(serve(&db).await).await;
    let id = client.send_sub("tasks", json!([])).await;
    client.until("the end", |client| client.nosub.contains_key(&id)).await;
}

#[tokio::test]
async fn a_role_without_a_connection_for_the_feed_is_told_so() {
    let name = "feeds_one_connection";
    let setup = format!(
        "{SETUP}; CREATE ROLE feeds_one LOGIN CONNECTION LIMIT 1; \
         ALTER TABLE tasks OWNER TO feeds_one; GRANT CREATE ON DATABASE {name} TO feeds_one"
    );
    let url = database::create_database(name, &setup);
    let url = url.replace("postgres://postgres@", "postgres://feeds_one@");
    let error = connect(&url, Feed::Notify).await.expect_err("no connection is left").to_string();
    assert!(error.contains("too many connections for role"), "{error}");
}

/// Any role can send what a trigger sends, with any transaction number.
#[tokio::test]
async fn a_transaction_that_never_was_holds_up_no_subscription() {
    let name = "feeds_never";
    let db = connect(&database::create_database(name, SETUP), Feed::Wal).await.unwrap();
    let channel = "SELECT substring(prosrc from '''(ddp_tasks_[0-9a-f]+)''') FROM pg_proc \
                   WHERE pronamespace = 'ddp'::regnamespace AND proname LIKE 'tasks_insert%'";
    let channel = database::psql(name, channel).trim().to_owned();
    let payload = "9223372036854775807 1 1 1 t ";
    let forge = format!("SELECT pg_logical_emit_message(true, '{channel}', '{payload}')");
    database::psql(name, &format!("CREATE ROLE feeds_never; SET ROLE feeds_never; {forge}"));
    database::psql(name, "INSERT INTO tasks VALUES ('a')");
    let mut client = subscriber(&db).await;
    until_there(&mut client, "a").await;
}

/// 3 MB of rows in six statements.
async fn insert_much(sql: &tokio_postgres::Client, prefix: &str) {
    for first in [0, 50, 100, 150, 200, 250] {
        let insert = format!(
            "INSERT INTO tasks SELECT '{prefix}' || n, repeat('x', 10000)
             FROM generate_series({first}, {first} + 49) AS n"
        );
        sql.batch_execute(&insert).await.unwrap();
    }
}

/// Waits until this many transactions have arrived before they ended.
async fn until_streamed(sql: &tokio_postgres::Client, count: i64) {
    let select = "SELECT sum(stream_txns)::bigint FROM pg_stat_replication_slots
                  JOIN pg_replication_slots USING (slot_name) WHERE database = current_database()";
    let waiting = async {
        while sql.query_one(select, &[]).await.unwrap().get::<_, Option<i64>>(0) < Some(count) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is streamed");
}

#[tokio::test]
async fn large_transactions_are_streamed_and_count_when_they_commit() {
    let url = database::create_database("feeds_streamed", SETUP);
    let db = connect(&url, Feed::Wal).await.unwrap();
    let mut client = subscriber(&db).await;
    let (writer, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let (other, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);

    writer.batch_execute("BEGIN").await.unwrap();
    insert_much(&writer, "a").await;
    until_streamed(&other, 1).await;
    other.batch_execute("INSERT INTO tasks VALUES ('meanwhile')").await.unwrap();
    until_there(&mut client, "meanwhile").await;
    assert_eq!(client.documents("tasks").len(), 1, "nothing of what has not committed");
    writer.batch_execute("COMMIT").await.unwrap();
    client.until("all", |client| client.documents("tasks").len() == 301).await;
    assert_eq!((db.stats().requeries, db.stats().loads, db.stats().changes), (0, 1, 301));

    writer.batch_execute("BEGIN").await.unwrap();
    insert_much(&writer, "b").await;
    until_streamed(&other, 2).await;
    writer.batch_execute("ROLLBACK; DELETE FROM tasks WHERE id LIKE 'a%'").await.unwrap();
    client.until("deletion", |client| client.documents("tasks").len() == 1).await;
    // More rows than a statement sends.
    assert_eq!((db.stats().requeries, db.stats().loads), (1, 2));

    writer.batch_execute("BEGIN; INSERT INTO tasks VALUES ('c'); SAVEPOINT s").await.unwrap();
    insert_much(&writer, "d").await;
    until_streamed(&other, 3).await;
    let end = "ROLLBACK TO s; INSERT INTO tasks VALUES ('e'); COMMIT";
    writer.batch_execute(end).await.unwrap();
    until_there(&mut client, "e").await;
    let ids: Vec<_> = client.documents("tasks").into_keys().collect();
    assert_eq!(ids, ["c", "e", "meanwhile"]);
    assert_eq!((db.stats().requeries, db.stats().loads), (2, 3));
}

#[tokio::test]
async fn a_statement_of_one_row_takes_no_second_transaction_id() {
    let cluster = database::start_cluster();
    cluster.psql("postgres", SETUP).unwrap();
    connect(&cluster.url(), Feed::Wal).await.unwrap().close().await;
    let connected = tokio_postgres::connect(&cluster.url(), tokio_postgres::NoTls).await;
    let (sql, connection) = connected.unwrap();
    tokio::spawn(connection);
    let xid = "SELECT pg_current_xact_id()::text::bigint";
    let mut last: i64 = sql.query_one(xid, &[]).await.unwrap().get(0);
    for (statement, taken) in [
        ("INSERT INTO tasks VALUES ('a', 'x')", 1),
        ("UPDATE tasks SET text = 'y'", 1),
        ("DELETE FROM tasks", 1),
        // These are sent within a block that catches errors, as a subtransaction.
        ("INSERT INTO tasks VALUES ('a', 'x'), ('b', 'x')", 2),
        ("UPDATE tasks SET id = 'c' WHERE id = 'a'", 2),
    ] {
        sql.batch_execute(statement).await.unwrap();
        let now: i64 = sql.query_one(xid, &[]).await.unwrap().get(0);
        assert_eq!(now - last - 1, taken, "{statement}");
        last = now;
    }
}

async fn a_lost_connection_is_counted_and_made_up_for(feed: Feed) {
    let name = database::name("feeds_lost", feed);
    let db = connect(&database::create_database(&name, SETUP), feed).await.unwrap();
    let mut client = subscriber(&db).await;
    assert_eq!(
        (db.stats().feed_connections, db.stats().gaps_connection, db.stats().loads),
        (1, 0, 1)
    );
    database::psql(
        &name,
        "BEGIN; SELECT pg_terminate_backend(pid), pg_sleep(0.015) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'ddp feed'; \
         INSERT INTO tasks VALUES ('missed'); COMMIT",
    );
    until_there(&mut client, "missed").await;
    until_counted(&db, |stats| stats.gaps_connection == 1 && stats.feed_connections == 2).await;
    assert!(db.stats().loads >= 2);
    database::psql(&name, "INSERT INTO tasks VALUES ('heard')");
    until_there(&mut client, "heard").await;
}

async fn a_hole_in_the_sequence_is_counted_and_made_up_for(feed: Feed) {
    let name = database::name("feeds_hole", feed);
    let db = connect(&database::create_database(&name, SETUP), feed).await.unwrap();
    let mut client = subscriber(&db).await;
    // What a collection's triggers remember between statements of a transaction.
    let setting = "SELECT substring(prosrc from '''(ddp[.]s_[0-9a-f]+)''') FROM pg_proc \
                   WHERE pronamespace = 'ddp'::regnamespace AND proname LIKE 'tasks_insert%'";
    let setting = database::psql(&name, setting).trim().to_owned();
    database::psql(
        &name,
        &format!(
            "BEGIN; INSERT INTO tasks VALUES ('one'); SET LOCAL {setting} = 320; \
             INSERT INTO tasks VALUES ('two'); COMMIT"
        ),
    );
    until_there(&mut client, "two").await;
    until_there(&mut client, "one").await;
    until_counted(&db, |stats| stats.gaps_sequence == 1 && stats.loads >= 2).await;
    let stats = db.stats();
    assert_eq!((stats.gaps_part, stats.gaps_malformed, stats.gaps_connection), (0, 0, 0));
    database::psql(&name, "INSERT INTO tasks VALUES ('three')");
    until_there(&mut client, "three").await;
}

async fn payloads_that_no_trigger_sends_are_counted_and_made_up_for(feed: Feed) {
    let name = database::name("feeds_forged", feed);
    let db = connect(&database::create_database(&name, SETUP), feed).await.unwrap();
    let mut client = subscriber(&db).await;
    let send = match feed {
        Feed::Notify => "pg_notify(",
        Feed::Wal => "pg_logical_emit_message(true, ",
        other => panic!("no test sends by {other:?} yet"),
    };
    let channel = "SELECT substring(prosrc from '''(ddp_tasks_[0-9a-f]+)''') FROM pg_proc \
                   WHERE pronamespace = 'ddp'::regnamespace AND proname LIKE 'tasks_insert%'";
    let channel = database::psql(&name, channel).trim().to_owned();
    for payload in ["'nonsense'", "xid || ' 1 2 2 u {}'", "xid || ' 1 1 1 u nonsense'"] {
        let xid = "(SELECT pg_current_xact_id() AS xid) AS x";
        database::psql(&name, &format!("SELECT {send}'{channel}', {payload}) FROM {xid}"));
    }
    database::psql(&name, "INSERT INTO tasks VALUES ('a')");
    until_there(&mut client, "a").await;
    until_counted(&db, |stats| stats.gaps_malformed == 2 && stats.gaps_part == 1).await;
}

async fn large_statements_ask_for_a_requery(feed: Feed) {
    let name = database::name("feeds_large", feed);
    let db = connect(&database::create_database(&name, SETUP), feed).await.unwrap();
    let mut client = subscriber(&db).await;
    database::psql(&name, "INSERT INTO tasks SELECT n::text FROM generate_series(0, 100) AS n");
    client.until("all", |client| client.documents("tasks").len() == 101).await;
    let stats = db.stats();
    assert_eq!((stats.requeries, stats.batches, stats.changes), (1, 0, 0));
    database::psql(&name, "INSERT INTO tasks VALUES ('a'), ('b')");
    until_there(&mut client, "a").await;
    let stats = db.stats();
    assert_eq!((stats.requeries, stats.batches, stats.changes), (1, 1, 2));
}

ddp_tests::over_both_feeds!(
    a_lost_connection_is_counted_and_made_up_for,
    a_hole_in_the_sequence_is_counted_and_made_up_for,
    payloads_that_no_trigger_sends_are_counted_and_made_up_for,
    large_statements_ask_for_a_requery,
);
