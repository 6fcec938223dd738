//! Events in any order, against the table as it was at each point.

use proptest::prelude::*;

use super::*;
use crate::query::descending;

fn truncated(batch: Batch<Task>) -> Batch<Task> {
    match batch.content {
        Content::Changes(changes) => Batch { content: Content::Truncated(changes), ..batch },
        _ => batch,
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Change(Vec<(u8, Option<(u8, u8)>)>),
    Truncate,
    Requery,
    Gap,
    Subscribe(u8),
    Unsubscribe(u8),
    /// Finishes the oldest load, which read this many transactions ago.
    Load(u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    let row = proptest::option::weighted(0.7, (0..3u8, 0..4u8));
    prop_oneof![
        8 => proptest::collection::vec((0..9u8, row), 1..4).prop_map(Operation::Change),
        1 => Just(Operation::Truncate),
        1 => Just(Operation::Requery),
        1 => Just(Operation::Gap),
        3 => (0..144u8).prop_map(Operation::Subscribe),
        1 => any::<u8>().prop_map(Operation::Unsubscribe),
        12 => (0..3u8).prop_map(Operation::Load),
    ]
}

fn query(number: u8) -> Query {
    let predicate = match number % 6 {
        0 => Predicate::All,
        1 => field("list").eq(1),
        2 => field("list").is_in([0, 2]),
        // Only the table itself can decide it.
        3 => field("list").eq(1).and(field("rank").gt(1.5)),
        4 => field("rank").lt(1.5),
        _ => field("rank").lt(2).or(field("list").eq(2).not()),
    };
    let sort = match number / 6 % 4 {
        0 => vec![],
        1 => vec![ascending("rank")],
        2 => vec![descending("rank"), ascending("list")],
        _ => vec![descending("list")],
    };
    let (skip, limit) = match number / 24 {
        0 => (0, None),
        1 => (0, Some(1)),
        2 => (0, Some(2)),
        3 => (1, Some(2)),
        4 => (2, None),
        _ => (0, Some(0)),
    };
    Query { predicate, sort, skip, limit, ..Query::all("tasks") }
}

/// No document is older in one query than in another, except in queries that only the table itself
/// can decide, and except for a row that a transaction reported as to be read again.
fn check_age(subscribers: &[Subscriber]) -> Result<(), TestCaseError> {
    let mut seen: BTreeMap<&DocumentId, &Arc<Document>> = BTreeMap::new();
    for subscriber in subscribers {
        let query = &subscriber.query;
        let is_opaque = !query
            .predicate
            .all_conditions(&mut |test| !matches!(test.is, Operator::Compare(_, Value::Float(_))));
        if is_opaque || query.sort.first().is_some_and(|key| &*key.field == "list") {
            continue;
        }
        for (key, document) in subscriber.documents.iter().filter(|(key, _)| **key != id(0)) {
            prop_assert_eq!(*seen.entry(key).or_insert(document), document, "{:?}", query);
        }
    }
    Ok(())
}

/// The table at each point, and the loads that its queries request.
struct Run {
    multiplexer: Arc<Multiplexer<Task>>,
    history: Vec<BTreeMap<u8, Task>>,
    /// With the point at which they started.
    loads: VecDeque<(PendingRead, usize)>,
    waiting: Vec<oneshot::Receiver<Option<PendingRead>>>,
    subscribers: Vec<Subscriber>,
}

impl Run {
    fn new() -> Self {
        let table = (0..9).map(|key| (key, Task { key, list: key % 3, rank: key % 4 }));
        Self {
            multiplexer: Multiplexer::new("tasks"),
            history: vec![table.collect()],
            loads: VecDeque::new(),
            waiting: Vec::new(),
            subscribers: Vec::new(),
        }
    }

    fn now(&self) -> &BTreeMap<u8, Task> {
        &self.history[self.history.len() - 1]
    }

    fn begin(&mut self, loads: impl IntoIterator<Item = PendingRead>) {
        let point = self.history.len() - 1;
        self.loads.extend(loads.into_iter().map(|load| (load, point)));
    }

    /// Finishes the oldest load.
    fn finish(&mut self, ago: usize) {
        let Some((load, begun)) = self.loads.pop_front() else { return };
        // A read sees any point since its start, and is told when the feed has got that far.
        let seen = (self.history.len() - 1).saturating_sub(ago).max(begun);
        let rows = &self.history[seen];
        self.waiting.push(begin_finish(&self.multiplexer, load, rows, |xid| xid <= seen as u64));
        for mut done in std::mem::take(&mut self.waiting) {
            match (&mut done).now_or_never() {
                Some(repeat) => self.begin(repeat.ok().flatten()),
                None => self.waiting.push(done),
            }
        }
    }

    /// The transaction's effect on the table, and what is reported of it.
    fn apply(&mut self, rows: BTreeMap<u8, Task>, batch: Batch<Task>) {
        self.history.push(rows);
        let loads = self.multiplexer.apply(batch);
        self.begin(loads);
    }

    fn run(&mut self, operation: Operation) {
        let mut rows = self.now().clone();
        let transaction = self.history.len() as u64;
        match operation {
            Operation::Change(changes) => {
                let mut last = BTreeMap::new();
                for (key, row) in changes {
                    last.insert(key, row.map(|(list, rank)| Task { key, list, rank }));
                }
                for (key, row) in &last {
                    match row {
                        Some(row) => rows.insert(*key, row.clone()),
                        None => rows.remove(key),
                    };
                }
                let changes: Vec<_> = last.into_iter().collect();
                self.apply(rows, batch(transaction, &changes));
            }
            Operation::Truncate => {
                let row = Task { key: 4, list: 1, rank: 1 };
                let batch = batch(transaction, &[(4, Some(row.clone()))]);
                self.apply(BTreeMap::from([(4, row)]), truncated(batch));
            }
            Operation::Requery => {
                rows.insert(0, Task { key: 0, list: 2, rank: 3 });
                self.apply(rows, requery(transaction));
            }
            Operation::Gap => {
                rows.remove(&1);
                rows.insert(2, Task { key: 2, list: 1, rank: (transaction % 4) as u8 });
                self.history.push(rows);
                let loads = self.multiplexer.reload_all();
                self.begin(loads);
            }
            Operation::Subscribe(number) => {
                let (subscriber, load) = observe(&self.multiplexer, query(number));
                self.subscribers.push(subscriber);
                self.begin(load);
            }
            Operation::Unsubscribe(number) if !self.subscribers.is_empty() => {
                let index = usize::from(number) % self.subscribers.len();
                drop(self.subscribers.swap_remove(index));
            }
            Operation::Unsubscribe(_) => {}
            Operation::Load(ago) => self.finish(ago.into()),
        }
        self.receive();
    }

    fn receive(&mut self) {
        self.subscribers.iter_mut().for_each(Subscriber::receive);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    /// Whatever the order of changes, loads, gaps and subscriptions, at rest every subscriber has
    /// what the query returns, and got there in steps that fit.
    #[test]
    fn subscribers_converge(operations in proptest::collection::vec(operation(), 1..80)) {
        let mut run = Run::new();
        let mut gaps = 0;
        for operation in operations {
            gaps += usize::from(matches!(operation, Operation::Gap | Operation::Requery));
            run.run(operation);
            // A feed that breaks too often is worse than documents that go back in time.
            if gaps < 3 {
                check_age(&run.subscribers)?;
            }
        }
        while !run.loads.is_empty() {
            run.finish(0);
        }
        run.receive();
        for subscriber in &run.subscribers {
            prop_assert_eq!(&subscriber.documents, &given(run.now(), &subscriber.query));
        }
        prop_assert!(run.waiting.is_empty());
        run.subscribers.clear();
        prop_assert!(run.multiplexer.is_idle());
    }
}
