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
    /// A part of the feed was lost, and with it a change.
    Lose,
    Gap,
    Subscribe(u8),
    Unsubscribe(u8),
    /// Begins to read a group of at most this many queries.
    Begin(u8),
    /// Finishes a group, which was read this many transactions ago.
    Load(u8, usize),
    /// Begins to read a group, which misses something.
    Miss(u8),
    /// Gives the oldest group up.
    PutBack,
}

/// How often the feed breaks, and in which way.
#[derive(Clone, Copy)]
struct Breaks {
    requeries: u32,
    gaps: u32,
    misses: u32,
    /// How many kinds of queries there are: of a few, many hold the same documents.
    queries: u8,
}

fn operation(breaks: Breaks) -> impl Strategy<Value = Operation> {
    let row = proptest::option::weighted(0.7, (0..3u8, 0..4u8));
    prop_oneof![
        8 => proptest::collection::vec((0..9u8, row), 1..4).prop_map(Operation::Change),
        1 => Just(Operation::Truncate),
        breaks.requeries => Just(Operation::Requery),
        breaks.requeries => Just(Operation::Lose),
        breaks.gaps => Just(Operation::Gap),
        breaks.misses => (1..4u8).prop_map(Operation::Miss),
        3 => (0..breaks.queries).prop_map(Operation::Subscribe),
        1 => any::<u8>().prop_map(Operation::Unsubscribe),
        8 => (1..4u8).prop_map(Operation::Begin),
        8 => (0..3u8, 0..3usize).prop_map(|(ago, group)| Operation::Load(ago, group)),
        1 => Just(Operation::PutBack),
    ]
}

/// From a feed that seldom breaks to one that does so during nearly each read.
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let seldom = Breaks { requeries: 1, gaps: 1, misses: 1, queries: 144 };
    let gaps = Breaks { gaps: 12, queries: 6, ..seldom };
    let requeries = Breaks { requeries: 4, misses: 20, queries: 6, ..seldom };
    let operations = |breaks| proptest::collection::vec(operation(breaks), 1..80);
    prop_oneof![operations(seldom), operations(gaps), operations(requeries)]
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
/// can decide.
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
        for (key, document) in &subscriber.documents {
            prop_assert_eq!(*seen.entry(key).or_insert(document), document, "{:?}", query);
        }
    }
    Ok(())
}

/// The table at each point, and the loads that its queries request.
struct Run {
    multiplexer: Arc<Multiplexer<Task>>,
    history: Vec<BTreeMap<u8, Task>>,
    /// In groups, with the point at which they started.
    loads: VecDeque<(Vec<PendingRead>, usize)>,
    subscribers: Vec<Subscriber>,
}

impl Run {
    fn new() -> Self {
        let table = (0..9).map(|key| (key, Task { key, list: key % 3, rank: key % 4 }));
        Self {
            multiplexer: Multiplexer::new("tasks"),
            history: vec![table.collect()],
            loads: VecDeque::new(),
            subscribers: Vec::new(),
        }
    }

    fn now(&self) -> &BTreeMap<u8, Task> {
        &self.history[self.history.len() - 1]
    }

    fn begin(&mut self, max: usize) {
        let group = self.multiplexer.begin_reads(max);
        if !group.is_empty() {
            self.loads.push_back((group, self.history.len() - 1));
        }
    }

    /// Finishes a group.
    fn finish(&mut self, ago: usize, group: usize) {
        let group = group.min(self.loads.len().saturating_sub(1));
        let Some((group, begun)) = self.loads.remove(group) else { return };
        // A read sees any point since its start, and is told when the feed has got that far.
        let seen = (self.history.len() - 1).saturating_sub(ago).max(begun);
        let rows = &self.history[seen];
        let reads = group.into_iter().map(|load| {
            let rows = read(rows, &load.query).into_iter();
            let rows = rows.take(load.rows_max().unwrap_or(usize::MAX));
            (load, rows.map(|(key, row)| (id(key), row)).collect())
        });
        let seen = seen as u64;
        let has_seen = |origin| match origin {
            Origin::Transaction(number) | Origin::Read(number) => number <= seen,
            Origin::Gap => false,
        };
        let _ = self.multiplexer.finish_reads(reads.collect(), Origin::Read(seen), has_seen);
    }

    /// The transaction's effect on the table, and what is reported of it.
    fn apply(&mut self, rows: BTreeMap<u8, Task>, batch: Batch<Task>) {
        self.history.push(rows);
        let _ = self.multiplexer.apply(batch);
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
                rows.insert(0, Task { key: 0, list: 2, rank: (transaction % 4) as u8 });
                self.apply(rows, requery(transaction));
            }
            Operation::Lose => {
                rows.insert(3, Task { key: 3, list: 1, rank: (transaction % 4) as u8 });
                self.apply(rows, Batch { origin: Origin::Gap, ..requery(transaction) });
            }
            Operation::Gap => {
                rows.remove(&1);
                rows.insert(2, Task { key: 2, list: 1, rank: (transaction % 4) as u8 });
                self.history.push(rows);
                let _ = self.multiplexer.reload_all();
            }
            Operation::Subscribe(number) => {
                self.subscribers.push(join(&self.multiplexer, query(number)).0);
            }
            Operation::Unsubscribe(number) if !self.subscribers.is_empty() => {
                let index = usize::from(number) % self.subscribers.len();
                drop(self.subscribers.swap_remove(index));
            }
            Operation::Unsubscribe(_) => {}
            Operation::Begin(max) => self.begin(max.into()),
            Operation::Load(ago, group) => self.finish(ago.into(), group),
            Operation::Miss(max) => {
                self.begin(max.into());
                self.run(Operation::Requery);
                self.finish(1, usize::MAX);
            }
            Operation::PutBack => {
                if let Some((group, _)) = self.loads.pop_front() {
                    self.multiplexer.put_back(group);
                }
            }
        }
        self.receive();
    }

    fn receive(&mut self) {
        self.subscribers.iter_mut().for_each(|subscriber| _ = subscriber.receive());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    /// Whatever the order of changes, loads, gaps and subscriptions, no document is older in one query than
    /// in another, and at rest every subscriber has what the query returns, and got there in steps that fit.
    #[test]
    fn subscribers_converge(operations in operations()) {
        let mut run = Run::new();
        for operation in operations {
            run.run(operation);
            check_age(&run.subscribers)?;
        }
        loop {
            run.begin(usize::MAX);
            if run.loads.is_empty() {
                break;
            }
            run.finish(0, 0);
        }
        run.receive();
        for subscriber in &run.subscribers {
            prop_assert_eq!(&subscriber.documents, &given(run.now(), &subscriber.query));
        }
        prop_assert_eq!(run.multiplexer.backlog_bytes(), 0, "nothing is kept for nobody");
        run.subscribers.clear();
        prop_assert!(run.multiplexer.is_idle());
    }
}
