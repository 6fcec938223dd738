//! What one change costs among many live queries that each want another list: found by the router,
//! and found by asking every query. `cargo bench --bench routing`
//!
//! A routed change is the whole way: it is found whom it concerns, the query's documents are
//! brought up to date, messages are made lazily and the change is handed to the observer's mailbox.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
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

/// As many live queries, all of them read.
fn observe(queries: usize) -> (Arc<Multiplexer<Task>>, Vec<Observation>) {
    let multiplexer = Multiplexer::new("tasks");
    let observer = Observer::detached();
    let observations = (0..queries).map(|number| {
        let predicate = predicate(number);
        let query = Query { predicate: predicate.clone(), ..Query::all("tasks") };
        let keys = predicate.equality_keys(&|_| true);
        let plan = Plan { predicate, keys, order: None };
        let joined = multiplexer.observe(&query, plan, observer.clone());
        let load = joined.load.expect("a query of its own");
        drop(multiplexer.finish_load(load, Vec::new(), |_| true));
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
                let loads = multiplexer.apply(batch);
                assert!(loads.is_empty());
            });
        });
        drop(observations);
        let predicates: Vec<Predicate> = (0..queries).map(predicate).collect();
        group.bench_function(BenchmarkId::new("every query asked", queries), |bencher| {
            let row = Task { list: list(queries / 2), checked };
            bencher.iter(|| {
                let wants = |predicate: &&Predicate| {
                    predicate.evaluate(&|test| row.test(test)) == Truth::True
                };
                assert_eq!(black_box(&predicates).iter().filter(wants).count(), 1);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, routing);
criterion_main!(benches);
