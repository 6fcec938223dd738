//! Database behaviour that is easy to get wrong: deferred triggers, migrations, silence, and
//! commits whose end nobody waited for.

use std::net::SocketAddr;
use std::time::Duration;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Error, Server, WriteFence};
use ddp_tests::{Client, database};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

const TASKS: Collection<Value> = Collection::new("tasks");
const PATIENCE: Duration = Duration::from_secs(40);

async fn serve(url: &str, feed: Feed, table: Table) -> (SocketAddr, Db) {
    let db = Db::builder(url).feed(feed).table(table).connect().await.unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .method("insert", insert)
        .method("insert.impatiently", insert_impatiently)
        .with_state(db.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    (address, db)
}

async fn insert(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute("INSERT INTO tasks (id) VALUES ($1)", &[&id]).await?;
    Ok(transaction.commit().await?)
}

/// Does not wait for its own commit to finish.
async fn insert_impatiently(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute("INSERT INTO tasks (id) VALUES ($1)", &[&id]).await?;
    let commit = tokio::time::timeout(Duration::from_millis(50), transaction.commit()).await;
    commit.expect_err("the deferred trigger takes longer");
    Ok(())
}

/// A table whose inserts write a second row when they commit, after some time.
fn deferred(seconds: &str) -> String {
    format!(
        "CREATE TABLE tasks (id text PRIMARY KEY, text text);
         CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.id NOT LIKE 'log %' THEN
                 PERFORM pg_sleep({seconds});
                 INSERT INTO tasks VALUES ('log ' || NEW.id);
             END IF;
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER follow AFTER INSERT ON tasks
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION follow();"
    )
}

async fn what_deferred_triggers_change_precedes_updated(feed: Feed) {
    let name = database::name("database_deferred", feed);
    let url = database::create_database(&name, &deferred("0"));
    let (address, _db) = serve(&url, feed, Table::new("tasks").all_columns()).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    for number in 0..50 {
        client.call("insert", json!([number.to_string()])).await;
        let tasks = client.documents("tasks");
        assert!(tasks.contains_key(&format!("log {number}")), "`updated` came before {number}");
    }
}

async fn a_commit_that_nobody_waits_for_is_waited_for_by_updated(feed: Feed) {
    let name = database::name("database_impatient", feed);
    let url = database::create_database(&name, &deferred("0.5"));
    let (address, _db) = serve(&url, feed, Table::new("tasks").all_columns()).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    client.call("insert.impatiently", json!(["a"])).await;
    let tasks = client.documents("tasks");
    assert!(tasks.contains_key("a") && tasks.contains_key("log a"), "{tasks:?}");
}

/// Whoever administers the database may set all of them, and they end other sessions.
async fn timeouts_of_sessions_do_not_end_the_feed(feed: Feed) {
    const FEED: &str = "SELECT pid FROM pg_stat_activity
        WHERE application_name = 'ddp feed' AND datname = current_database()";
    let name = database::name("database_timeouts", feed);
    let url =
        database::create_database(&name, "CREATE TABLE tasks (id text PRIMARY KEY, text text)");
    let (address, db) = serve(&url, feed, Table::new("tasks").all_columns()).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    // The `wal` feed waits for such a transaction when it begins.
    let (writer, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    writer.batch_execute("BEGIN; INSERT INTO tasks VALUES ('first')").await.unwrap();
    let before = database::psql(&name, FEED);
    database::psql(
        &name,
        "DO $$ DECLARE name text; BEGIN
            FOR name IN SELECT s.name FROM pg_settings s WHERE s.name IN ('idle_session_timeout',
                'idle_in_transaction_session_timeout', 'statement_timeout', 'lock_timeout', 'transaction_timeout')
            LOOP EXECUTE format('ALTER DATABASE %I SET %I = %s', current_database(), name,
                CASE WHEN name LIKE 'idle%' THEN 300 ELSE 5000 END); END LOOP;
        END $$",
    );
    database::psql(&name, &format!("SELECT pg_terminate_backend(({FEED}))"));
    let mut now = String::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    while now.trim().is_empty() || now == before {
        assert!(std::time::Instant::now() < deadline, "the feed does not come back");
        now = database::psql(&name, FEED);
    }
    // Sessions that began later than the feed's are ended.
    for ends in ["", "BEGIN", "SELECT pg_sleep(3600)"] {
        let (other, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let _ = other.batch_execute(ends).await;
        let ended = tokio::time::timeout(PATIENCE, connection).await.expect(ends).unwrap();
        ended.expect_err(ends);
    }
    writer.batch_execute("COMMIT").await.unwrap();
    client.until("the first", |client| client.documents("tasks").contains_key("first")).await;
    client.call("insert", json!(["second"])).await;
    assert!(client.documents("tasks").contains_key("second"));
    assert_eq!(database::psql(&name, FEED), now, "the same session");
    assert_eq!((db.stats().feed_connections, db.stats().gaps_connection), (2, 1));
}

async fn a_subscription_begun_during_a_migration_sees_all_rows(feed: Feed) {
    let setup = "CREATE TABLE tasks (id text PRIMARY KEY, text text, rank int);
                 INSERT INTO tasks SELECT 't' || n, 'zebra', n FROM generate_series(1, 10) AS n;";
    let name = database::name("database_migration", feed);
    let url = database::create_database(&name, setup);
    let (address, _db) = serve(&url, feed, Table::new("tasks").columns(["text"])).await;
    // The statement is prepared from now on, and so is not planned again behind the lock.
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    client.close().await;
    let migrated = name.clone();
    let migration = std::thread::spawn(move || {
        let sql = "BEGIN; ALTER TABLE tasks ALTER COLUMN rank TYPE bigint; \
                   SELECT pg_sleep(1); COMMIT";
        database::psql_alone(&migrated, sql)
    });
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'tasks'::regclass AND granted \
                  AND mode = 'AccessExclusiveLock'";
    while database::psql_alone(&name, locked).trim() == "0" {
        assert!(!migration.is_finished(), "it was over before anybody saw its lock");
    }
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    assert_eq!(client.documents("tasks").len(), 10);
    migration.join().unwrap();
}

async fn a_subscription_after_the_end_is_refused(feed: Feed) {
    let name = database::name("database_closed", feed);
    let url = database::create_database(&name, "CREATE TABLE tasks (id text PRIMARY KEY)");
    let (address, db) = serve(&url, feed, Table::new("tasks").all_columns()).await;
    db.close().await;
    let mut client = Client::connect(address).await;
    let id = client.send_sub("tasks", json!([])).await;
    client.until("nosub", |client| client.nosub.contains_key(&id)).await;
    assert_eq!(client.nosub[&id]["error"], 500);
}

/// The backend of the feed hangs, while its socket looks well.
async fn a_feed_that_says_nothing_is_replaced(feed: Feed) {
    let setup = "CREATE TABLE tasks (id text PRIMARY KEY, text text)";
    let name = database::name("database_silent", feed);
    let url = database::create_database(&name, setup);
    let (address, _db) = serve(&url, feed, Table::new("tasks").all_columns()).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    let backend = "SELECT pid FROM pg_stat_activity WHERE application_name = 'ddp feed' \
                   AND datname = current_database()";
    let pid = database::psql(&name, backend).trim().to_owned();
    let signal = |name: &str| {
        let status = std::process::Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    };
    signal("-STOP");
    database::psql(&name, "INSERT INTO tasks VALUES ('a')");
    let arrives = client.until("the row", |client| client.documents("tasks").contains_key("a"));
    let arrived = tokio::time::timeout(PATIENCE, arrives).await;
    signal("-CONT");
    arrived.expect("another connection takes its place");
}

ddp_tests::over_both_feeds!(
    timeouts_of_sessions_do_not_end_the_feed,
    what_deferred_triggers_change_precedes_updated,
    a_commit_that_nobody_waits_for_is_waited_for_by_updated,
    a_subscription_begun_during_a_migration_sees_all_rows,
    a_subscription_after_the_end_is_refused,
    a_feed_that_says_nothing_is_replaced,
);
