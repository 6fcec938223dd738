//! One observer of the data source for all live queries of a collection.

use std::fmt;
use std::sync::Arc;

use ddp_core::{CollectionName, DdpError, DocumentId};
use futures::channel::oneshot;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::batch::{Batch, Origin, Row};
use super::contents::Contents;
use super::deliveries::Deliveries;
use super::live::{Ended, Phase, State};
use super::observer::{Observation, Observer};
use super::plan::{PendingRead, Plan};
use crate::query::Query;
use crate::write_fence::Write;

/// The live queries of one collection of a data source.
///
/// The source hands over every change by [`apply`](Self::apply). Whenever queries wait to be read it
/// [begins](Self::begin_reads) a group of them, reads it, and [hands over](Self::finish_reads) what it
/// found; several tasks can share that by taking a [`ReadTurn`](super::ReadTurn). The multiplexer does no IO, and
/// locks only for as long as a change takes.
pub struct Multiplexer<R> {
    collection: CollectionName,
    state: Mutex<State<R>>,
    /// Notified when queries wait to be read, and when all are live.
    pub(super) waiting: Notify,
}

/// What [`Multiplexer::observe`] returns.
#[derive(Debug)]
pub struct Joined {
    /// Keeps the observer subscribed.
    pub observation: Observation,
    /// Whether queries wait to be read, this one or others.
    pub must_read: bool,
    /// Completes when the observer has its first documents.
    pub ready: oneshot::Receiver<Result<(), DdpError>>,
}

impl<R: Row> Multiplexer<R> {
    /// A collection without live queries.
    #[must_use]
    pub fn new(collection: impl Into<CollectionName>) -> Arc<Self> {
        let state = Mutex::new(State::new());
        Arc::new(Self { collection: collection.into(), state, waiting: Notify::new() })
    }

    /// Adds an observer to the live query, which begins with its first.
    pub fn observe(self: &Arc<Self>, query: &Query, plan: Plan, observer: Observer) -> Joined {
        // Without a window the order does not matter, and must not keep queries from being shared.
        let unordered;
        let query = if query.has_window() || query.sort.is_empty() {
            query
        } else {
            unordered = Query { sort: Vec::new(), ..query.clone() };
            &unordered
        };
        let mut state = self.state.lock();
        let key = state.next_key();
        let slot = match state.by_query.get(query) {
            Some(&slot) => slot,
            None => state.begin(query, plan),
        };
        let (sender, ready) = oneshot::channel();
        let mut deliveries = Deliveries::default();
        if let Some(live) = &mut state.slots[slot] {
            live.joining.push((key, observer, sender));
            match live.phase {
                Phase::Live => live.welcome(slot, &self.collection, &mut deliveries),
                Phase::Loading(_) => state.hurry(slot),
            }
        }
        state.send(deliveries);
        let must_read = self.unlock(state);
        let guard = Guard { multiplexer: Arc::clone(self), slot, key };
        Joined { observation: Observation::new(guard), must_read, ready }
    }

    /// Applies a transaction's changes. True if queries wait to be read.
    #[must_use]
    pub fn apply(&self, batch: Batch<R>) -> bool {
        let mut state = self.state.lock();
        let batch = Arc::new(batch);
        state.remember(&batch);
        if batch.is_requery() {
            state.reload_missed();
            state.must_requery();
        } else if batch.is_truncated() || !batch.changes().is_empty() {
            let mut deliveries = Deliveries::default();
            let unsure = state.advance(&self.collection, &batch, &mut deliveries);
            state.send(deliveries);
            for slot in unsure {
                if state.is_live(slot) {
                    state.reload(slot);
                }
            }
        }
        self.unlock(state)
    }

    /// Has every live query read again, because changes may have been missed. Reads in progress are
    /// void. Returns how many queries there are.
    #[must_use]
    pub fn reload_all(&self) -> usize {
        let mut state = self.state.lock();
        let queries = (0..state.slots.len()).filter(|slot| state.reload(*slot)).count();
        state.must_make_up_for_gap();
        self.unlock(state);
        queries
    }

    /// Plans every live query again and has it read again, because the shape of the collection has
    /// changed. Reads in progress are void. Queries that can no longer be planned end with the error.
    /// Don't call it while a batch is being applied. True if queries wait to be read.
    #[must_use]
    pub fn replan(&self, plan: impl Fn(&Query) -> Result<Plan, DdpError>) -> bool {
        let mut failed = Vec::new();
        let mut state = self.state.lock();
        for slot in 0..state.slots.len() {
            let Some(query) = state.slots[slot].as_ref().map(|live| Arc::clone(&live.query)) else {
                continue;
            };
            match plan(&query) {
                Ok(plan) => state.set_plan(slot, plan),
                Err(error) => failed.push((slot, error)),
            }
            state.reload(slot);
        }
        state.must_make_up_for_gap();
        let mut ended = Vec::new();
        for (slot, error) in failed {
            ended.extend(state.fail(slot, &error));
        }
        self.publish_parked(&mut state);
        let must_read = self.unlock(state);
        ended.into_iter().for_each(Ended::tell);
        must_read
    }

    /// Begins to read a group of at most this many queries that wait, if there are any: they differ
    /// in nothing but their constants, and those for which somebody waits come first. Whatever
    /// happened before is to be part of what is read.
    ///
    /// Each of them must end with [`finish_reads`](Self::finish_reads),
    /// [`fail_read`](Self::fail_read) or [`put_back`](Self::put_back).
    pub fn begin_reads(&self, max: usize) -> Vec<PendingRead> {
        self.state.lock().begin_reads(max)
    }

    /// Ends reads whose rows were all read at the same point: `point` is the origin of a batch that is
    /// read there, or [`Origin::Gap`] if points cannot be told apart. The rows are each query's whole result,
    /// or for a query with `skip` or `limit` the first [`PendingRead::rows_max`] in order. `has_seen`
    /// tells which batches the reads include. No batch that they include may be
    /// [applied](Self::apply) after this.
    ///
    /// Observers are sent the difference at once or, after [`reload_all`](Self::reload_all) and the
    /// like, when all queries have caught up, so that they make up for what they missed together. Who
    /// waits for first documents gets them at once. Queries wait to be read again if the changes don't
    /// say what happened in the meantime; there is progress even if something happens during each
    /// read. True if queries wait to be read.
    #[must_use]
    pub fn finish_reads(
        &self,
        reads: Vec<(PendingRead, Vec<(DocumentId, R)>)>,
        point: Origin,
        has_seen: impl Fn(Origin) -> bool,
    ) -> bool {
        let reads = reads.into_iter().map(|(read, rows)| {
            let contents = Contents::read(&read, &rows);
            (read, contents, rows)
        });
        let reads = reads.collect();
        let mut state = self.state.lock();
        state.finish_reads(&self.collection, reads, point, &has_seen);
        self.unlock(state)
    }

    /// Gives up reads that failed for now: their queries wait again.
    pub fn put_back(&self, reads: Vec<PendingRead>) {
        let mut state = self.state.lock();
        reads.iter().for_each(|read| state.put_back(read));
        self.unlock(state);
    }

    /// Ends a read that the source refuses for good. Its subscriptions end with the error.
    pub fn fail_read(&self, read: &PendingRead, error: &DdpError) {
        let mut state = self.state.lock();
        if !state.wants(read) {
            return;
        }
        let ended = state.fail(read.slot, error);
        self.publish_parked(&mut state);
        self.unlock(state);
        ended.into_iter().for_each(Ended::tell);
    }

    /// Keeps a write incomplete until the queries that are read again have sent it, since they may
    /// have missed it.
    pub fn hold(&self, write: &Arc<Write>) {
        self.state.lock().owed.hold(write);
    }

    /// Whether a read is still wanted. A source that cannot read for now asks before it tries again.
    #[must_use]
    pub fn wants(&self, read: &PendingRead) -> bool {
        self.state.lock().wants(read)
    }

    /// Whether there are no observers.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state.lock().by_query.is_empty()
    }

    /// Begins the turn of a task, if queries wait and not that many tasks read already.
    pub(super) fn begin_turn(&self, readers_max: usize) -> bool {
        let mut state = self.state.lock();
        let may_read = !state.queue.is_empty() && state.readers < readers_max;
        state.readers += usize::from(may_read);
        may_read
    }

    /// What is left for a task that has a turn. If there is nothing, its turn is over: whatever comes
    /// from now on needs another one.
    pub(super) fn outlook(&self) -> Outlook {
        let mut state = self.state.lock();
        match (state.queue.is_empty(), state.unfinished) {
            (false, _) => Outlook::Waiting,
            (true, 0) => {
                state.readers -= 1;
                Outlook::AllLive
            }
            (true, _) => Outlook::Reading,
        }
    }

    pub(super) fn end_turn(&self) {
        self.state.lock().readers -= 1;
    }

    fn leave(&self, slot: usize, key: u64) {
        let mut state = self.state.lock();
        if let Some(live) = &mut state.slots[slot] {
            let before = live.observers.len() + live.joining.len();
            live.observers.retain(|(other, _)| *other != key);
            live.joining.retain(|(other, ..)| *other != key);
            let after = live.observers.len() + live.joining.len();
            if before > after && after == 0 {
                state.end(slot);
                self.publish_parked(&mut state);
            }
        }
        self.unlock(state);
    }

    /// Whether what was read for a query waits for others that catch up.
    #[cfg(test)]
    pub(super) fn is_parked(&self, slot: usize, generation: u64) -> bool {
        let mut state = self.state.lock();
        let is_same = state.loading(slot).is_some_and(|loading| loading.generation == generation);
        is_same && state.parked.contains(&slot)
    }

    /// How many bytes are kept for reads in progress.
    #[cfg(test)]
    pub(super) fn backlog_bytes(&self) -> usize {
        self.state.lock().backlog.bytes()
    }

    fn publish_parked(&self, state: &mut State<R>) {
        let mut deliveries = Deliveries::default();
        state.publish_parked(&self.collection, &mut deliveries);
        state.send(deliveries);
    }

    /// Ends what has been done under the lock: wakes who reads, and releases last, after everything
    /// has been handed over, the writes that this completes. True if queries wait to be read.
    fn unlock(&self, mut state: MutexGuard<'_, State<R>>) -> bool {
        let complete = state.owed.take_paid();
        let must_read = !state.queue.is_empty();
        let concerns_readers = state.readers > 0 && (must_read || state.unfinished == 0);
        drop(state);
        if concerns_readers {
            self.waiting.notify_waiters();
        }
        drop(complete);
        must_read
    }
}

/// What is left to be read.
pub(super) enum Outlook {
    /// Queries wait.
    Waiting,
    /// Some are being read, or wait for others that are.
    Reading,
    AllLive,
}

struct Guard<R: Row> {
    multiplexer: Arc<Multiplexer<R>>,
    slot: usize,
    key: u64,
}

impl<R: Row> Drop for Guard<R> {
    fn drop(&mut self) {
        self.multiplexer.leave(self.slot, self.key);
    }
}

impl<R> fmt::Debug for Multiplexer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplexer").field("collection", &self.collection).finish_non_exhaustive()
    }
}
