//! NOTIFY's queue, which a session that listens and stays in a transaction keeps full.

use std::time::Duration;

use ddp_cluster::{Cluster, ClusterOptions};
use ddp_postgres::{Db, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Cursor, Error, Server, WriteFence, field};
use ddp_tests::peer::serve;
use ddp_tests::{Client, Log};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

const TASKS: Collection<Value> = Collection::new("tasks");

/// What the log has said of the queue since the last look.
fn lines(log: &Log) -> Vec<String> {
    let text = log.take();
    let lines = text.lines().filter(|line| line.contains("NOTIFY queue fills up"));
    lines.map(str::to_owned).collect()
}

async fn insert(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(i32,)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute("INSERT INTO tasks VALUES ($1)", &[&id]).await?;
    Ok(transaction.commit().await?)
}

async fn below(State(db): State<Db>, Params((id,)): Params<(i64,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("_id").lt(id))
}

async fn session(url: &str, name: &str) -> tokio_postgres::Client {
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    let (client, connection) = config.application_name(name).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Until not even a short one fits, after all that others have taken was dropped.
async fn fill(client: &tokio_postgres::Client) {
    let (mut refused, mut sent) = (0, 0);
    while refused < 3 {
        let payload = "x".repeat(if refused == 0 { 7000 } else { 1 });
        match client.batch_execute(&format!("NOTIFY other, '{payload}'")).await {
            Ok(()) if refused == 0 => sent += 1,
            Ok(()) => refused = 1,
            Err(error) => {
                assert_eq!(error.code().unwrap().code(), "54000");
                refused += 1;
            }
        }
        client.batch_execute("SELECT pg_notification_queue_usage()").await.unwrap();
        assert!(sent < 1000, "it is never full");
    }
}

/// Before 17 the queue has 8 GB, which takes too long to fill.
async fn can_be_filled(client: &tokio_postgres::Client) -> bool {
    let version = "SELECT current_setting('server_version_num')::int >= 170000";
    client.query_one(version, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn while_the_queue_is_full_subscriptions_work_and_methods_say_what_is_wrong() {
    let start = || {
        // A setting that PostgreSQL before 17 does not know.
        let options = || ClusterOptions::temporary().without_durability();
        Cluster::start(options().setting("max_notify_queue_pages", "64"))
            .or_else(|_| Cluster::start(options()))
            .unwrap()
    };
    let cluster = tokio::task::spawn_blocking(start).await.unwrap();
    let url = cluster.url();
    let flood = session(&url, "flood").await;
    if !can_be_filled(&flood).await {
        return println!("PostgreSQL 17 or later is needed");
    }
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY); INSERT INTO tasks VALUES (1)";
    flood.batch_execute(setup).await.unwrap();
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let builder = Db::builder(&url).table(Table::new("tasks").all_columns());
    let db = builder.check_every(Duration::from_millis(50)).connect().await.unwrap();
    let server =
        Server::builder().publish("below", below).method("insert", insert).with_state(db.clone());
    let address = serve(&server).await;
    let mut client = Client::connect(address).await;
    client.subscribe("below", json!([10])).await;

    let sleeper = session(&url, "sleeper").await;
    sleeper.batch_execute("LISTEN other").await.unwrap();
    sleeper.batch_execute("BEGIN; SELECT 1").await.unwrap();
    fill(&flood).await;

    // A new query is read, and an old one is joined.
    let mut other = Client::connect(address).await;
    other.subscribe("below", json!([20])).await;
    other.subscribe("below", json!([10])).await;
    assert!(other.documents("tasks").contains_key("~1"));
    assert_eq!(db.find(&TASKS).fetch().await.unwrap().len(), 1);
    let error = client.call("insert", json!([2])).await["error"].clone();
    assert_eq!(error["error"], "database-busy", "{error}");
    let pid: i32 = sleeper.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let mut told = lines(&log);
    while told.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        told = lines(&log);
    }
    let words = [&format!("pid={pid}"), "application_name=\"sleeper\"", "database=\"postgres\""];
    assert!(words.iter().all(|word| told[0].contains(*word)), "{told:?}");
    told.extend(lines(&log));
    assert!(told.len() < 10, "{told:?}");
    let refused =
        Db::builder(&url).table(Table::new("tasks").all_columns()).connect().await.unwrap_err();
    assert!(refused.to_string().contains("session ends that listens"), "{refused}");

    sleeper.batch_execute("COMMIT").await.unwrap();
    // The room is free once those who listen have read.
    while client.call("insert", json!([3])).await.get("error").is_some() {}
    assert!(client.documents("tasks").contains_key("~3"), "`updated` came before it");
    other.until("the task", |other| other.documents("tasks").contains_key("~3")).await;
    assert!(!other.documents("tasks").contains_key("~2"));
    db.close().await;
}
