//! How an update of 1,000,000 rows affects those who watch another collection.
//!
//! One row of a small table is updated every few milliseconds, and a client notes when each change
//! comes, counted from the end of its commit: while nothing else happens, while every row of a large
//! table without triggers is updated, and while every row of a published one is, which a client
//! watches, too. The two updates cost the machine about the same; what differs is the server's.
//!
//! `cargo bench --bench bulk`; `ROWS` is the size of the large tables.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ddp_cluster::{Cluster, ClusterOptions};
use ddp_postgres::{Db, Feed, Table};
use ddp_server::{Collection, Server, State, field};
use ddp_tests::{Peer, needs, peer};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_postgres::NoTls;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SMALL: Collection<Value> = Collection::new("small");
const LARGE: Collection<Value> = Collection::new("large");

/// The pause between two changes of the small table.
const PAUSE: Duration = Duration::from_millis(3);
const QUIET: Duration = Duration::from_secs(8);

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Updates the small table until `busy` is over. Returns how long each change took.
async fn measure(
    url: &str,
    arrivals: &mut mpsc::UnboundedReceiver<(i64, Instant)>,
    next: &mut i64,
    busy: impl Future<Output = ()> + Send + 'static,
) -> Vec<Duration> {
    let writer = connect(url).await;
    let busy = tokio::spawn(busy);
    let mut committed = BTreeMap::new();
    while !busy.is_finished() {
        writer.execute("UPDATE small SET n = $1", &[next]).await.unwrap();
        committed.insert(*next, Instant::now());
        *next += 1;
        tokio::time::sleep(PAUSE).await;
    }
    busy.await.unwrap();
    let mut latencies = Vec::new();
    while !committed.is_empty() {
        let (n, arrived) = arrivals.recv().await.unwrap();
        // A client that lags behind is sent only the newest state.
        let later = committed.split_off(&(n + 1));
        let seen = std::mem::replace(&mut committed, later);
        latencies.extend(seen.values().map(|at| arrived.saturating_duration_since(*at)));
    }
    latencies.sort();
    latencies
}

fn print(feed: Feed, phase: &str, latencies: &[Duration]) {
    let at = |share: f64| {
        let index = ((latencies.len() - 1) as f64 * share) as usize;
        latencies[index].as_secs_f64() * 1000.0
    };
    println!(
        "| {feed:?} | {phase} | {} | {:.2} | {:.2} | {:.1} |",
        latencies.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn run(cluster: &Cluster, feed: Feed, rows: u32) {
    let name = format!("bulk_{feed:?}").to_lowercase();
    cluster.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
    let tables = format!(
        "CREATE TABLE small (id int PRIMARY KEY, n bigint); INSERT INTO small VALUES (1, 0);
         CREATE TABLE large (id int PRIMARY KEY, n int, text text);
         INSERT INTO large SELECT n, 0, 'row ' || n FROM generate_series(1, {rows}) AS n;
         CREATE TABLE unpublished AS TABLE large; ALTER TABLE unpublished ADD PRIMARY KEY (id);"
    );
    cluster.psql(&name, &tables).unwrap();
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        cluster.psql(&name, statement).unwrap();
    }
    let url = cluster.database_url(&name);
    let tables = Db::builder(&url)
        .feed(feed)
        .table(Table::new("small").all_columns())
        .table(Table::new("large").all_columns());
    let db = tables.connect().await.unwrap();
    let server = Server::builder()
        .publish("small", async |State(db): State<Db>| db.find(&SMALL))
        .publish("large.one", async |State(db): State<Db>| {
            db.find(&LARGE).filter(field("_id").eq(1))
        })
        .with_state(db.clone());
    let address = peer::serve(&server).await;
    let mut other = Peer::connect(address).await;
    other.sub("1", "large.one", json!([])).await;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let mut client = Peer::connect(address).await;
    client.sub("1", "small", json!([])).await;
    tokio::spawn(async move { while other.try_recv().await.is_some() {} });
    tokio::spawn(async move {
        while let Some(message) = client.try_recv().await {
            if let Some(n) = message["fields"]["n"].as_i64() {
                let _ = arrived.send((n, Instant::now()));
            }
        }
    });
    let mut next = 1;
    let quiet = measure(&url, &mut arrivals, &mut next, tokio::time::sleep(QUIET)).await;
    print(feed, "nothing else", &quiet);
    for (phase, table) in [
        ("update of an unpublished table", "unpublished"),
        ("update of a published table", "large"),
    ] {
        let updater = connect(&url).await;
        let update = async move {
            updater.batch_execute(&format!("UPDATE {table} SET n = n + 1")).await.unwrap();
        };
        let latencies = measure(&url, &mut arrivals, &mut next, update).await;
        print(feed, phase, &latencies);
    }
    assert_eq!(db.stats().requeries, 1, "the large update is told by one message");
    db.close().await;
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(missing) = needs::postgres() {
        eprintln!("bulk: {missing}");
        return ExitCode::FAILURE;
    }
    let rows = std::env::var("ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let options = ClusterOptions::temporary()
        .setting("wal_level", "logical")
        .setting("max_wal_size", "8GB")
        .setting("shared_buffers", "512MB");
    let cluster = Cluster::start(options).unwrap();
    println!(
        "| feed | meanwhile | changes | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|---|"
    );
    for feed in [Feed::Notify, Feed::Wal] {
        run(&cluster, feed, rows).await;
    }
    ExitCode::SUCCESS
}
