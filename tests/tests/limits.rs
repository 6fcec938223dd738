//! What methods wait for, and for how long; and that nobody waits for the connections of others.

use std::time::{Duration, Instant};

use ddp_postgres::{Db, DbBuilder, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Error, Server, WriteFence};
use ddp_tests::peer::serve;
use ddp_tests::{Client, Peer, database};
use serde_json::{Value, json};

const TASKS: Collection<Value> = Collection::new("tasks");
const SETUP: &str =
    "CREATE TABLE tasks (id int PRIMARY KEY, title text); INSERT INTO tasks VALUES (1, 'a')";
const SHORT: Duration = Duration::from_millis(200);

fn builder(name: &str) -> DbBuilder {
    Db::builder(database::create_database(name, SETUP)).table(Table::new("tasks").all_columns())
}

async fn run(
    State(db): State<Db>,
    fence: WriteFence,
    Params((sql,)): Params<(String,)>,
) -> Result<u64, Error> {
    let transaction = db.begin(&fence).await?;
    let rows = transaction.execute(&sql, &[]).await?;
    transaction.commit().await?;
    Ok(rows)
}

async fn count(State(db): State<Db>) -> Result<usize, Error> {
    Ok(db.find(&TASKS).fetch().await?.len())
}

async fn start(db: &Db) -> std::net::SocketAddr {
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .method("run", run)
        .method("count", count)
        .with_state(db.clone());
    serve(&server).await
}

async fn shown(db: &Db, setting: &str) -> String {
    let transaction = db.begin(&WriteFence::detached()).await.unwrap();
    let rows = transaction.query(&format!("SHOW {setting}"), &[]).await.unwrap();
    rows[0].get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_waits_too_long_tells_its_client() {
    let name = "limits_methods";
    let builder = builder(name).connections_max(4).pool_timeout(SHORT);
    let db = builder.lock_timeout(SHORT).statement_timeout(SHORT * 2).connect().await.unwrap();
    let mut peer = Peer::connect(start(&db).await).await;
    let update = json!(["UPDATE tasks SET title = 'b'"]);
    let call = async |peer: &mut Peer, method: &str, params: &Value| {
        let began = Instant::now();
        let answer = peer.call(method, params.clone()).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        answer["error"].clone()
    };

    let (holder, connection) =
        tokio_postgres::connect(&database::database_url(name), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    holder.batch_execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let busy = json!({
        "isClientSafe": true, "error": "database-busy", "reason": "The database is busy. Please try again.",
        "message": "The database is busy. Please try again. [database-busy]", "errorType": "Meteor.Error",
    });
    assert_eq!(call(&mut peer, "run", &update).await, busy, "a lock");
    assert_eq!(call(&mut peer, "count", &json!([])).await, busy, "a lock for a read");
    holder.batch_execute("COMMIT").await.unwrap();

    let sleep = json!(["SELECT pg_sleep(60)"]);
    let error = call(&mut peer, "run", &sleep).await;
    assert_eq!(error["error"], "database-timeout", "{error}");

    let held = (db.pool().get().await.unwrap(), db.pool().get().await.unwrap());
    assert_eq!(call(&mut peer, "run", &update).await, busy, "a connection");
    drop(held);
    assert_eq!(call(&mut peer, "run", &update).await, Value::Null);
    assert_eq!(database::psql(name, "SELECT title FROM tasks").trim(), "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_checks_need_none_of_the_methods_connections() {
    let name = "limits_shares";
    let builder = builder(name).connections_max(4).check_every(Duration::from_secs(3600));
    let db = builder.connect().await.unwrap();
    let address = start(&db).await;
    let held = (db.pool().get().await.unwrap(), db.pool().get().await.unwrap());
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    database::psql(name, "ALTER TABLE tasks ADD COLUMN n int DEFAULT 7");
    db.check().await.unwrap();
    client
        .until("the column", |client| client.documents("tasks")["~1"].get("n") == Some(&json!(7)))
        .await;
    // The same row twice in a transaction: it is read by its key.
    database::psql(name, "BEGIN; UPDATE tasks SET n = 8; UPDATE tasks SET n = 9; COMMIT");
    client.until("the row", |client| client.documents("tasks")["~1"]["n"] == 9).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_will_do() {
    let db = builder("limits_one").connections_max(1).connect().await.unwrap();
    let address = start(&db).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    client.call("run", json!(["UPDATE tasks SET title = 'b'"])).await;
    assert_eq!(client.documents("tasks")["~1"]["title"], "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_those_of_the_session_unless_told_otherwise() {
    let name = "limits_settings";
    let db = builder(name).connect().await.unwrap();
    assert_eq!(shown(&db, "lock_timeout").await, "5s");
    assert_eq!(shown(&db, "statement_timeout").await, "30s");
    let client = db.pool().get().await.unwrap();
    let outside: String = client.query_one("SHOW lock_timeout", &[]).await.unwrap().get(0);
    assert_eq!(outside, "0", "a transaction's limits end with it");
    db.close().await;

    let url = format!("{}?options=-c%20lock_timeout%3D123ms", database::database_url(name));
    let builder = || Db::builder(&url).table(Table::new("tasks").all_columns());
    let db = builder().statement_timeout(Duration::ZERO).connect().await.unwrap();
    assert_eq!(shown(&db, "lock_timeout").await, "123ms");
    assert_eq!(shown(&db, "statement_timeout").await, "0");
    db.close().await;
    let db = builder().lock_timeout(Duration::from_nanos(1)).connect().await.unwrap();
    assert_eq!(shown(&db, "lock_timeout").await, "1ms", "not none");
    db.close().await;
}

/// With one connection for methods, which each of these gets in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_a_method_deallocates_are_prepared_again() {
    let db = builder("limits_deallocated").connections_max(2).connect().await.unwrap();
    let mut client = Client::connect(start(&db).await).await;
    client.subscribe("tasks", json!([])).await;
    for number in 0..3 {
        let update = json!([format!("UPDATE tasks SET title = 'a{number}'")]);
        let same = json!(["UPDATE tasks SET title = title || 'b'"]);
        assert_eq!(client.call("run", update.clone()).await["result"], 1);
        assert_eq!(client.call("run", same.clone()).await["result"], 1);
        assert_eq!(client.call("count", json!([])).await["result"], 1);
        if number == 0 {
            client.call("run", json!(["DEALLOCATE ALL"])).await;
        } else {
            db.pool().get().await.unwrap().batch_execute("DISCARD ALL").await.unwrap();
        }
        if number == 2 {
            // A read comes first.
            assert_eq!(client.call("count", json!([])).await["result"], 1);
        }
        assert_eq!(client.call("run", same).await["result"], 1);
        assert_eq!(client.documents("tasks")["~1"]["title"], format!("a{number}bb"));
    }
}
