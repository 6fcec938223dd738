//! The multiplexer against a table that is read by hand.

mod backlog;
mod gaps;
mod property;
mod sharing;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ddp_core::{Document, DocumentId, FieldName};
use futures::FutureExt;

use super::*;
use crate::connection::mail::Mail;
use crate::connection::mailbox::Mailbox;
use crate::query::{
    Condition, Operator, Position, Predicate, Query, Truth, Value, ascending, field,
};
use crate::write_fence::WriteFence;

/// A row with a list and a rank.
#[derive(Clone, Debug, PartialEq)]
struct Task {
    key: u8,
    list: u8,
    rank: u8,
}

impl Row for Task {
    fn value(&self, field: &str) -> Value {
        match field {
            "list" => self.list.into(),
            "rank" => self.rank.into(),
            "_id" => self.key.into(),
            _ => Value::Null,
        }
    }

    /// Only the table itself can decide comparisons with a fraction.
    fn meets(&self, test: &Condition) -> Truth {
        ASKED.set(ASKED.get() + 1);
        match &test.is {
            Operator::Compare(_, Value::Float(_)) => Truth::Undecided,
            is => is.test(&self.value(&test.field)),
        }
    }

    fn document(&self, _: Option<&[FieldName]>) -> Arc<Document> {
        let texts = [("list", self.list.to_string()), ("rank", self.rank.to_string())];
        let fields = texts.iter().map(|(name, text)| (FieldName::from(*name), text.as_str()));
        Arc::new(Document::from_fields(fields).unwrap())
    }
}

thread_local! {
    static ASKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How often a row was asked whether it meets a test on this thread.
fn asked() -> usize {
    ASKED.get()
}

/// A subscriber that applies deltas as a session does.
struct Subscriber {
    mailbox: Arc<Mailbox>,
    version: u64,
    documents: BTreeMap<DocumentId, Arc<Document>>,
    observation: Option<Observation>,
    ready: futures::channel::oneshot::Receiver<Result<(), ddp_core::DdpError>>,
    query: Query,
}

impl Subscriber {
    fn receive(&mut self) -> Vec<Arc<Delta>> {
        let (mut mail, mut steps) = (VecDeque::new(), Vec::new());
        self.mailbox.take(&mut mail);
        for mail in mail {
            let (Mail::Delta(_, _, delta) | Mail::Step(_, delta)) = mail else {
                panic!("unexpected {mail:?}")
            };
            assert_eq!(delta.from(), self.version, "steps follow each other");
            self.version = delta.to();
            for change in delta.changes() {
                let before = match &change.after {
                    Some(document) => self.documents.insert(change.id.clone(), document.clone()),
                    None => self.documents.remove(&change.id),
                };
                assert_eq!(before, change.before);
            }
            steps.push(delta);
        }
        steps
    }
}

fn subscribe(
    multiplexer: &Arc<Multiplexer<Task>>,
    predicate: &Predicate,
) -> (Subscriber, Option<PendingRead>) {
    observe(multiplexer, Query { predicate: predicate.clone(), ..Query::all("tasks") })
}

/// The same for any query.
fn observe(
    multiplexer: &Arc<Multiplexer<Task>>,
    query: Query,
) -> (Subscriber, Option<PendingRead>) {
    let (subscriber, must_read) = join(multiplexer, query);
    let load = must_read.then(|| begin_all(multiplexer)).into_iter().flatten().next();
    (subscriber, load)
}

/// Only the table itself can decide an order that starts with the list. True if queries wait to be
/// read.
fn join(multiplexer: &Arc<Multiplexer<Task>>, query: Query) -> (Subscriber, bool) {
    let mailbox = Arc::new(Mailbox::new(1_000_000, 8, Arc::default()));
    let predicate = query.predicate.clone();
    let keys = predicate.equality_keys(&|_| true);
    let is_opaque = query.sort.first().is_some_and(|key| &*key.field == "list");
    let order = (query.has_window() && !is_opaque).then(|| order(&query));
    let observer = Observer::new(Arc::clone(&mailbox) as _, 1);
    let joined = multiplexer.observe(&query, Plan { predicate, keys, order }, observer);
    let subscriber = Subscriber {
        mailbox,
        version: 0,
        documents: BTreeMap::new(),
        observation: Some(joined.observation),
        ready: joined.ready,
        query,
    };
    (subscriber, joined.must_read)
}

fn order(query: &Query) -> Arc<[crate::query::SortKey]> {
    query.sort.iter().cloned().chain([ascending("_id")]).collect()
}

fn id(id: u8) -> DocumentId {
    DocumentId::from_integer(id.into())
}

/// What the table itself returns, in order.
fn read(rows: &BTreeMap<u8, Task>, query: &Query) -> Vec<(u8, Task)> {
    let truth =
        |row: &Task| query.predicate.evaluate(&|test| test.is.test(&row.value(&test.field)));
    let mut wanted: Vec<(u8, Task)> = rows.clone().into_iter().collect();
    wanted.retain(|(_, row)| truth(row) == Truth::True);
    let order = order(query);
    wanted.sort_by_cached_key(|(_, row)| Position::new(&order, |field| row.value(field)));
    wanted
}

/// Begins to read all queries that wait, in the order of their slots.
fn begin_all(multiplexer: &Multiplexer<Task>) -> Vec<PendingRead> {
    let groups = std::iter::from_fn(|| {
        let group = multiplexer.begin_reads(usize::MAX);
        (!group.is_empty()).then_some(group)
    });
    let mut reads: Vec<PendingRead> = groups.flatten().collect();
    reads.sort_by_key(|read| read.slot);
    reads
}

/// Applies a batch, and begins to read the queries that then wait.
fn apply(multiplexer: &Multiplexer<Task>, batch: Batch<Task>) -> Vec<PendingRead> {
    if multiplexer.apply(batch) { begin_all(multiplexer) } else { Vec::new() }
}

fn reload_all(multiplexer: &Multiplexer<Task>) -> Vec<PendingRead> {
    let queries = multiplexer.reload_all();
    let reads = begin_all(multiplexer);
    assert_eq!(reads.len(), queries);
    reads
}

/// A read that was handed over.
struct Finished {
    slot: usize,
    generation: u64,
}

impl Finished {
    /// Whether it waits for queries that catch up.
    fn waits(&self, multiplexer: &Multiplexer<Task>) -> bool {
        multiplexer.is_parked(self.slot, self.generation)
    }
}

fn begin_finish(
    multiplexer: &Multiplexer<Task>,
    load: PendingRead,
    rows: &BTreeMap<u8, Task>,
    has_seen: impl Fn(u64) -> bool,
) -> Finished {
    let finished = Finished { slot: load.slot, generation: load.generation };
    let rows = read(rows, &load.query).into_iter().take(load.rows_max().unwrap_or(usize::MAX));
    let rows = rows.map(|(key, row)| (id(key), row)).collect();
    let has_seen = |origin| matches!(origin, Origin::Transaction(number) if has_seen(number));
    let _ = multiplexer.finish_reads(vec![(load, rows)], Origin::Gap, has_seen);
    finished
}

/// Ends a load that is published at once, or is void. Begins the next one if it is to be repeated.
fn finish(
    multiplexer: &Multiplexer<Task>,
    load: PendingRead,
    rows: &BTreeMap<u8, Task>,
    has_seen: impl Fn(u64) -> bool,
) -> Option<PendingRead> {
    assert!(!begin_finish(multiplexer, load, rows, has_seen).waits(multiplexer));
    begin_all(multiplexer).pop()
}

fn given(rows: &BTreeMap<u8, Task>, query: &Query) -> BTreeMap<DocumentId, Arc<Document>> {
    let (skip, limit) = (query.skip as usize, query.limit.unwrap_or(u32::MAX) as usize);
    let shown = read(rows, query).into_iter().skip(skip).take(limit);
    shown.map(|(key, row)| (id(key), row.document(None))).collect()
}

fn select(rows: &BTreeMap<u8, Task>, predicate: &Predicate) -> BTreeMap<DocumentId, Arc<Document>> {
    given(rows, &Query { predicate: predicate.clone(), ..Query::all("tasks") })
}

fn batch(transaction: u64, changes: &[(u8, Option<Task>)]) -> Batch<Task> {
    let changes = changes.iter().map(|(key, row)| Change { id: id(*key), row: row.clone() });
    let content = Content::Changes(changes.collect());
    Batch { origin: Origin::Transaction(transaction), content }
}

/// A batch that does not say what it changes.
fn requery(transaction: u64) -> Batch<Task> {
    Batch { origin: Origin::Transaction(transaction), content: Content::Requery }
}

#[test]
fn equal_queries_share_one_load_and_one_initial_delta() {
    let multiplexer = Multiplexer::new("tasks");
    let all = Predicate::All;
    let (mut first, load) = subscribe(&multiplexer, &all);
    let (mut second, none) = subscribe(&multiplexer, &all);
    assert!(none.is_none(), "the second waits for the first one's load");
    assert_eq!((&mut first.ready).now_or_never(), None);
    let rows = BTreeMap::from([(1, Task { key: 1, list: 1, rank: 1 })]);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (mut third, none) = subscribe(&multiplexer, &all);
    assert!(none.is_none());
    for subscriber in [&mut first, &mut second, &mut third] {
        assert_eq!((&mut subscriber.ready).now_or_never(), Some(Ok(Ok(()))));
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&rows, &all));
    }
    assert!(!multiplexer.is_idle());
    drop((first, second, third));
    assert!(multiplexer.is_idle(), "the last to leave ends the query");
}

#[test]
fn what_the_read_has_not_seen_is_applied_and_what_it_has_is_not() {
    let multiplexer = Multiplexer::new("tasks");
    let all = Predicate::All;
    let (mut subscriber, load) = subscribe(&multiplexer, &all);
    let (old, new) = (Task { key: 1, list: 1, rank: 1 }, Task { key: 1, list: 1, rank: 2 });
    // Transaction 5 wrote the old rank and 7 deleted row 2, before the read; 6 came after it.
    assert!(apply(&multiplexer, batch(5, &[(1, Some(old.clone()))])).is_empty());
    assert!(apply(&multiplexer, batch(7, &[(2, None)])).is_empty());
    assert!(
        apply(&multiplexer, batch(6, &[(1, Some(new.clone())), (2, Some(old.clone()))])).is_empty()
    );
    let read = BTreeMap::from([(1, Task { key: 1, list: 9, rank: 9 })]);
    let load = load.unwrap();
    assert!(finish(&multiplexer, load, &read, |xid| xid != 6).is_none());
    subscriber.receive();
    let rows = BTreeMap::from([(1, new), (2, old)]);
    assert_eq!(subscriber.documents, select(&rows, &all));
    assert_eq!(subscriber.version, 1, "in one step");
}

#[test]
fn a_query_reads_again_after_changes_that_cannot_be_decided_here() {
    let multiplexer = Multiplexer::new("tasks");
    let predicate = field("rank").gt(1.5).and(field("list").eq(1));
    let (mut subscriber, load) = subscribe(&multiplexer, &predicate);
    assert!(finish(&multiplexer, load.unwrap(), &BTreeMap::new(), |_| true).is_none());
    let task = |list, rank| Task { key: 1, list, rank };
    let mut rows = BTreeMap::from([(1, task(1, 5))]);
    let load = apply(&multiplexer, batch(1, &[(1, Some(task(1, 5)))])).pop().unwrap();
    // Another one during the load repeats it, unless the read has seen it.
    assert!(apply(&multiplexer, batch(2, &[(1, Some(task(1, 6)))])).is_empty());
    let load = finish(&multiplexer, load, &rows, |xid| xid < 2).unwrap();
    rows.insert(1, task(1, 7));
    assert!(apply(&multiplexer, batch(3, &[(1, Some(task(1, 7)))])).is_empty());
    assert!(finish(&multiplexer, load, &rows, |_| true).is_none());
    subscriber.receive();
    assert_eq!(subscriber.documents, select(&rows, &predicate));
    // These are certain: the same rank, a different list, a deleted row.
    rows.insert(1, task(1, 7));
    assert!(apply(&multiplexer, batch(4, &[(1, Some(task(1, 7)))])).is_empty());
    assert!(apply(&multiplexer, batch(5, &[(2, Some(task(2, 9)))])).is_empty());
    subscriber.receive();
    assert_eq!(subscriber.documents, select(&rows, &predicate));
    assert!(apply(&multiplexer, batch(6, &[(1, None)])).is_empty());
    subscriber.receive();
    assert_eq!(subscriber.documents.len(), 0);
}

#[test]
fn a_refused_load_fails_its_subscribers() {
    let multiplexer = Multiplexer::<Task>::new("tasks");
    let (mut subscriber, load) = subscribe(&multiplexer, &Predicate::All);
    multiplexer.fail_read(&load.unwrap(), &ddp_core::DdpError::internal());
    assert!(matches!((&mut subscriber.ready).now_or_never(), Some(Ok(Err(_)))));
    assert!(multiplexer.is_idle());
    // The next one tries again.
    let (_, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(load.is_some());
}

#[test]
fn too_much_during_a_load_repeats_it() {
    let multiplexer = Multiplexer::new("tasks");
    let (_subscriber, load) = subscribe(&multiplexer, &Predicate::All);
    for transaction in 0..600 {
        let _ = apply(&multiplexer, batch(transaction, &[(1, None)]));
    }
    let repeat = finish(&multiplexer, load.unwrap(), &BTreeMap::new(), |_| false);
    assert!(finish(&multiplexer, repeat.unwrap(), &BTreeMap::new(), |_| true).is_none());
}

#[test]
fn a_write_is_held_until_queries_that_read_again_have_sent_it() {
    let multiplexer = Multiplexer::new("tasks");
    let (mut subscriber, load) = subscribe(&multiplexer, &Predicate::All);
    let write = Arc::new(WriteFence::detached().begin_write());
    multiplexer.hold(&write);
    assert_eq!(Arc::strong_count(&write), 1, "nobody was sent anything yet");
    assert!(finish(&multiplexer, load.unwrap(), &BTreeMap::new(), |_| true).is_none());
    multiplexer.hold(&write);
    assert_eq!(Arc::strong_count(&write), 1, "all have been sent everything");
    let load = reload_all(&multiplexer).pop().unwrap();
    multiplexer.hold(&write);
    assert_eq!(Arc::strong_count(&write), 2);
    assert!(apply(&multiplexer, requery(9)).is_empty());
    let load = finish(&multiplexer, load, &BTreeMap::new(), |_| false).unwrap();
    assert_eq!(Arc::strong_count(&write), 2, "the read may not have seen it");
    assert!(apply(&multiplexer, requery(10)).is_empty());
    let load = finish(&multiplexer, load, &BTreeMap::new(), |_| false).unwrap();
    assert_eq!(Arc::strong_count(&write), 2, "this one has, and was not shown");
    multiplexer.hold(&write);
    assert!(finish(&multiplexer, load, &BTreeMap::new(), |_| true).is_none());
    assert_eq!(Arc::strong_count(&write), 1);

    let load = reload_all(&multiplexer);
    multiplexer.hold(&write);
    subscriber.observation = None;
    assert_eq!(Arc::strong_count(&write), 1, "nobody is left to wait for");
    drop(load);
}

#[test]
fn a_query_that_is_not_exact_makes_progress_under_constant_writes() {
    let multiplexer = Multiplexer::new("tasks");
    let predicate = field("rank").gt(1.5);
    let (mut subscriber, load) = subscribe(&multiplexer, &predicate);
    let mut load = load.unwrap();
    for transaction in 1..10 {
        let rows = BTreeMap::from([(1, Task { key: 1, list: 1, rank: transaction + 1 })]);
        let change = [(1, Some(Task { key: 1, list: 1, rank: transaction + 2 }))];
        assert!(apply(&multiplexer, batch(transaction.into(), &change)).is_empty());
        load = finish(&multiplexer, load, &rows, |_| false).expect("a repetition");
        subscriber.receive();
        assert!(transaction > 1 || (&mut subscriber.ready).now_or_never().is_some());
        let rank = subscriber.documents[&id(1)].get("rank").map(str::to_owned);
        assert_eq!(rank, Some((transaction + 1).to_string()), "what was read");
    }
}

#[test]
fn while_a_query_reads_again_documents_that_it_must_still_want_stay_new() {
    let multiplexer = Multiplexer::new("tasks");
    let inexact = field("list").gt(0.5);
    let (mut slow, load) = subscribe(&multiplexer, &inexact);
    let rows = BTreeMap::from([(1, Task { key: 1, list: 1, rank: 1 })]);
    let load = load.unwrap();
    assert!(finish(&multiplexer, load, &rows, |_| true).is_none());
    let rank = |subscriber: &mut Subscriber| {
        subscriber.receive();
        subscriber.documents[&id(1)].get("rank").map(str::to_owned)
    };
    assert_eq!(rank(&mut slow).as_deref(), Some("1"));
    assert!(
        apply(&multiplexer, batch(1, &[(1, Some(Task { key: 1, list: 1, rank: 2 }))])).is_empty()
    );
    assert_eq!(rank(&mut slow).as_deref(), Some("2"), "the list is the same");
    let load = reload_all(&multiplexer).pop();
    assert!(
        apply(&multiplexer, batch(2, &[(1, Some(Task { key: 1, list: 1, rank: 3 }))])).is_empty()
    );
    assert_eq!(rank(&mut slow).as_deref(), Some("3"), "while it reads again, too");
    assert!(
        apply(&multiplexer, batch(3, &[(1, Some(Task { key: 1, list: 2, rank: 4 }))])).is_empty()
    );
    assert_eq!(rank(&mut slow).as_deref(), Some("3"), "perhaps it is not to be seen any more");
    let read = BTreeMap::from([(1, Task { key: 1, list: 1, rank: 2 })]);
    let load = finish(&multiplexer, load.unwrap(), &read, |xid| xid < 2);
    assert_eq!(rank(&mut slow).as_deref(), Some("3"), "though it read an older one");
    let read = BTreeMap::from([(1, Task { key: 1, list: 2, rank: 4 })]);
    let none = finish(&multiplexer, load.unwrap(), &read, |_| true);
    assert_eq!(rank(&mut slow).as_deref(), Some("4"));
    assert!(none.is_none());
}

/// A query that no longer has a row is not shown what became of it, whoever decides the query.
#[test]
fn a_query_decided_by_the_source_shows_no_row_that_left_it() {
    let multiplexer = Multiplexer::new("tasks");
    let public = field("rank").lt(1.5);
    let (mut subscriber, load) = subscribe(&multiplexer, &public);
    let (open, secret) = (Task { key: 1, list: 0, rank: 1 }, Task { key: 1, list: 99, rank: 3 });
    let _ = apply(&multiplexer, batch(7, &[(1, Some(secret.clone()))]));
    let repeat = finish(&multiplexer, load.unwrap(), &BTreeMap::from([(1, open)]), |_| false);
    assert!(repeat.is_some());
    subscriber.receive();
    assert_ne!(subscriber.documents.get(&id(1)), Some(&secret.document(None)));
}

#[test]
fn a_session_gets_all_steps_of_a_transaction_at_once() {
    let multiplexer = Multiplexer::new("tasks");
    let mailbox = Arc::new(Mailbox::new(1_000_000, 8, Arc::default()));
    let mut observations = Vec::new();
    for predicate in [Predicate::All, field("rank").gte(0), field("list").eq(1)] {
        let keys = predicate.equality_keys(&|_| true);
        let query = Query { predicate: predicate.clone(), ..Query::all("tasks") };
        let observer = Observer::new(Arc::clone(&mailbox) as _, 1);
        let joined = multiplexer.observe(&query, Plan { predicate, keys, order: None }, observer);
        let load = begin_all(&multiplexer).pop().unwrap();
        assert!(finish(&multiplexer, load, &BTreeMap::new(), |_| true).is_none());
        observations.push(joined.observation);
    }
    let take = || {
        let mut mail = VecDeque::new();
        mailbox.take(&mut mail);
        mail.len()
    };
    assert_eq!(take(), 3, "their first documents");
    let writer = Arc::clone(&multiplexer);
    let writing = std::thread::spawn(move || {
        for transaction in 0..20_000_u64 {
            let task = Task { key: 1, list: 1, rank: (transaction % 100) as u8 };
            assert!(!writer.apply(batch(transaction, &[(1, Some(task))])));
        }
    });
    let mut takes = 0;
    while !writing.is_finished() {
        let taken = take();
        assert_eq!(taken % 3, 0, "a part of a transaction");
        takes += usize::from(taken > 0);
    }
    writing.join().unwrap();
    assert!(takes > 0);
}
