//! The stage between the assembler and the live queries, in which rows are read that were told by
//! their keys only.
//!
//! Whatever comes while a read is under way waits behind it, in order: other batches, and tokens.
//! When too much waits, all of it is dropped and every live query reads again.

use std::collections::VecDeque;

use ddp_core::DocumentId;
use tokio::sync::watch;

use super::batch::{Assembled, Batch};
use super::read_ahead::ReadAhead;
use crate::read::snapshot::TransactionSnapshot;
use crate::row::Row;

/// What may wait behind a read, roughly.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a batch or a token takes besides its rows, and a change besides its row.
const OVERHEAD_BYTES: usize = 200;

/// What arrives from the feed, in its order.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// What the assembler has put together.
    Assembled(Assembled),
    /// A batch of which rows have been read, with the snapshot in which they were, and their ids.
    Read(Batch, TransactionSnapshot, Vec<DocumentId>),
    /// A token of this server.
    Token(u64),
}

/// What is to be done with what has arrived.
#[must_use]
pub(crate) enum Submitted {
    /// The live queries may have it.
    Deliver(Arrival),
    /// Its rows are to be read first.
    Read(Reading),
    /// It waits behind what is being read.
    Waits,
    /// Too much waits: all of it was dropped, and is to be read again.
    Overflow,
}

/// Rows to be read; void after an interruption.
pub(crate) struct Reading {
    pub(crate) arrival: Arrival,
    pub(crate) interruptions: watch::Receiver<()>,
}

/// What waits, and what has been read ahead.
#[derive(Debug)]
pub(crate) struct Pipeline {
    waiting: VecDeque<Arrival>,
    waiting_bytes: usize,
    /// Whether a task reads rows, and takes what waits afterwards.
    is_reading: bool,
    /// What has been read of what is still to come.
    ahead: ReadAhead,
    /// Tells of interruptions, so that what was read before one is not taken for news after it.
    interruptions: watch::Sender<()>,
}

impl Pipeline {
    /// A pipeline that tells of interruptions here.
    pub(crate) fn new(interruptions: watch::Sender<()>) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_reading: false,
            ahead: ReadAhead::default(),
            interruptions,
        }
    }

    /// Whether anything is being read, and other things may wait.
    pub(crate) fn is_reading(&self) -> bool {
        self.is_reading
    }

    /// Takes in what has arrived, behind what came before.
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
        self.interrupt();
        Submitted::Overflow
    }

    /// Takes note of rows that have been read, before they are delivered.
    pub(crate) fn note_read(&mut self, arrival: &mut Arrival) {
        if let Arrival::Read(batch, snapshot, ids) = arrival {
            self.ahead.note(&batch.collection, snapshot.clone(), std::mem::take(ids));
        }
    }

    /// What has waited longest, if anything waits. Reading is over otherwise.
    pub(crate) fn next(&mut self) -> Option<Reading> {
        let Some(next) = self.waiting.pop_front() else {
            self.is_reading = false;
            return None;
        };
        self.waiting_bytes -= next.bytes();
        let next = self.strip(next);
        Some(self.reading(next))
    }

    /// Drops what waits, and what is being read.
    pub(crate) fn interrupt(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.ahead.clear();
        self.interruptions.send_replace(());
    }

    fn reading(&self, arrival: Arrival) -> Reading {
        Reading { arrival, interruptions: self.interruptions.subscribe() }
    }

    /// Leaves out of an arrival what has been read already.
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

    /// The collection that it is about, if it is about one.
    pub(crate) fn collection(&self) -> Option<&str> {
        match self {
            Self::Assembled(assembled) => Some(assembled.collection()),
            Self::Read(batch, ..) => Some(&batch.collection),
            Self::Token(_) => None,
        }
    }

    /// Whether rows are told by their keys only.
    pub(crate) fn has_unread_rows(&self) -> bool {
        matches!(self, Self::Assembled(Assembled::Batch(batch)) if !batch.unread().is_empty())
    }
}
