//! What overlapping subscriptions of one session cost: `cargo bench --bench overlap`
//!
//! One session has many subscriptions to the same 100 rows, and a transaction changes all of them.
//! The client is sent the same messages as with one subscription. The rows come from memory, and
//! reach the session through its live queries and a socket, as rows of a database do.
//!
//! `SUBSCRIPTIONS` (1,024) and `UPDATES` (20) are variables; arguments choose the kinds.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ddp_core::{Document, DocumentId, FieldName};
use ddp_server::extract::{Params, State};
use ddp_server::live_query::{
    Batch, Change, Content, DataSource, Documents, Multiplexer, Observation, Observer, Origin,
    Plan, Row,
};
use ddp_server::query::{Query, Truth, Value};
use ddp_server::{Collection, Cursor, Error, Server, ServerConfig, field};
use ddp_tests::Peer;
use ddp_tests::load::Process;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::json;
use tokio::runtime::Handle;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: i64 = 100;
const TASKS: Collection<()> = Collection::new("tasks");
/// The name of the server's threads.
const THREAD: &str = "overlap-server";

static FIELDS: LazyLock<[FieldName; 4]> =
    LazyLock::new(|| ["number", "version", "text", "checked"].map(FieldName::from));

#[derive(Clone, Copy)]
struct Task {
    number: i64,
    version: i64,
}

impl Row for Task {
    fn value(&self, field: &str) -> Value {
        match field {
            "number" => Value::from(self.number),
            "version" => Value::from(self.version),
            _ => Value::Null,
        }
    }

    fn document(&self, fields: Option<&[FieldName]>) -> Arc<Document> {
        let (number, version) = (self.number.to_string(), self.version.to_string());
        let texts = [&*number, &*version, "\"water the plants on the balcony\"", "false"];
        let all = FIELDS.iter().cloned().zip(texts);
        let wanted = all.filter(|(name, _)| fields.is_none_or(|fields| fields.contains(name)));
        Arc::new(Document::from_fields(wanted).expect("a small document"))
    }
}

/// The rows, and the transactions that change all of them.
struct Table {
    version: Mutex<i64>,
    multiplexer: Arc<Multiplexer<Task>>,
}

impl Table {
    fn rows(version: i64) -> impl Iterator<Item = (DocumentId, Task)> {
        let id = |number| DocumentId::from_string(&format!("task{number:04}"));
        (0..ROWS).map(move |number| (id(number), Task { number, version }))
    }

    fn update(&self) {
        let mut version = self.version.lock();
        *version += 1;
        let changes = Self::rows(*version).map(|(id, row)| Change { id, row: Some(row) });
        let content = Content::Changes(changes.collect());
        let origin = Origin::Transaction(version.unsigned_abs());
        let must_read = self.multiplexer.apply(Batch { origin, content });
        assert!(!must_read);
    }
}

impl DataSource for Table {
    fn observe<'a>(
        &'a self,
        query: &'a Query,
        observer: Observer,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        let predicate = query.predicate.clone();
        let keys = predicate.equality_keys(&|_| true);
        let plan = Plan { predicate, keys, order: None };
        let joined = self.multiplexer.observe(query, plan, observer);
        if joined.must_read {
            let version = self.version.lock();
            let reads = self.multiplexer.begin_reads(1).into_iter().map(|read| {
                let wants = |(_, row): &(DocumentId, Task)| {
                    read.plan.predicate.evaluate(&|test| row.meets(test)) == Truth::True
                };
                let rows = Self::rows(*version).filter(wants).collect();
                (read, rows)
            });
            assert!(!self.multiplexer.finish_reads(reads.collect(), Origin::Gap, |_| true));
        }
        async move {
            joined.ready.await.expect("the query is not dropped")?;
            Ok(joined.observation)
        }
        .boxed()
    }

    fn fetch<'a>(&'a self, _: &'a Query) -> BoxFuture<'a, Result<Documents, Error>> {
        unreachable!("nothing is read once")
    }
}

/// The publication of each kind: one for all, or queries that differ by their number.
const KINDS: [&str; 4] = ["equal", "different", "overlapping", "projected"];

async fn publish(
    State(table): State<Arc<Table>>,
    Params((kind, number)): Params<(String, i64)>,
) -> Cursor<()> {
    let all = Cursor::new(table, &TASKS);
    match &*kind {
        "different" => all.filter(field("number").lt(ROWS + number)),
        // Each row is missing in one of a hundred.
        "overlapping" => {
            all.filter(field("number").ne(number % ROWS).and(field("number").lt(ROWS + number)))
        }
        // One field is always there, so that each is sent every change.
        "projected" => {
            let fields = ["version", "number", "text", "checked"];
            let wanted = |index: usize| index == 0 || number >> (index - 1) & 1 == 1;
            let wanted = fields.iter().enumerate().filter(|(index, _)| wanted(*index));
            all.filter(field("number").lt(ROWS + number)).fields(wanted.map(|(_, name)| *name))
        }
        _ => all,
    }
}

/// The processor time that the server's threads have used.
fn server_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        // The kernel keeps 15 bytes of a name.
        THREAD.starts_with(name.trim()).then_some(())?;
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

struct Figures {
    ready: Duration,
    ready_bytes: u64,
    update: Duration,
    update_bytes: u64,
    memory: u64,
}

fn variable(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

async fn measure(
    table: Arc<Table>,
    servers: Handle,
    address: SocketAddr,
    kind: &str,
    subscriptions: usize,
) -> Figures {
    let process = Process::new(std::process::id()).expect("this process");
    let before = process.memory().expect("this process");
    let mut peer = Peer::connect(address).await;
    let (begun, mut ready_bytes) = (Instant::now(), 0);
    let mut ready = 0;
    for number in 0..subscriptions {
        peer.sub(&number.to_string(), "tasks", json!([kind, number])).await;
    }
    while ready < subscriptions {
        let message = peer.recv().await;
        ready_bytes += message.to_string().len() as u64;
        ready += message["subs"].as_array().map_or(0, Vec::len);
    }
    let ready = begun.elapsed();
    let memory = process.memory().expect("this process").saturating_sub(before);
    let (updates, mut update_bytes) = (variable("UPDATES", 20), 0);
    let mut times = Vec::new();
    for _ in 0..updates {
        let before = server_time();
        let table = Arc::clone(&table);
        servers.spawn(async move { table.update() }).await.expect("no panic");
        let mut seen = 0;
        while seen < ROWS {
            let message = peer.recv().await;
            assert_eq!(message["msg"], "changed", "{message}");
            seen += i64::from(!message["fields"]["version"].is_null());
            update_bytes += message.to_string().len() as u64;
        }
        // What is left to do after the client has everything counts as well.
        peer.send(json!({"msg": "ping"})).await;
        while peer.recv().await["msg"] != "pong" {}
        times.push(server_time() - before);
    }
    times.sort();
    let update = times[times.len() / 2];
    Figures { ready, ready_bytes, update, update_bytes: update_bytes / updates as u64, memory }
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let subscriptions = variable("SUBSCRIPTIONS", 1024);
    let table = Arc::new(Table { version: Mutex::new(0), multiplexer: Multiplexer::new("tasks") });
    let runtime = |threads: usize, name: &str| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name(name).enable_all().build().expect("a runtime")
    };
    let (servers, clients) = (runtime(2, THREAD), runtime(1, "client"));
    let server = Server::builder()
        .config(ServerConfig::default())
        .publish("tasks", publish)
        .with_state(Arc::clone(&table));
    let address = servers.block_on(ddp_tests::peer::serve(&server));
    let run = |kind: &'static str, count| {
        let (table, servers) = (Arc::clone(&table), servers.handle().clone());
        clients.block_on(measure(table, servers, address, kind, count))
    };
    // Threads and caches get warm.
    run("equal", 1);
    let one = run("equal", 1);
    let per_byte = |f: &Figures| f.update.as_nanos() as f64 / f.update_bytes as f64;
    let report = |kind: &str, count: usize, f: &Figures| {
        println!(
            "{count:>5} {kind:<12} ready in {:>9.1?} ({:>6} B), update {:>10.1?} for {:>6} B: {:>8.1} ns/B, \
             {:>7.2} x one; {:>6} KiB",
            f.ready,
            f.ready_bytes,
            f.update,
            f.update_bytes,
            per_byte(f),
            per_byte(f) / per_byte(&one),
            f.memory / 1024,
        );
    };
    report("one", 1, &one);
    for kind in KINDS {
        if wanted.is_empty() || wanted.iter().any(|other| other == kind) {
            report(kind, subscriptions, &run(kind, subscriptions));
        }
    }
}
