//! The cost of one change among many live queries that each want a different list: found by the
//! router, or by asking every query. `cargo bench --bench routing`
//!
//! `BASELINE=<another build's routing benchmark>`, which is its
//! `target/release/deps/routing-<hash>`, runs that and this one in turn, `ROUNDS` (5) times, and
//! prints the medians and their ratio.
//!
//! A routed change goes all the way: the affected queries are found, their documents are updated,
//! messages are prepared lazily, and the change is handed to the observer's mailbox.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group};
use ddp_core::{Document, DocumentId, FieldName};
use ddp_server::field;
use ddp_server::live_query::{
    Batch, Change, Content, Multiplexer, Observation, Observer, Origin, Plan, Row,
};
use ddp_server::query::{Predicate, Query, Truth, Value};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone)]
struct Task {
    list: String,
    checked: bool,
}

impl Row for Task {
    fn value(&self, field: &str) -> Value {
        match field {
            "listId" => Value::from(&self.list),
            "checked" => Value::from(self.checked),
            _ => Value::Null,
        }
    }

    fn document(&self, _: Option<&[FieldName]>) -> Arc<Document> {
        let list = format!("\"{}\"", self.list);
        let checked = if self.checked { "true" } else { "false" };
        let fields = [("listId", &*list), ("checked", checked)];
        let fields = fields.into_iter().map(|(name, text)| (FieldName::from(name), text));
        Arc::new(Document::from_fields(fields).expect("a small document"))
    }
}

fn list(number: usize) -> String {
    format!("list{number:06}")
}

fn predicate(number: usize) -> Predicate {
    field("listId").eq(list(number))
}

/// This many live queries, all of them read.
fn observe(queries: usize) -> (Arc<Multiplexer<Task>>, Vec<Observation>) {
    let multiplexer = Multiplexer::new("tasks");
    let observer = Observer::detached();
    let observations = (0..queries).map(|number| {
        let predicate = predicate(number);
        let query = Query { predicate: predicate.clone(), ..Query::all("tasks") };
        let keys = predicate.equality_keys(&|_| true);
        let plan = Plan { predicate, keys, order: None };
        let joined = multiplexer.observe(&query, plan, observer.clone());
        let reads = multiplexer.begin_reads(1).into_iter().map(|read| (read, Vec::new()));
        assert!(
            !multiplexer.finish_reads(reads.collect(), Origin::Gap, |_| true),
            "a query of its own"
        );
        joined.observation
    });
    let observations = observations.collect();
    (multiplexer, observations)
}

fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one change among live queries");
    for queries in [100, 100_000] {
        let (multiplexer, observations) = observe(queries);
        let (mut transaction, mut checked) = (0, false);
        group.bench_function(BenchmarkId::new("routed", queries), |bencher| {
            bencher.iter(|| {
                (transaction, checked) = (transaction + 1, !checked);
                let row = Task { list: list(queries / 2), checked };
                let change = Change { id: DocumentId::from_string("task"), row: Some(row) };
                let origin = Origin::Transaction(transaction);
                let batch = Batch { origin, content: Content::Changes(vec![change]) };
                assert!(!multiplexer.apply(batch), "nothing needs to be read");
            });
        });
        drop(observations);
        let predicates: Vec<Predicate> = (0..queries).map(predicate).collect();
        group.bench_function(BenchmarkId::new("every query asked", queries), |bencher| {
            let row = Task { list: list(queries / 2), checked };
            bencher.iter(|| {
                let wants = |predicate: &&Predicate| {
                    predicate.evaluate(&|test| row.meets(test)) == Truth::True
                };
                assert_eq!(black_box(&predicates).iter().filter(wants).count(), 1);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, routing);

/// The nanoseconds that a build of this benchmark prints for each measurement.
fn nanoseconds(program: &OsStr) -> Result<BTreeMap<String, f64>, String> {
    let failed = |what: &str| format!("{}: {what}", program.to_string_lossy());
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).args(["--output-format", "bencher"]);
    let output = command.env_remove("BASELINE").output();
    let output = output.map_err(|error| failed(&error.to_string()))?;
    // `test NAME ... bench: NUMBER ns/iter (+/- NUMBER)`
    let measured = |line: &str| {
        let (name, figures) = line.strip_prefix("test ")?.split_once(" ... bench:")?;
        let nanoseconds = figures.split_whitespace().next()?.replace(',', "");
        Some((name.to_owned(), nanoseconds.parse().ok()?))
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let measured: BTreeMap<_, _> = text.lines().filter_map(measured).collect();
    if !output.status.success() || measured.is_empty() {
        return Err(failed(&format!(
            "no figures: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    Ok(measured)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Runs this build and another one in turn.
fn take_turns(baseline: &OsStr) -> Result<(), String> {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let ours = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut figures: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    for _ in 0..rounds {
        for (index, program) in [ours.as_os_str(), baseline].into_iter().enumerate() {
            for (name, nanoseconds) in nanoseconds(program)? {
                figures.entry(name).or_default()[index].push(nanoseconds);
            }
        }
    }
    for (name, [ours, baseline]) in figures {
        if ours.len() != baseline.len() {
            return Err(format!("only one of the two builds measures {name}"));
        }
        let ratios = ours.iter().zip(&baseline).map(|(ours, baseline)| ours / baseline).collect();
        let (ours, baseline) = (median(ours), median(baseline));
        println!("{name}: {ours:.0} ns, baseline {baseline:.0} ns, {:.2}", median(ratios));
    }
    Ok(())
}

fn main() -> ExitCode {
    if let Some(baseline) = std::env::var_os("BASELINE") {
        if let Err(error) = take_turns(&baseline) {
            eprintln!("routing: {error}");
            return ExitCode::FAILURE;
        }
    } else {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
    ExitCode::SUCCESS
}
