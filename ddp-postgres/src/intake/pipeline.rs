//! The stage between the assembler and the live queries. It reads rows for which the triggers sent
//! only the keys.
//!
//! Batches and tokens that arrive during a read wait behind it, in order; the next read is for many of
//! them [together](super::together). If too much is waiting, all of it is dropped and every live query
//! reads again.

use std::collections::VecDeque;

use ddp_core::DocumentId;
use tokio::sync::watch;

use super::batch::{Assembled, Batch, GapReason};
use super::read_ahead::ReadAhead;
use super::together::{Found, Keys, Together};
use crate::read::snapshot::TransactionSnapshot;
use crate::row::Row;

/// How much may wait behind a read, roughly.
const WAITING_BYTES_MAX: usize = if cfg!(test) { 10_000 } else { 64 * 1024 * 1024 };
/// How many of those that wait are looked at for rows to be read together.
const LOOKED_AT_MAX: usize = 10_000;
/// What a batch or a token takes besides its rows, and a change besides its row.
const OVERHEAD_BYTES: usize = 200;

/// What arrives from the feed.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// An output of the assembler.
    Assembled(Assembled),
    /// A batch whose rows were read, with the snapshot of that read and the ids of the rows.
    Read(Batch, TransactionSnapshot, Vec<DocumentId>),
    /// One of this server's tokens.
    Token(u64),
}

/// What to do with an arrival.
#[derive(Debug)]
#[must_use]
pub(crate) enum Submitted {
    /// Pass it to the live queries.
    Deliver(Arrival),
    /// Read its rows first.
    Read(Reading),
    /// It waits behind what is being read.
    Waits,
    /// Too much was waiting: all of it was dropped, and everything must be read again.
    Overflow,
}

/// Rows to read; void after an interruption.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) arrival: Arrival,
    /// Further rows of the collection that are to be read with those of the arrival.
    pub(crate) more: Keys,
    /// How many have arrived so far.
    pub(crate) until: u64,
    pub(crate) interruptions: watch::Receiver<()>,
}

/// What is waiting, and what has been read ahead.
#[derive(Debug)]
pub(crate) struct Pipeline {
    waiting: VecDeque<Arrival>,
    waiting_bytes: usize,
    /// How many have ever waited.
    arrived: u64,
    /// Whether a task is reading rows. It then takes what is waiting.
    is_reading: bool,
    /// Rows read ahead of arrivals still to come.
    ahead: ReadAhead,
    /// Rows of arrivals that wait.
    together: Together,
    /// Signals interruptions, so that rows read before one are not delivered after it.
    interruptions: watch::Sender<()>,
}

impl Pipeline {
    /// A pipeline that signals interruptions here.
    pub(crate) fn new(interruptions: watch::Sender<()>) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            arrived: 0,
            is_reading: false,
            ahead: ReadAhead::default(),
            together: Together::default(),
            interruptions,
        }
    }

    /// Whether a read is in progress, so that arrivals may be waiting.
    pub(crate) fn is_reading(&self) -> bool {
        self.is_reading
    }

    /// Takes an arrival, behind earlier ones.
    pub(crate) fn submit(&mut self, arrival: Arrival) -> Submitted {
        if !self.is_reading {
            let arrival = self.strip(arrival);
            if arrival.unread().is_none() {
                return Submitted::Deliver(arrival);
            }
            self.is_reading = true;
            return Submitted::Read(self.reading(arrival));
        }
        self.waiting_bytes += arrival.bytes();
        if self.waiting_bytes <= WAITING_BYTES_MAX {
            self.waiting.push_back(arrival);
            self.arrived += 1;
            return Submitted::Waits;
        }
        self.drop_all();
        Submitted::Overflow
    }

    /// Notes which rows have been read, before they are delivered: `found` as well for what had arrived
    /// `until` then.
    pub(crate) fn note_read(&mut self, arrival: &mut Arrival, found: Option<Found>, until: u64) {
        match arrival {
            Arrival::Read(batch, snapshot, ids) => {
                self.ahead.note(&batch.collection, snapshot.clone(), std::mem::take(ids));
                if let Some(found) = found {
                    self.together.note(&batch.collection, found, until);
                }
            }
            // All queries of the collection will read what others that wait have changed.
            Arrival::Assembled(Assembled::Gap(gap)) if gap.reason == GapReason::Unread => {
                let is_other = |next: &Arrival| {
                    next.unread().is_none() || next.collection() != Some(&*gap.collection)
                };
                self.waiting.retain(is_other);
                self.waiting_bytes = self.waiting.iter().map(Arrival::bytes).sum();
            }
            _ => {}
        }
    }

    /// The next arrival to handle, if any. Otherwise reading is over.
    pub(crate) fn next(&mut self) -> Option<Reading> {
        let number = self.arrived - self.waiting.len() as u64;
        let Some(next) = self.waiting.pop_front() else {
            self.is_reading = false;
            self.together.clear();
            return None;
        };
        self.waiting_bytes -= next.bytes();
        let next = self.strip(next);
        let filled = next.unread().and_then(|batch| self.together.fill(batch, number));
        let next =
            filled.map_or(next, |(batch, snapshot, ids)| Arrival::Read(batch, snapshot, ids));
        Some(self.reading(next))
    }

    /// Drops what is waiting, and what is being read, since everything is read again. Until it has been,
    /// queries still take what arrives, so what was read ahead is still to be removed from it.
    pub(crate) fn drop_all(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.together.clear();
        self.interruptions.send_replace(());
    }

    /// The same, if the feed has been interrupted: what it brings from now on is newer than every read.
    pub(crate) fn interrupt(&mut self) {
        self.drop_all();
        self.ahead.clear();
    }

    fn reading(&self, arrival: Arrival) -> Reading {
        let waiting = self.waiting.iter().take(LOOKED_AT_MAX).filter_map(Arrival::unread);
        let more = arrival.unread().map_or(Keys::new(), |batch| Together::more(batch, waiting));
        Reading {
            arrival,
            more,
            until: self.arrived,
            interruptions: self.interruptions.subscribe(),
        }
    }

    /// Removes from an arrival what has already been read.
    fn strip(&mut self, mut arrival: Arrival) -> Arrival {
        if let Arrival::Assembled(Assembled::Batch(batch)) = &mut arrival {
            self.ahead.strip(batch);
        }
        arrival
    }
}

impl Arrival {
    fn bytes(&self) -> usize {
        let Self::Assembled(Assembled::Batch(batch)) = self else { return OVERHEAD_BYTES };
        let row = |row: Option<&Row>| row.map_or(0, |row| row.text().len());
        let changes = batch.changes().iter();
        let changes = changes
            .map(|change| OVERHEAD_BYTES + change.id.as_str().len() + row(change.row.as_ref()));
        let unread = batch.unread().iter().map(|(id, key)| id.as_str().len() + key.len());
        OVERHEAD_BYTES + changes.sum::<usize>() + unread.sum::<usize>()
    }

    /// The collection that it concerns, if any.
    pub(crate) fn collection(&self) -> Option<&str> {
        match self {
            Self::Assembled(assembled) => Some(assembled.collection()),
            Self::Read(batch, ..) => Some(&batch.collection),
            Self::Token(_) => None,
        }
    }

    /// The batch, if only the keys of rows are sent.
    pub(crate) fn unread(&self) -> Option<&Batch> {
        match self {
            Self::Assembled(Assembled::Batch(batch)) if !batch.unread().is_empty() => Some(batch),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Feed;
    use crate::intake::batch::{Change, Effect, Gap};

    fn batch(xid: u64, is_unread: bool) -> Arrival {
        let id = DocumentId::from_string("a");
        let unread = is_unread.then(|| (id.clone(), "\"a\"".to_owned())).into_iter().collect();
        let effect = Effect::Changes { changes: vec![Change { id, row: None }], unread };
        Arrival::Assembled(Assembled::Batch(Batch { collection: "tasks".into(), xid, effect }))
    }

    /// A name for an arrival.
    fn name(arrival: &Arrival) -> String {
        match arrival {
            Arrival::Assembled(Assembled::Batch(batch)) => format!("batch {}", batch.xid),
            Arrival::Assembled(Assembled::Gap(_)) => "gap".to_owned(),
            Arrival::Read(batch, ..) => format!("read {}", batch.xid),
            Arrival::Token(token) => format!("token {token}"),
        }
    }

    #[test]
    fn what_needs_no_read_is_delivered_at_once() {
        let mut pipeline = Pipeline::new(watch::Sender::default());
        for arrival in [batch(7, false), Arrival::Token(1)] {
            let expected = name(&arrival);
            let submitted = pipeline.submit(arrival);
            assert!(matches!(&submitted, Submitted::Deliver(a) if name(a) == expected));
        }
        assert!(!pipeline.is_reading());
    }

    #[test]
    fn what_comes_during_a_read_waits_in_order() {
        let mut pipeline = Pipeline::new(watch::Sender::default());
        let submitted = pipeline.submit(batch(7, true));
        assert!(
            matches!(&submitted, Submitted::Read(reading) if name(&reading.arrival) == "batch 7")
        );
        for arrival in [batch(8, false), Arrival::Token(1), batch(9, true)] {
            assert!(matches!(pipeline.submit(arrival), Submitted::Waits));
        }
        let order: Vec<_> =
            std::iter::from_fn(|| pipeline.next()).map(|reading| name(&reading.arrival)).collect();
        assert_eq!(order, ["batch 8", "token 1", "batch 9"]);
        assert!(!pipeline.is_reading() && pipeline.waiting_bytes == 0);
    }

    #[test]
    fn when_too_much_waits_all_is_dropped_and_the_read_is_void() {
        let mut pipeline = Pipeline::new(watch::Sender::default());
        let Submitted::Read(reading) = pipeline.submit(batch(7, true)) else {
            panic!("nothing is being read")
        };
        let mut outcome = Submitted::Waits;
        for token in 0..=WAITING_BYTES_MAX as u64 / OVERHEAD_BYTES as u64 {
            assert!(matches!(outcome, Submitted::Waits), "{token} tokens fit");
            outcome = pipeline.submit(Arrival::Token(token));
        }
        assert!(matches!(outcome, Submitted::Overflow));
        assert!(reading.interruptions.has_changed().unwrap());
        assert!(pipeline.next().is_none(), "nothing waits any more");
    }

    /// A batch of a collection that tells only the keys of these rows.
    fn unread(collection: &str, xid: u64, rows: impl IntoIterator<Item = usize>) -> Arrival {
        let id = |row: usize| DocumentId::from_string(&row.to_string());
        let unread: Vec<_> = rows.into_iter().map(|row| (id(row), format!("\"{row}\""))).collect();
        let changes = unread.iter().map(|(id, _)| Change { id: id.clone(), row: None }).collect();
        let effect = Effect::Changes { changes, unread };
        Arrival::Assembled(Assembled::Batch(Batch { collection: collection.into(), xid, effect }))
    }

    /// Finds none of the rows that were to be read.
    fn found(reading: &Reading, feed: Feed, snapshot: &str) -> Found {
        let own = reading.arrival.unread().map(Batch::unread).unwrap_or_default();
        let rows = own.iter().chain(&reading.more).map(|(id, _)| (id.clone(), None)).collect();
        Found { feed, snapshot: TransactionSnapshot::parse(snapshot).unwrap(), rows }
    }

    /// Ends a read. Returns what is delivered.
    fn finish(pipeline: &mut Pipeline, reading: Reading, feed: Feed, snapshot: &str) -> Arrival {
        let Some(batch) = reading.arrival.unread() else {
            let mut arrival = reading.arrival;
            pipeline.note_read(&mut arrival, None, reading.until);
            return arrival;
        };
        let found = found(&reading, feed, snapshot);
        let (batch, ids) = found.fill(batch).expect("all were looked for");
        let mut read = Arrival::Read(batch, found.snapshot.clone(), ids);
        pipeline.note_read(&mut read, Some(found), reading.until);
        read
    }

    fn begin(pipeline: &mut Pipeline, arrival: Arrival) -> Reading {
        match pipeline.submit(arrival) {
            Submitted::Read(reading) => reading,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_of_batches_that_wait_are_read_together_and_delivered_in_order() {
        let mut pipeline = Pipeline::new(watch::Sender::default());
        let first = begin(&mut pipeline, unread("tasks", 1, [1]));
        assert!(first.more.is_empty(), "nothing waits yet");
        let waiting = [
            unread("tasks", 2, [2]),
            unread("lists", 3, [3]),
            batch(4, false),
            unread("tasks", 5, [2, 4]),
            Arrival::Token(1),
            unread("tasks", 6, [5]),
        ];
        waiting.into_iter().for_each(|arrival| _ = pipeline.submit(arrival));
        finish(&mut pipeline, first, Feed::Notify, "10:10:");
        let (mut reads, mut order) = (Vec::new(), Vec::new());
        while let Some(reading) = pipeline.next() {
            if let Some(own) = reading.arrival.unread() {
                reads.push((own.unread().len(), reading.more.len()));
            }
            order.push(name(&finish(&mut pipeline, reading, Feed::Notify, "10:10:")));
        }
        assert_eq!(order, ["read 2", "read 3", "batch 4", "read 5", "token 1", "read 6"]);
        assert_eq!(reads, [(1, 2), (1, 0)], "one of tasks, and one of lists");
    }

    #[test]
    fn rows_are_read_together_up_to_a_number() {
        let mut pipeline = Pipeline::new(watch::Sender::default());
        let mut reading = Some(begin(&mut pipeline, unread("tasks", 1, [0])));
        for row in 1..11 {
            assert!(matches!(pipeline.submit(unread("tasks", 1, [row])), Submitted::Waits));
        }
        let mut reads = Vec::new();
        while let Some(one) = reading {
            if let Some(own) = one.arrival.unread() {
                reads.push(own.unread().len() + one.more.len());
            }
            finish(&mut pipeline, one, Feed::Notify, "10:10:");
            reading = pipeline.next();
        }
        assert_eq!(reads, [1, 4, 4, 2]);
    }

    /// What came after a read is not included, whatever it says.
    #[test]
    fn a_read_counts_only_for_what_it_includes() {
        // Which transactions' rows are read once more, by feed.
        for (feed, again) in [(Feed::Notify, vec![30]), (Feed::Wal, vec![20, 30])] {
            let mut pipeline = Pipeline::new(watch::Sender::default());
            let first = begin(&mut pipeline, unread("tasks", 1, [1]));
            for xid in [9, 20] {
                let _ = pipeline.submit(unread("tasks", xid, [2]));
            }
            finish(&mut pipeline, first, feed, "10:10:");
            let second = pipeline.next().expect("the next");
            // This comes while the second is read, in which transaction 10 was not there yet.
            for xid in [8, 30] {
                let _ = pipeline.submit(unread("tasks", xid, [2]));
            }
            finish(&mut pipeline, second, feed, "10:10:");
            let mut read = Vec::new();
            while let Some(reading) = pipeline.next() {
                read.extend(reading.arrival.unread().map(|batch| batch.xid));
                finish(&mut pipeline, reading, feed, "10:10:");
            }
            assert_eq!(read, again, "{feed:?}");
        }
    }

    #[test]
    fn what_waits_behind_a_read_that_failed_is_read_with_the_rest() {
        let mut pipeline = Pipeline::new(watch::Sender::default());
        let first = begin(&mut pipeline, unread("tasks", 1, [1]));
        let waiting = [unread("tasks", 2, [2]), unread("lists", 3, [3]), batch(4, false)];
        waiting.into_iter().for_each(|arrival| _ = pipeline.submit(arrival));
        let gap = Gap { collection: "tasks".into(), reason: GapReason::Unread };
        pipeline.note_read(&mut Arrival::Assembled(Assembled::Gap(gap)), None, first.until);
        let order: Vec<_> =
            std::iter::from_fn(|| pipeline.next()).map(|reading| name(&reading.arrival)).collect();
        assert_eq!(order, ["batch 3", "batch 4"]);
        assert_eq!(pipeline.waiting_bytes, 0);
    }

    #[test]
    fn what_was_read_ahead_is_known_until_the_feed_is_interrupted() {
        let mut pipeline = Pipeline::new(watch::Sender::default());
        let snapshot = TransactionSnapshot::parse("10:20:").unwrap();
        let Arrival::Assembled(Assembled::Batch(read)) = batch(9, false) else { unreachable!() };
        let ids = vec![DocumentId::from_string("a")];
        pipeline.note_read(&mut Arrival::Read(read, snapshot, ids), None, 0);
        let changes = |pipeline: &mut Pipeline| match pipeline.submit(batch(15, false)) {
            Submitted::Deliver(Arrival::Assembled(Assembled::Batch(batch))) => {
                batch.changes().len()
            }
            other => panic!("{other:?}"),
        };
        pipeline.drop_all();
        assert_eq!(changes(&mut pipeline), 0, "the read has seen it, and its row is shown");
        pipeline.interrupt();
        assert_eq!(changes(&mut pipeline), 1);
    }
}
