//! A task's part in reading a collection's queries.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use super::batch::Row;
use super::multiplexer::{Multiplexer, Outlook};
use super::plan::PendingRead;

/// How many tasks share the reads of a collection.
const READERS_MAX: usize = 8;

/// A task's part in reading the queries of a collection that wait. There are only so many at a time;
/// what waits meanwhile is read in groups.
///
/// A task with a turn goes on while queries are read: when it ends, all are live, or others take care
/// of them.
pub struct ReadTurn<R: Row> {
    multiplexer: Arc<Multiplexer<R>>,
    /// Whether it still counts.
    is_on: bool,
    /// The last group. Of a task that panics, or is dropped, it waits again.
    begun: Vec<PendingRead>,
}

impl<R: Row> ReadTurn<R> {
    /// A turn, if queries wait and not enough tasks read already.
    #[must_use]
    pub fn take(multiplexer: &Arc<Multiplexer<R>>) -> Option<Self> {
        let may_read = multiplexer.begin_turn(READERS_MAX);
        may_read.then(|| Self {
            multiplexer: Arc::clone(multiplexer),
            is_on: true,
            begun: Vec::new(),
        })
    }

    /// Waits until queries wait to be read. False if all are live: then the turn is over.
    pub async fn wait(&mut self) -> bool {
        while self.is_on {
            let mut notified = pin!(self.multiplexer.waiting.notified());
            notified.as_mut().enable();
            match self.multiplexer.outlook() {
                Outlook::Waiting => return true,
                Outlook::AllLive => self.is_on = false,
                Outlook::Reading => notified.await,
            }
        }
        false
    }

    /// Begins a group: see [`Multiplexer::begin_reads`]. Those of the last one that have not ended
    /// wait again.
    pub fn begin(&mut self, max: usize) -> Vec<PendingRead> {
        self.put_back();
        self.begun = self.multiplexer.begin_reads(max);
        self.begun.clone()
    }

    fn put_back(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            self.multiplexer.put_back(begun);
        }
    }
}

impl<R: Row> Drop for ReadTurn<R> {
    fn drop(&mut self) {
        if self.is_on {
            self.put_back();
            self.multiplexer.end_turn();
        }
    }
}

impl<R: Row> fmt::Debug for ReadTurn<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadTurn").field(&self.multiplexer).finish()
    }
}
