//! Database behaviour that is easy to get wrong: deferred triggers, migrations, silence, and
//! commits whose end nobody waited for.

use std::net::SocketAddr;
use std::time::Duration;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Error, Server, WriteFence};
use ddp_tests::{Client, database};
use serde_json::{Value, json};

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
    what_deferred_triggers_change_precedes_updated,
    a_commit_that_nobody_waits_for_is_waited_for_by_updated,
    a_subscription_begun_during_a_migration_sees_all_rows,
    a_subscription_after_the_end_is_refused,
    a_feed_that_says_nothing_is_replaced,
);
