//! The multiplexer against a table that is read by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};

use ddp_core::merge_box::Source;
use ddp_core::{Document, DocumentId, FieldName, Session, SubscriptionKey};
use futures::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::mailbox::{Mail, Mailbox};
use crate::query::{Predicate, Value, field};
use crate::write_fence::WriteFence;

/// A row with a list and a rank.
#[derive(Clone, Debug, PartialEq)]
struct Task {
    list: u8,
    rank: u8,
}

impl Row for Task {
    fn value(&self, field: &str) -> Value {
        match field {
            "list" => self.list.into(),
            "rank" => self.rank.into(),
            _ => Value::Null,
        }
    }

    fn document(&self, _: Option<&[FieldName]>) -> Arc<Document> {
        let texts = [("list", self.list.to_string()), ("rank", self.rank.to_string())];
        let fields = texts.iter().map(|(name, text)| (FieldName::from(*name), text.as_str()));
        Arc::new(Document::from_fields(fields).unwrap())
    }
}

/// A subscription's key, as sessions make them.
fn key() -> SubscriptionKey {
    use ddp_core::session::{Event, Input, Output};
    let now = std::time::Instant::now();
    let mut session = Session::new(String::new(), Default::default(), now);
    let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
    session.handle_input(Input::Message(now, connect));
    session.handle_input(Input::Message(now, r#"{"msg":"sub","id":"1","name":"x"}"#));
    loop {
        if let Output::Event(Event::Subscribe { subscription, .. }) = session.poll_output() {
            return subscription;
        }
    }
}

/// A subscriber that applies deltas as a session does.
struct Subscriber {
    mailbox: Arc<Mailbox>,
    version: u64,
    documents: BTreeMap<DocumentId, Arc<Document>>,
    observation: Option<Observation>,
    ready: futures::channel::oneshot::Receiver<Result<(), ddp_core::DdpError>>,
    predicate: Predicate,
}

impl Subscriber {
    fn receive(&mut self) {
        let mut mail = VecDeque::new();
        let _ = self.mailbox.poll_take(&Context::from_waker(Waker::noop()), &mut mail);
        for mail in mail {
            let Mail::Delta(_, _, delta) = mail else { panic!("unexpected {mail:?}") };
            assert_eq!(delta.from(), self.version, "steps follow each other");
            self.version = delta.to();
            for change in delta.changes() {
                let before = match &change.after {
                    Some(document) => self.documents.insert(change.id.clone(), document.clone()),
                    None => self.documents.remove(&change.id),
                };
                assert_eq!(before, change.before);
            }
        }
    }
}

fn exact(predicate: &Predicate) -> Plan {
    Plan { predicate: predicate.clone(), exact: true, keys: predicate.equality_keys(&|_| true) }
}

fn subscribe(
    multiplexer: &Arc<Multiplexer<Task>>,
    predicate: &Predicate,
    plan: Plan,
) -> (Subscriber, Option<Load>) {
    let mailbox = Arc::new(Mailbox::new(1_000_000, 8));
    let query = Query { predicate: predicate.clone(), ..Query::all("tasks") };
    let observer = Observer::new(Arc::clone(&mailbox), key(), Source::Cursor);
    let joined = multiplexer.observe(&query, plan, observer);
    let subscriber = Subscriber {
        mailbox,
        version: 0,
        documents: BTreeMap::new(),
        observation: Some(joined.observation),
        ready: joined.ready,
        predicate: predicate.clone(),
    };
    (subscriber, joined.load)
}

fn id(id: u8) -> DocumentId {
    DocumentId::from_integer(id.into())
}

fn select(rows: &BTreeMap<u8, Task>, predicate: &Predicate) -> BTreeMap<DocumentId, Arc<Document>> {
    let wanted = rows.iter().filter(|(_, row)| {
        predicate.evaluate(&|field| row.value(field)) == crate::query::Truth::True
    });
    wanted.map(|(key, row)| (id(*key), row.document(None))).collect()
}

fn batch(transaction: u64, changes: &[(u8, Option<Task>)]) -> Batch<Task> {
    let changes = changes.iter().map(|(key, row)| Change { id: id(*key), row: row.clone() });
    Batch { transaction, truncated: false, requery: false, changes: changes.collect() }
}

#[test]
fn equal_queries_share_one_load_and_one_initial_delta() {
    let multiplexer = Multiplexer::new("tasks");
    let all = Predicate::All;
    let (mut first, load) = subscribe(&multiplexer, &all, exact(&all));
    let (mut second, none) = subscribe(&multiplexer, &all, exact(&all));
    assert!(none.is_none(), "the second waits for the first one's load");
    assert_eq!((&mut first.ready).now_or_never(), None);
    let rows = BTreeMap::from([(1, Task { list: 1, rank: 1 })]);
    assert!(multiplexer.finish_load(load.unwrap(), select(&rows, &all), |_| true).is_none());
    let (mut third, none) = subscribe(&multiplexer, &all, exact(&all));
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
    let (mut subscriber, load) = subscribe(&multiplexer, &all, exact(&all));
    let (old, new) = (Task { list: 1, rank: 1 }, Task { list: 1, rank: 2 });
    // Transaction 5 wrote the old rank and 7 deleted row 2, before the read; 6 came after it.
    assert!(multiplexer.apply(batch(5, &[(1, Some(old.clone()))])).is_empty());
    assert!(multiplexer.apply(batch(7, &[(2, None)])).is_empty());
    assert!(
        multiplexer.apply(batch(6, &[(1, Some(new.clone())), (2, Some(old.clone()))])).is_empty()
    );
    let read = BTreeMap::from([(1, Task { list: 9, rank: 9 })]);
    let load = load.unwrap();
    assert!(multiplexer.finish_load(load, select(&read, &all), |xid| xid != 6).is_none());
    subscriber.receive();
    let rows = BTreeMap::from([(1, new), (2, old)]);
    assert_eq!(subscriber.documents, select(&rows, &all));
    assert_eq!(subscriber.version, 1, "in one step");
}

#[test]
fn a_gap_reads_again_and_sends_the_difference_only() {
    let multiplexer = Multiplexer::new("tasks");
    let all = Predicate::All;
    let (mut subscriber, load) = subscribe(&multiplexer, &all, exact(&all));
    let mut rows = BTreeMap::from([(1, Task { list: 1, rank: 1 }), (2, Task { list: 1, rank: 2 })]);
    let load = load.unwrap();
    assert!(multiplexer.finish_load(load, select(&rows, &all), |_| true).is_none());
    subscriber.receive();
    let first = multiplexer.reload_all();
    let second = multiplexer.reload_all();
    let (first, second) = (first.into_iter().next().unwrap(), second.into_iter().next().unwrap());
    assert!(!multiplexer.wants(&first) && multiplexer.wants(&second));
    assert!(multiplexer.finish_load(first, BTreeMap::new(), |_| true).is_none(), "void");
    subscriber.receive();
    assert_eq!(subscriber.documents.len(), 2);
    rows.remove(&1);
    rows.insert(3, Task { list: 2, rank: 3 });
    assert!(multiplexer.finish_load(second, select(&rows, &all), |_| true).is_none());
    subscriber.receive();
    assert_eq!(subscriber.documents, select(&rows, &all));
    assert_eq!(subscriber.version, 2);
}

#[test]
fn queries_that_cannot_be_decided_here_read_again_after_each_change() {
    let multiplexer = Multiplexer::new("tasks");
    let predicate = field("rank").gt(1);
    let plan = Plan { exact: false, keys: None, ..exact(&predicate) };
    let (mut subscriber, load) = subscribe(&multiplexer, &predicate, plan);
    let load = load.unwrap();
    assert!(multiplexer.finish_load(load, BTreeMap::new(), |_| true).is_none());
    let mut rows = BTreeMap::from([(1, Task { list: 1, rank: 5 })]);
    let load = multiplexer.apply(batch(1, &[(1, rows.get(&1).cloned())])).pop().unwrap();
    // A change during the load makes it repeat, unless the read has seen it. What was read is shown
    // all the same, as far as it is known not to be there any more.
    assert!(multiplexer.apply(batch(2, &[(1, None)])).is_empty());
    let load = multiplexer.finish_load(load, select(&rows, &predicate), |xid| xid < 2).unwrap();
    subscriber.receive();
    assert_eq!(subscriber.documents.len(), 0);
    rows.insert(1, Task { list: 1, rank: 7 });
    assert!(multiplexer.apply(batch(3, &[(1, rows.get(&1).cloned())])).is_empty());
    assert!(multiplexer.finish_load(load, select(&rows, &predicate), |_| true).is_none());
    subscriber.receive();
    assert_eq!(subscriber.documents, select(&rows, &predicate));
}

#[test]
fn a_refused_load_fails_its_subscribers() {
    let multiplexer = Multiplexer::<Task>::new("tasks");
    let (mut subscriber, load) = subscribe(&multiplexer, &Predicate::All, exact(&Predicate::All));
    multiplexer.fail_load(&load.unwrap(), &ddp_core::DdpError::internal());
    assert!(matches!((&mut subscriber.ready).now_or_never(), Some(Ok(Err(_)))));
    assert!(multiplexer.is_idle());
    // The next one tries anew.
    let (_, load) = subscribe(&multiplexer, &Predicate::All, exact(&Predicate::All));
    assert!(load.is_some());
}

#[test]
fn too_much_during_a_load_repeats_it() {
    let multiplexer = Multiplexer::new("tasks");
    let (_subscriber, load) = subscribe(&multiplexer, &Predicate::All, exact(&Predicate::All));
    for transaction in 0..6_000 {
        let _ = multiplexer.apply(batch(transaction, &[(1, None)]));
    }
    let repeat = multiplexer.finish_load(load.unwrap(), BTreeMap::new(), |_| false);
    assert!(multiplexer.finish_load(repeat.unwrap(), BTreeMap::new(), |_| true).is_none());
}

#[test]
fn a_write_is_held_until_queries_that_read_again_have_sent_it() {
    let multiplexer = Multiplexer::new("tasks");
    let (mut subscriber, load) = subscribe(&multiplexer, &Predicate::All, exact(&Predicate::All));
    let write = Arc::new(WriteFence::detached().begin_write());
    multiplexer.hold(&write);
    assert_eq!(Arc::strong_count(&write), 1, "nobody was sent anything yet");
    assert!(multiplexer.finish_load(load.unwrap(), BTreeMap::new(), |_| true).is_none());
    multiplexer.hold(&write);
    assert_eq!(Arc::strong_count(&write), 1, "all have been sent everything");
    let load = multiplexer.reload_all().pop().unwrap();
    multiplexer.hold(&write);
    assert_eq!(Arc::strong_count(&write), 2);
    let requery = Batch { requery: true, ..batch(9, &[]) };
    assert!(multiplexer.apply(requery).is_empty());
    let load = multiplexer.finish_load(load, BTreeMap::new(), |_| false).unwrap();
    assert_eq!(Arc::strong_count(&write), 2, "the read may not have seen it");
    let requery = Batch { requery: true, ..batch(10, &[]) };
    assert!(multiplexer.apply(requery).is_empty());
    let load = multiplexer.finish_load(load, BTreeMap::new(), |_| false).unwrap();
    assert_eq!(Arc::strong_count(&write), 1, "this one has, even if it is repeated again");
    multiplexer.hold(&write);
    assert!(multiplexer.finish_load(load, BTreeMap::new(), |_| true).is_none());
    assert_eq!(Arc::strong_count(&write), 1);

    let load = multiplexer.reload_all();
    multiplexer.hold(&write);
    subscriber.observation = None;
    assert_eq!(Arc::strong_count(&write), 1, "nobody is left to wait for");
    drop(load);
}

#[test]
fn a_query_that_is_not_exact_makes_progress_under_constant_writes() {
    let multiplexer = Multiplexer::new("tasks");
    let predicate = field("rank").gt(1);
    let plan = Plan { exact: false, keys: None, ..exact(&predicate) };
    let (mut subscriber, load) = subscribe(&multiplexer, &predicate, plan);
    let mut load = load.unwrap();
    for transaction in 1..10 {
        let rows = BTreeMap::from([(1, Task { list: 1, rank: transaction + 1 })]);
        let change = [(1, Some(Task { list: 1, rank: transaction + 2 }))];
        assert!(multiplexer.apply(batch(transaction.into(), &change)).is_empty());
        let documents = select(&rows, &predicate);
        load = multiplexer.finish_load(load, documents, |_| false).expect("a repetition");
        subscriber.receive();
        assert!(transaction > 1 || (&mut subscriber.ready).now_or_never().is_some());
        let rank = subscriber.documents[&id(1)].get("rank").map(str::to_owned);
        assert_eq!(rank, Some((transaction + 1).to_string()), "what was read");
    }
}

#[test]
fn while_a_query_reads_again_documents_that_it_must_still_want_stay_new() {
    let multiplexer = Multiplexer::new("tasks");
    let inexact = field("list").gt(0);
    let plan = Plan { exact: false, keys: None, ..exact(&inexact) };
    let (mut slow, load) = subscribe(&multiplexer, &inexact, plan);
    let rows = BTreeMap::from([(1, Task { list: 1, rank: 1 })]);
    let load = load.unwrap();
    assert!(multiplexer.finish_load(load, select(&rows, &inexact), |_| true).is_none());
    let rank = |subscriber: &mut Subscriber| {
        subscriber.receive();
        subscriber.documents[&id(1)].get("rank").map(str::to_owned)
    };
    assert_eq!(rank(&mut slow).as_deref(), Some("1"));
    let load = multiplexer.apply(batch(1, &[(1, Some(Task { list: 1, rank: 2 }))])).pop();
    assert_eq!(rank(&mut slow).as_deref(), Some("2"), "the list is the same");
    assert!(multiplexer.apply(batch(2, &[(1, Some(Task { list: 1, rank: 3 }))])).is_empty());
    assert_eq!(rank(&mut slow).as_deref(), Some("3"), "while it reads again, too");
    assert!(multiplexer.apply(batch(3, &[(1, Some(Task { list: 2, rank: 4 }))])).is_empty());
    assert_eq!(rank(&mut slow).as_deref(), Some("3"), "perhaps it is not to be seen any more");
    let read = BTreeMap::from([(1, Task { list: 1, rank: 2 })]);
    let load = multiplexer.finish_load(load.unwrap(), select(&read, &inexact), |xid| xid < 2);
    assert_eq!(rank(&mut slow).as_deref(), Some("3"), "though it read an older one");
    let read = BTreeMap::from([(1, Task { list: 2, rank: 4 })]);
    let none = multiplexer.finish_load(load.unwrap(), select(&read, &inexact), |_| true);
    assert_eq!(rank(&mut slow).as_deref(), Some("4"));
    assert!(none.is_none());
}

#[derive(Clone, Debug)]
enum Operation {
    Change(Vec<(u8, Option<(u8, u8)>)>),
    Truncate,
    Requery,
    Gap,
    Subscribe(u8),
    Unsubscribe(u8),
    /// Finishes the oldest load, which had read so many transactions ago.
    Load(u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    let row = proptest::option::weighted(0.7, (0..3u8, 0..4u8));
    prop_oneof![
        8 => proptest::collection::vec((0..5u8, row), 1..4).prop_map(Operation::Change),
        1 => Just(Operation::Truncate),
        1 => Just(Operation::Requery),
        1 => Just(Operation::Gap),
        3 => (0..5u8).prop_map(Operation::Subscribe),
        1 => any::<u8>().prop_map(Operation::Unsubscribe),
        6 => (0..3u8).prop_map(Operation::Load),
    ]
}

fn predicate(number: u8) -> Predicate {
    match number {
        0 => Predicate::All,
        1 => field("list").eq(1),
        2 => field("list").is_in([0, 2]),
        3 => field("list").eq(1).and(field("rank").gte(2)),
        _ => field("rank").lt(2).or(field("list").eq(2).not()),
    }
}

proptest! {
    /// Whatever the order of changes, loads, gaps and subscriptions: at rest every subscriber has
    /// what the query gives, and got there by steps that fit.
    #[test]
    fn subscribers_converge(operations in proptest::collection::vec(operation(), 1..80)) {
        let multiplexer = Multiplexer::new("tasks");
        let mut history: Vec<BTreeMap<u8, Task>> = vec![BTreeMap::new()];
        let mut loads: VecDeque<(Load, usize)> = VecDeque::new();
        let mut subscribers: Vec<Subscriber> = Vec::new();
        let finish = |loads: &mut VecDeque<(Load, usize)>, history: &[BTreeMap<u8, Task>], ago: usize| {
            let Some((load, begun)) = loads.pop_front() else { return };
            // A read sees any point since it began.
            let seen = (history.len() - 1).saturating_sub(ago).max(begun);
            let documents = select(&history[seen], &load.query.predicate);
            let repeat = multiplexer.finish_load(load, documents, |xid| xid <= seen as u64);
            loads.extend(repeat.map(|load| (load, history.len() - 1)));
        };
        for operation in operations {
            let mut rows = history[history.len() - 1].clone();
            let transaction = history.len() as u64;
            let mut made = Vec::new();
            match operation {
                Operation::Change(changes) => {
                    let mut last = BTreeMap::new();
                    for (key, row) in changes {
                        last.insert(key, row.map(|(list, rank)| Task { list, rank }));
                    }
                    for (key, row) in &last {
                        match row {
                            Some(row) => rows.insert(*key, row.clone()),
                            None => rows.remove(key),
                        };
                    }
                    history.push(rows);
                    let changes: Vec<_> = last.into_iter().collect();
                    made = multiplexer.apply(batch(transaction, &changes));
                }
                Operation::Truncate => {
                    let row = Task { list: 1, rank: 1 };
                    history.push(BTreeMap::from([(4, row.clone())]));
                    let batch = batch(transaction, &[(4, Some(row))]);
                    made = multiplexer.apply(Batch { truncated: true, ..batch });
                }
                Operation::Requery => {
                    rows.insert(0, Task { list: 2, rank: 3 });
                    history.push(rows);
                    made = multiplexer.apply(Batch { requery: true, ..batch(transaction, &[]) });
                }
                Operation::Gap => {
                    rows.remove(&1);
                    history.push(rows);
                    made = multiplexer.reload_all();
                }
                Operation::Subscribe(number) => {
                    let predicate = predicate(number);
                    // One of the queries is decided by the source alone.
                    let plan = Plan { exact: number != 3, ..exact(&predicate) };
                    let (subscriber, load) = subscribe(&multiplexer, &predicate, plan);
                    subscribers.push(subscriber);
                    made.extend(load);
                }
                Operation::Unsubscribe(number) if !subscribers.is_empty() => {
                    let index = usize::from(number) % subscribers.len();
                    drop(subscribers.swap_remove(index));
                }
                Operation::Unsubscribe(_) => {}
                Operation::Load(ago) => finish(&mut loads, &history, ago.into()),
            }
            loads.extend(made.into_iter().map(|load| (load, history.len() - 1)));
            for subscriber in &mut subscribers {
                subscriber.receive();
            }
        }
        while !loads.is_empty() {
            finish(&mut loads, &history, 0);
        }
        for subscriber in &mut subscribers {
            subscriber.receive();
            prop_assert_eq!(
                &subscriber.documents,
                &select(&history[history.len() - 1], &subscriber.predicate)
            );
        }
        drop(subscribers);
        prop_assert!(multiplexer.is_idle());
    }
}

#[test]
fn a_gap_keeps_the_writes_that_wait_for_a_read() {
    let multiplexer = Multiplexer::new("tasks");
    let (_subscriber, load) = subscribe(&multiplexer, &Predicate::All, exact(&Predicate::All));
    assert!(multiplexer.finish_load(load.unwrap(), BTreeMap::new(), |_| true).is_none());
    let void = multiplexer.reload_all().pop().unwrap();
    let write = Arc::new(WriteFence::detached().begin_write());
    multiplexer.hold(&write);
    let load = multiplexer.reload_all().pop().unwrap();
    assert_eq!(Arc::strong_count(&write), 2, "the load that it waited for is void");
    assert!(multiplexer.finish_load(void, BTreeMap::new(), |_| true).is_none());
    assert_eq!(Arc::strong_count(&write), 2);
    assert!(multiplexer.finish_load(load, BTreeMap::new(), |_| true).is_none());
    assert_eq!(Arc::strong_count(&write), 1);
}

/// What a row became is not shown to a query that no longer has the row, whoever decides it.
#[test]
fn a_query_decided_by_the_source_shows_no_row_that_left_it() {
    let multiplexer = Multiplexer::new("tasks");
    let public = field("rank").lt(2);
    let plan = Plan { exact: false, keys: None, predicate: public.clone() };
    let (mut subscriber, load) = subscribe(&multiplexer, &public, plan);
    let (open, secret) = (Task { list: 0, rank: 1 }, Task { list: 99, rank: 3 });
    let _ = multiplexer.apply(batch(7, &[(1, Some(secret.clone()))]));
    let documents = BTreeMap::from([(id(1), open.document(None))]);
    let repeat = multiplexer.finish_load(load.unwrap(), documents, |_| false);
    assert!(repeat.is_some());
    subscriber.receive();
    assert_ne!(subscriber.documents.get(&id(1)), Some(&secret.document(None)));
}
