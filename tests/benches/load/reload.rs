//! What it costs to read many live queries again.
//!
//! Each query wants a list of its own, and a few connections share them all. While one row after the
//! other changes, the feed's connection is ended by a transaction that also changes a row of each list:
//! all queries have missed that, and are current when their clients have it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ddp_tests::Peer;
use serde_json::json;
use tokio_postgres::NoTls;

use super::figures::{Ratio, Rounds, tell};
use super::memory::settled;
use super::servers::{Databases, Kind, Server};
use super::{Bench, Result};

/// How many queries each connection has.
const QUERIES_EACH: usize = 500;
/// How many rows each list has.
const ROWS_EACH: usize = 10;
/// The pause between two changes.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the queries may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Ends the feed's connection. It is gone some milliseconds later, and replaced after 50 at the earliest.
const KILL: &str = "SELECT pg_terminate_backend(pid), pg_sleep(0.015) FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'ddp feed'";

/// What a server took.
struct Reload {
    /// Until all queries were current.
    seconds: f64,
    /// The longest that a new query had to wait meanwhile.
    newcomer: f64,
    /// Bytes of memory before, at the peak, and after.
    memory: [u64; 3],
}

/// So many live queries miss something.
pub(crate) async fn reload(bench: &Bench, queries: usize) -> Result<()> {
    let databases = Databases::start()?;
    let has_baseline = bench.baseline.is_some();
    let mut figures: [[Rounds; 3]; 2] = Default::default();
    for round in 0..if has_baseline { bench.rounds } else { 1 } {
        for (kind, rounds) in [Kind::Ours, Kind::Baseline].into_iter().zip(&mut figures) {
            if kind == Kind::Baseline && !has_baseline {
                continue;
            }
            let url = databases.create_lists(
                &format!("{kind:?}_{round}").to_lowercase(),
                queries,
                ROWS_EACH,
            )?;
            let Reload { seconds, newcomer, memory } =
                one_reload(bench, kind, &url, queries).await?;
            let [before, peak, after] = memory.map(|bytes| bytes as f64 / 1_048_576.0);
            let what = format!("{queries} queries, {kind:?}");
            println!(
                "{what:<34} current after {seconds:.1} s, a new one ready after {newcomer:.2} s at most; \
                 memory {before:.0} MB, peak {peak:.0} MB, then {after:.0} MB"
            );
            for (rounds, figure) in rounds.iter_mut().zip([seconds, newcomer, peak / before]) {
                rounds.push(figure);
            }
        }
    }
    let [ours, baseline] = &figures;
    let names = ["s until all are current", "s until a new one is ready", "memory at the peak"];
    for ((name, ours), baseline) in names.into_iter().zip(ours).zip(baseline) {
        let what = format!("{queries} read again, {name}");
        if has_baseline {
            let figures =
                format!("{:.2} beside {:.2} of the baseline", ours.median(), baseline.median());
            tell(&what, &figures, ours.ratio(baseline), "at most 1");
        } else {
            tell(&what, &format!("{:.2}", ours.median()), Ratio::once(ours.median()), "bounded");
        }
    }
    Ok(())
}

async fn one_reload(bench: &Bench, kind: Kind, url: &str, queries: usize) -> Result<Reload> {
    let server = Server::start_over(bench, kind, url)?;
    let address = server.target.address;
    let current = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for first in (0..queries).step_by(QUERIES_EACH) {
        let lists = first..(first + QUERIES_EACH).min(queries);
        clients.push(Client::connect(address, lists, Arc::clone(&current)).await);
    }
    let clients: Vec<_> =
        clients.into_iter().map(|client| tokio::spawn(client.read_on())).collect();
    let before = settled(&server).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(url.to_owned(), queries, Arc::clone(&is_over)));
    let newcomers = tokio::spawn(come(address, queries, Arc::clone(&is_over)));
    let database = connect(url).await?;
    let change = format!("BEGIN; UPDATE tasks SET text = 'missed' WHERE is_marked; {KILL}; COMMIT");
    database.batch_execute(&change).await?;
    let began = Instant::now();
    let mut peak = before;
    while current.load(Ordering::Relaxed) < queries {
        peak = peak.max(server.process.memory()?);
        if began.elapsed() > PATIENCE {
            let current = current.load(Ordering::Relaxed);
            return Err(format!("{current} of {queries} were current after {PATIENCE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    writing.await?;
    let newcomer = newcomers.await?;
    let after = settled(&server).await?;
    for client in clients {
        client.abort();
    }
    Ok(Reload { seconds, newcomer, memory: [before, peak, after] })
}

/// A connection with many queries.
struct Client {
    peer: Peer,
    /// How many queries of all clients have what was missed.
    current: Arc<AtomicUsize>,
}

impl Client {
    async fn connect(
        address: SocketAddr,
        lists: std::ops::Range<usize>,
        current: Arc<AtomicUsize>,
    ) -> Self {
        let mut peer = Peer::connect(address).await;
        let mut unready = lists.len();
        for list in lists {
            peer.sub(&list.to_string(), "tasks.list", json!([list.to_string()])).await;
        }
        while unready > 0 {
            let message = peer.recv().await;
            if message["msg"] == "ready" {
                unready -= message["subs"].as_array().map_or(0, Vec::len);
            }
        }
        Self { peer, current }
    }

    async fn read_on(mut self) {
        while let Some(message) = self.peer.try_recv().await {
            match message["msg"].as_str() {
                Some("changed") if message["fields"]["text"] == "missed" => {
                    self.current.fetch_add(1, Ordering::Relaxed);
                }
                Some("ping") => self.peer.send(json!({"msg": "pong"})).await,
                _ => {}
            }
        }
    }
}

/// Changes one row after the other, until it is over.
async fn write(url: String, queries: usize, is_over: Arc<AtomicBool>) {
    let database = connect(&url).await.expect("the database runs");
    let update =
        "UPDATE tasks SET text = 'busy ' || $1::int WHERE id = $2::int::text AND NOT is_marked";
    let update = database.prepare(update).await.expect("a statement");
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        let row = (i64::from(number) * 7_919 % (queries * ROWS_EACH) as i64) as i32;
        database.execute(&update, &[&number, &row]).await.expect("the table is there");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Subscribes to one new list after the other, until it is over. Returns the longest wait in seconds.
async fn come(address: SocketAddr, queries: usize, is_over: Arc<AtomicBool>) -> f64 {
    let mut peer = Peer::connect(address).await;
    let (mut longest, mut list) = (0.0_f64, queries);
    while !is_over.load(Ordering::Relaxed) {
        list += 1;
        let began = Instant::now();
        peer.sub(&list.to_string(), "tasks.list", json!([list.to_string()])).await;
        while peer.recv().await["msg"] != "ready" {}
        longest = longest.max(began.elapsed().as_secs_f64());
        peer.send(json!({"msg": "unsub", "id": list.to_string()})).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    longest
}

async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
