//! Queries with `skip` and `limit`. One document is kept in reserve, see `BUFFER`.

use super::*;
use crate::query::{Nulls, descending};

fn top(limit: u32) -> Query {
    Query { sort: vec![descending("rank")], limit: Some(limit), ..Query::all("tasks") }
}

struct Table {
    multiplexer: Arc<Multiplexer<Task>>,
    rows: BTreeMap<u8, Task>,
    subscriber: Subscriber,
    transaction: u64,
    reads: usize,
}

impl Table {
    /// Ten tasks; the last one has the highest rank.
    fn new(query: Query) -> Self {
        let multiplexer = Multiplexer::new("tasks");
        let rows = (0..10).map(|key| (key, Task { key, list: 1, rank: 10 * key })).collect();
        let (subscriber, load) = observe(&multiplexer, query);
        let mut table = Self { multiplexer, rows, subscriber, transaction: 0, reads: 0 };
        table.load(load);
        table
    }

    fn load(&mut self, load: Option<PendingRead>) {
        let mut next = load;
        while let Some(load) = next {
            self.reads += 1;
            next = finish(&self.multiplexer, load, &self.rows, |_| true);
        }
        self.check();
    }

    fn check(&mut self) {
        self.subscriber.receive();
        assert_eq!(self.subscriber.documents, given(&self.rows, &self.subscriber.query));
    }

    fn set(&mut self, key: u8, rank: u8) {
        self.apply(key, Some(Task { key, list: 1, rank }));
    }

    fn apply(&mut self, key: u8, row: Option<Task>) {
        match &row {
            Some(row) => self.rows.insert(key, row.clone()),
            None => self.rows.remove(&key),
        };
        self.transaction += 1;
        let loads = apply(&self.multiplexer, batch(self.transaction, &[(key, row)]));
        assert!(loads.len() < 2);
        self.load(loads.into_iter().next());
    }
}

#[test]
fn a_window_reads_again_only_when_its_reserve_is_used_up() {
    let mut table = Table::new(top(3));
    assert_eq!(table.reads, 1);
    // Changes inside, into and out of the window, and beyond it.
    table.set(9, 75);
    table.set(1, 99);
    table.set(2, 5);
    table.set(1, 1);
    assert_eq!(table.reads, 1);
    table.apply(8, None);
    assert_eq!(table.reads, 1, "the one in reserve moved up");
    table.apply(9, None);
    assert_eq!(table.reads, 2, "nothing was left in reserve");
    table.set(3, 200);
    table.set(4, 201);
    table.apply(3, None);
    table.apply(4, None);
    assert_eq!(table.reads, 2, "those that came and went were held as well");
    table.apply(7, None);
    assert_eq!(table.reads, 3);
}

#[test]
fn a_window_that_holds_everything_never_reads_again() {
    let mut table = Table::new(top(20));
    for key in 0..10 {
        table.apply(key, None);
    }
    for key in 0..40 {
        table.set(key, key / 2);
    }
    for key in 0..15 {
        table.set(key, 100 + key);
    }
    assert_eq!(table.reads, 1);
    for key in 20..40 {
        table.apply(key, None);
    }
    assert!(table.reads > 1, "of forty it did not hold all");
}

#[test]
fn what_is_skipped_is_kept_to_move_up() {
    let mut table = Table::new(Query { skip: 2, ..top(2) });
    table.set(0, 255);
    table.set(0, 0);
    table.apply(9, None);
    assert_eq!(table.reads, 1);
    let mut table = Table::new(Query { skip: 4, limit: None, ..top(0) });
    for key in 0..10 {
        table.apply(key, None);
    }
    assert_eq!(table.reads, 1, "without a limit all is held");
}

#[test]
fn an_order_that_only_the_source_knows_is_asked_for_when_it_matters() {
    let sort = vec![descending("list")];
    let mut table = Table::new(Query { sort, ..top(3) });
    table.set(0, 7);
    table.set(9, 7);
    assert_eq!(table.reads, 2, "9 is beyond the reserve and may have come nearer");
    table.apply(1, None);
    assert_eq!(table.reads, 2, "what leaves needs no place");
    table.apply(2, Some(Task { key: 2, list: 9, rank: 1 }));
    assert_eq!(table.reads, 3);
    table.apply(9, None);
    assert_eq!(table.reads, 3, "it was not held");
}

#[test]
fn the_order_matters_only_within_a_window() {
    let multiplexer: Arc<Multiplexer<Task>> = Multiplexer::new("tasks");
    let sorted = |sort| Query { sort, ..Query::all("tasks") };
    let (_first, load) = observe(&multiplexer, sorted(vec![descending("rank")]));
    assert!(load.is_some());
    let (_second, load) = observe(&multiplexer, sorted(vec![ascending("list")]));
    assert!(load.is_none(), "the same query");
    let (_third, load) = observe(&multiplexer, top(1));
    assert!(load.is_some());
    assert_eq!(top(1).sort[0].nulls, Nulls::First);
}

#[test]
fn a_transaction_moves_the_window_in_one_step() {
    let mut table = Table::new(top(2));
    let version = table.subscriber.version;
    let changes: Vec<(u8, Option<Task>)> =
        (0..3).map(|key| (key, Some(Task { key, list: 1, rank: 200 + key }))).collect();
    table.rows.extend(changes.iter().map(|(key, row)| (*key, row.clone().unwrap())));
    assert!(apply(&table.multiplexer, batch(1, &changes)).is_empty());
    table.check();
    assert_eq!(table.subscriber.version, version + 1);
}
