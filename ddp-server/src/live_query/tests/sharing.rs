//! Sinks that observe a query more than once.

use ddp_core::{DdpError, Delta, Snapshot};
use parking_lot::Mutex;

use super::*;
use crate::live_query::concerns::{Bundles, Numbers};
use crate::live_query::groups::{Groups, Outcome};
use crate::live_query::holders::Members;
use crate::live_query::rows::Rows;
use crate::live_query::sink::{Sink, Step};

/// Each bundle of steps that was left here: the key of an observer that is welcomed, or none.
#[derive(Default)]
struct Counting(Mutex<Vec<Vec<Option<u64>>>>);

impl Sink for Counting {
    fn leave(&self, steps: &[Step<'_>]) -> bool {
        self.0.lock().push(steps.iter().map(|step| step.welcomes).collect());
        false
    }

    fn fail(&self, _: u64, _: DdpError) {}
}

impl Counting {
    fn take(&self) -> Vec<Vec<Option<u64>>> {
        std::mem::take(&mut self.0.lock())
    }
}

#[test]
fn a_sink_gets_each_step_of_a_query_once_however_often_it_observes_it() {
    let multiplexer = Multiplexer::new("tasks");
    let (often, once) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let observe = |sink: &Arc<Counting>, key: u64, predicate: Predicate| {
        let query = Query { predicate: predicate.clone(), ..Query::all("tasks") };
        let plan = Plan { predicate, keys: None, order: None };
        let joined = multiplexer.observe(&query, plan, Observer::new(Arc::clone(sink) as _, key));
        if joined.must_read {
            let reads = multiplexer.begin_reads(1).into_iter().map(|read| (read, Vec::new()));
            assert!(!multiplexer.finish_reads(reads.collect(), Origin::Gap, |_| true));
        }
        joined.observation
    };
    let all = || Predicate::All;
    let mut observations: Vec<_> = (1..=100).map(|key| observe(&often, key, all())).collect();
    let _other = observe(&once, 1, all());
    let _ranked = observe(&often, 101, field("rank").gt(0));
    let welcomed: Vec<_> = (1..=101).map(|key| vec![Some(key)]).collect();
    assert_eq!(often.take(), welcomed, "each is welcomed");
    assert_eq!(once.take(), [[Some(1)]]);

    let mut transaction = 0;
    let mut change = |rank: u8| {
        transaction += 1;
        let row = Task { key: 1, list: 1, rank };
        let changes = vec![Change { id: id(1), row: Some(row) }];
        let origin = Origin::Transaction(transaction);
        let must_read = multiplexer.apply(Batch { origin, content: Content::Changes(changes) });
        assert!(!must_read);
    };
    change(1);
    assert_eq!(often.take(), [[None, None]], "one step of each of its two queries, together");
    assert_eq!(once.take(), [[None]]);
    // Whichever observation ends, the sink goes on observing the query until the last one does.
    while let Some(observation) = observations.pop() {
        drop(observation);
        change(u8::try_from(observations.len() % 2).unwrap() + 2);
        let steps = if observations.is_empty() { 1 } else { 2 };
        assert_eq!(often.take(), [vec![None; steps]], "{} are left", observations.len());
    }
}

/// Queries that differ, each holding some number of the rows from 0 on.
struct Alike {
    multiplexer: Arc<Multiplexer<Task>>,
    rows: BTreeMap<u8, Task>,
    subscribers: Vec<Subscriber>,
    transaction: u64,
}

impl Alike {
    fn new(count: u8) -> Self {
        let row = |key| (key, Task { key, list: 1, rank: key });
        let (rows, multiplexer) = ((0..count).map(row).collect(), Multiplexer::new("tasks"));
        Self { multiplexer, rows, subscribers: Vec::new(), transaction: 0 }
    }

    fn subscribe(&mut self, predicate: Predicate) {
        let query = Query { predicate, ..Query::all("tasks") };
        let (subscriber, must_read) = join(&self.multiplexer, query);
        assert!(must_read);
        let reads = begin_all(&self.multiplexer).into_iter().map(|read| {
            let rows = super::read(&self.rows, &read.query).into_iter();
            (read, rows.map(|(key, row)| (id(key), row)).collect())
        });
        assert!(!self.multiplexer.finish_reads(reads.collect(), Origin::Gap, |_| true));
        self.subscribers.push(subscriber);
        self.receive();
    }

    fn receive(&mut self) {
        for subscriber in &mut self.subscribers {
            subscriber.receive();
            assert_eq!(subscriber.documents, given(&self.rows, &subscriber.query));
        }
    }

    /// Applies changes as one transaction. Returns how often a row was asked whether it meets a test,
    /// and how many steps were taken that are not like another.
    fn change(&mut self, changes: &[(u8, Option<Task>)]) -> (usize, usize) {
        for (key, row) in changes {
            match row {
                Some(row) => _ = self.rows.insert(*key, row.clone()),
                None => _ = self.rows.remove(key),
            }
        }
        self.transaction += 1;
        let before = asked();
        assert!(!self.multiplexer.apply(batch(self.transaction, changes)));
        let asked = asked() - before;
        let mut steps: Vec<Arc<Delta>> = Vec::new();
        for subscriber in &mut self.subscribers {
            for delta in subscriber.receive() {
                if !steps.iter().any(|step| step.is_like(&delta)) {
                    steps.push(delta);
                }
            }
            assert_eq!(subscriber.documents, given(&self.rows, &subscriber.query));
        }
        (asked, steps.len())
    }

    /// Updates all rows.
    fn update(&mut self, update: impl Fn(&mut Task)) -> (usize, usize) {
        let changes: Vec<_> = self
            .rows
            .iter()
            .map(|(key, row)| {
                let mut row = row.clone();
                update(&mut row);
                (*key, Some(row))
            })
            .collect();
        self.change(&changes)
    }
}

#[test]
fn queries_that_hold_the_same_documents_share_their_steps() {
    const QUERIES: usize = 50;
    const ROWS: usize = 20;
    let mut alike = Alike::new(ROWS as u8);
    for number in 0..QUERIES as u8 {
        alike.subscribe(field("rank").lt(150 + number));
    }
    // What they ask about is as before.
    assert_eq!(alike.update(|row| row.list = 2), (0, 1));
    // It is the same in all rows.
    let (asked, steps) = alike.update(|row| row.rank = 100);
    assert!(asked <= QUERIES && steps == 1, "{asked}, {steps}");
    // Each row must be asked, but there is still one step.
    assert_eq!(alike.update(|row| row.rank = row.key), (QUERIES * ROWS, 1));
    // Half of them lose a row: two steps, and then two groups.
    let lost = Task { key: 3, list: 1, rank: 149 + QUERIES as u8 / 2 };
    assert_eq!(alike.change(&[(3, Some(lost))]).1, 2);
    assert_eq!(alike.update(|row| row.list = 3).1, 2);
    // When all have lost it, they are one group again.
    assert_eq!(alike.change(&[(3, None)]).1, 1);
    assert_eq!(alike.update(|row| row.list = 4), (0, 1));
    // All get it, and one that asks anew holds what they hold.
    assert_eq!(alike.change(&[(3, Some(Task { key: 3, list: 4, rank: 3 }))]).1, 1);
    alike.subscribe(field("list").lt(100));
    assert_eq!(alike.update(|row| row.rank += 1).1, 1);
    // So it is when the first of them, or the last, has left.
    alike.subscribers.remove(0);
    alike.subscribers.pop();
    alike.subscribe(field("list").lt(101));
    assert_eq!(alike.update(|row| row.rank += 1).1, 1);
}

#[test]
fn queries_share_steps_again_after_they_have_been_read_again() {
    let mut alike = Alike::new(10);
    for number in 0..20 {
        alike.subscribe(field("rank").lt(100 + number));
    }
    for (key, rank) in [(1, 50), (2, 60)] {
        alike.rows.insert(key, Task { key, list: 1, rank });
    }
    let loads = reload_all(&alike.multiplexer);
    for load in loads {
        let rows = super::read(&alike.rows, &load.query).into_iter();
        let rows = rows.map(|(key, row)| (id(key), row)).collect();
        let _ = alike.multiplexer.finish_reads(vec![(load, rows)], Origin::Gap, |_| true);
    }
    alike.receive();
    assert_eq!(alike.update(|row| row.list = 2), (0, 1));
}

#[test]
fn queries_that_hold_other_states_of_the_same_documents_take_steps_of_their_own() {
    let batch = batch(1, &[(1, Some(Task { key: 1, list: 1, rank: 9 }))]);
    let (mut rows, mut groups) = (Rows::new(&batch), Groups::default());
    for rank in [1, 2] {
        let before = Task { key: 1, list: 1, rank }.document(None);
        let mut snapshot = Snapshot::default();
        snapshot.advance(&"tasks".into(), BTreeMap::from([(id(1), Some(before.clone()))]));
        let group = groups.of(
            Members::default(),
            &snapshot,
            (&Bundles::from_slice(&[0]), |_| Numbers::from_slice(&[0])),
        );
        let step = group.step(&"tasks".into(), &mut snapshot, (None, Outcome::Stay), &mut rows);
        assert_eq!(step.unwrap().changes()[0].before, Some(before));
    }
}
