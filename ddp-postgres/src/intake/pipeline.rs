//! The stage between the assembler and the live queries. It reads rows for which the triggers sent
//! only the keys.
//!
//! Batches and tokens that arrive during a read wait behind it, in order. If too much is waiting,
//! all of it is dropped and every live query reads again.

use std::collections::VecDeque;

use ddp_core::DocumentId;
use tokio::sync::watch;

use super::batch::{Assembled, Batch};
use super::read_ahead::ReadAhead;
use crate::read::snapshot::TransactionSnapshot;
use crate::row::Row;

/// How much may wait behind a read, roughly.
const WAITING_BYTES_MAX: usize = if cfg!(test) { 10_000 } else { 64 * 1024 * 1024 };
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
    pub(crate) interruptions: watch::Receiver<()>,
}

/// What is waiting, and what has been read ahead.
#[derive(Debug)]
pub(crate) struct Pipeline {
    waiting: VecDeque<Arrival>,
    waiting_bytes: usize,
    /// Whether a task is reading rows. It then takes what is waiting.
    is_reading: bool,
    /// Rows read ahead of arrivals still to come.
    ahead: ReadAhead,
    /// Signals interruptions, so that rows read before one are not delivered after it.
    interruptions: watch::Sender<()>,
}

impl Pipeline {
    /// A pipeline that signals interruptions here.
    pub(crate) fn new(interruptions: watch::Sender<()>) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_reading: false,
            ahead: ReadAhead::default(),
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
            if !arrival.has_unread_rows() {
                return Submitted::Deliver(arrival);
            }
            self.is_reading = true;
            return Submitted::Read(self.reading(arrival));
        }
        self.waiting_bytes += arrival.bytes();
        if self.waiting_bytes <= WAITING_BYTES_MAX {
            self.waiting.push_back(arrival);
            return Submitted::Waits;
        }
        self.drop_all();
        Submitted::Overflow
    }

    /// Notes which rows have been read, before they are delivered.
    pub(crate) fn note_read(&mut self, arrival: &mut Arrival) {
        if let Arrival::Read(batch, snapshot, ids) = arrival {
            self.ahead.note(&batch.collection, snapshot.clone(), std::mem::take(ids));
        }
    }

    /// The next arrival to handle, if any. Otherwise reading is over.
    pub(crate) fn next(&mut self) -> Option<Reading> {
        let Some(next) = self.waiting.pop_front() else {
            self.is_reading = false;
            return None;
        };
        self.waiting_bytes -= next.bytes();
        let next = self.strip(next);
        Some(self.reading(next))
    }

    /// Drops what is waiting, and what is being read, since everything is read again. Until it has been,
    /// queries still take what arrives, so what was read ahead is still to be removed from it.
    pub(crate) fn drop_all(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.interruptions.send_replace(());
    }

    /// The same, if the feed has been interrupted: what it brings from now on is newer than every read.
    pub(crate) fn interrupt(&mut self) {
        self.drop_all();
        self.ahead.clear();
    }

    fn reading(&self, arrival: Arrival) -> Reading {
        Reading { arrival, interruptions: self.interruptions.subscribe() }
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

    /// Whether only the keys of rows are sent.
    pub(crate) fn has_unread_rows(&self) -> bool {
        matches!(self, Self::Assembled(Assembled::Batch(batch)) if !batch.unread().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::batch::{Change, Effect};

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

    #[test]
    fn what_was_read_ahead_is_known_until_the_feed_is_interrupted() {
        let mut pipeline = Pipeline::new(watch::Sender::default());
        let snapshot = TransactionSnapshot::parse("10:20:").unwrap();
        let Arrival::Assembled(Assembled::Batch(read)) = batch(9, false) else { unreachable!() };
        let ids = vec![DocumentId::from_string("a")];
        pipeline.note_read(&mut Arrival::Read(read, snapshot, ids));
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
