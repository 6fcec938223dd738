//! Transactions that are prepared, and committed by whoever comes later.

use std::collections::HashSet;

use ddp_cluster::Cluster;
use ddp_postgres::{Feed, Table};
use ddp_tests::{Client, database};
use serde_json::json;

use super::{builder, sees, serve};

const SETUP: &str =
    "CREATE TABLE tasks (id int PRIMARY KEY, v text); INSERT INTO tasks VALUES (1, 'a')";

fn start_cluster() -> Cluster {
    let options = database::cluster_options().setting("max_prepared_transactions", "10");
    let cluster = Cluster::start(options).expect("PostgreSQL is installed and starts");
    cluster.psql("postgres", SETUP).unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_transactions_come_by_the_wal_when_they_are_committed() {
    let cluster = start_cluster();
    let psql = |sql: &str| cluster.psql("postgres", sql).unwrap();
    let table = Table::new("tasks").all_columns();
    let (address, db) = serve(builder(&cluster.url()).table(table).feed(Feed::Wal)).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    psql(
        "BEGIN; UPDATE tasks SET v = 'b'; INSERT INTO tasks VALUES (2, 'b'); PREPARE TRANSACTION 'two'",
    );
    psql("BEGIN; INSERT INTO tasks VALUES (3, 'never'); PREPARE TRANSACTION 'three'");
    // What commits meanwhile comes by itself, to old and to new subscriptions.
    psql("INSERT INTO tasks VALUES (4, 'c')");
    let expected = r#"~1 v:"a"; ~4 v:"c""#;
    sees(&mut client, expected).await;
    let mut late = Client::connect(address).await;
    late.subscribe("tasks", json!([])).await;
    sees(&mut late, expected).await;
    psql("ROLLBACK PREPARED 'three'");
    psql("COMMIT PREPARED 'two'");
    for client in [&mut client, &mut late] {
        sees(client, r#"~1 v:"b"; ~2 v:"b"; ~4 v:"c""#).await;
    }
    // Both of its changes are one step, and nothing was read again.
    let stats = db.stats();
    assert_eq!((stats.batches, stats.requeries, stats.loads), (2, 0, 1));
    db.close().await;
}

/// PostgreSQL says it to whoever prepares, and nobody hears of what did not happen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transaction_that_has_notified_is_prepared() {
    let cluster = start_cluster();
    let table = Table::new("tasks").all_columns();
    let (address, db) = serve(builder(&cluster.url()).table(table).feed(Feed::Notify)).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    let update = "BEGIN; UPDATE tasks SET v = 'never'; PREPARE TRANSACTION 'one'";
    let error = cluster.psql("postgres", update).unwrap_err().to_string();
    assert!(error.contains("PREPARE") && error.contains("NOTIFY"), "{error}");
    cluster.psql("postgres", "INSERT INTO tasks VALUES (2, 'b')").unwrap();
    let seen = std::sync::Mutex::new(HashSet::new());
    let is_there = |client: &Client| {
        let values = client.documents("tasks").into_values();
        seen.lock().unwrap().extend(values.map(|task| task["v"].to_string()));
        client.documents("tasks").contains_key("~2")
    };
    client.until("the next", is_there).await;
    assert!(!seen.lock().unwrap().contains(r#""never""#), "{seen:?}");
    db.close().await;
}
