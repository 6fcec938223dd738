//! One observer of the data source for all live queries of a collection.

use std::fmt;
use std::sync::Arc;

use ddp_core::{CollectionName, DdpError, DocumentId};
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::batch::{Batch, Origin, Row};
use super::catching_up::Published;
use super::contents::Contents;
use super::deliveries::Deliveries;
use super::live::{Phase, State};
use super::observer::{Observation, Observer};
use super::plan::{PendingRead, Plan};
use crate::query::Query;
use crate::write_fence::Write;

/// The live queries of one collection of a data source.
///
/// The source hands over every change by [`apply`](Self::apply), and reads documents when it is
/// given a [`PendingRead`]. The multiplexer does no IO, and locks only for as long as a change takes.
pub struct Multiplexer<R> {
    collection: CollectionName,
    state: Mutex<State<R>>,
}

/// What [`Multiplexer::observe`] returns.
#[derive(Debug)]
pub struct Joined {
    /// Keeps the observer subscribed.
    pub observation: Observation,
    /// If present, the source must carry it out.
    pub load: Option<PendingRead>,
    /// Completes when the observer has its first documents.
    pub ready: oneshot::Receiver<Result<(), DdpError>>,
}

impl<R: Row> Multiplexer<R> {
    /// A collection without live queries.
    #[must_use]
    pub fn new(collection: impl Into<CollectionName>) -> Arc<Self> {
        Arc::new(Self { collection: collection.into(), state: Mutex::new(State::new()) })
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
        let (slot, load) = match state.by_query.get(query) {
            Some(&slot) => (slot, None),
            None => state.begin(query, plan),
        };
        let (sender, ready) = oneshot::channel();
        let mut deliveries = Deliveries::default();
        if let Some(live) = &mut state.slots[slot] {
            live.joining.push((key, observer, sender));
            if matches!(live.phase, Phase::Live) {
                live.welcome(slot, &self.collection, &mut deliveries);
            }
        }
        state.send(deliveries);
        drop(state);
        let guard = Guard { multiplexer: Arc::clone(self), slot, key };
        Joined { observation: Observation::new(guard), load, ready }
    }

    /// Applies a transaction's changes and returns the loads that they make necessary.
    #[must_use]
    pub fn apply(&self, batch: Batch<R>) -> Vec<PendingRead> {
        let mut state = self.state.lock();
        let batch = Arc::new(batch);
        for slot in state.loading.clone() {
            if let Some(loading) = state.loading(slot) {
                loading.remember(&batch);
            }
        }
        if batch.is_requery() {
            let slots = 0..state.slots.len();
            let loads = slots.filter_map(|slot| state.reload_missed(slot)).collect();
            state.must_requery();
            return loads;
        }
        if !batch.is_truncated() && batch.changes().is_empty() {
            return Vec::new();
        }
        let unsure = state.apply_to_live(&self.collection, &batch);
        unsure.into_iter().filter_map(|slot| state.reload_if_live(slot)).collect()
    }

    /// Makes every live query read again, because changes may have been missed. Loads in progress
    /// are void.
    #[must_use]
    pub fn reload_all(&self) -> Vec<PendingRead> {
        let mut state = self.state.lock();
        let loads = (0..state.slots.len()).filter_map(|slot| state.reload(slot)).collect();
        state.must_make_up_for_gap();
        loads
    }

    /// Plans every live query again and makes it read again, because the shape of the collection
    /// has changed. Loads in progress are void. Queries that can no longer be planned end with the
    /// error. Don't call it while a batch is being applied.
    #[must_use]
    pub fn replan(&self, plan: impl Fn(&Query) -> Result<Plan, DdpError>) -> Vec<PendingRead> {
        let (mut loads, mut failed) = (Vec::new(), Vec::new());
        let mut state = self.state.lock();
        for slot in 0..state.slots.len() {
            let Some(query) = state.slots[slot].as_ref().map(|live| live.query.clone()) else {
                continue;
            };
            match plan(&query) {
                Ok(plan) => {
                    state.set_plan(slot, plan);
                    loads.extend(state.reload(slot));
                }
                Err(error) => failed.extend(state.reload(slot).map(|load| (load, error))),
            }
        }
        state.must_make_up_for_gap();
        drop(state);
        for (load, error) in failed {
            self.fail_read(&load, &error);
        }
        loads
    }

    /// Ends a load. `rows` is the query's whole result, or for a query with `skip` or `limit` the first
    /// [`PendingRead::rows_max`] in order. `has_seen` tells which batches the read includes. No batch
    /// that it includes may be [applied](Self::apply) after this.
    ///
    /// Observers are sent the difference at once or, after [`reload_all`](Self::reload_all) and the
    /// like, when all queries have caught up: in between, a document could be older in one query
    /// than in another. Then the returned future completes. It gives another load if the changes
    /// don't say what happened in the meantime; there is progress even if something happens during
    /// each load. It is cancelled if the load is no longer wanted.
    pub fn finish_read(
        &self,
        load: PendingRead,
        rows: Vec<(DocumentId, R)>,
        has_seen: impl Fn(Origin) -> bool,
    ) -> oneshot::Receiver<Option<PendingRead>> {
        let contents = Contents::read(&load, rows);
        let (done, repeat) = oneshot::channel();
        let mut state = self.state.lock();
        state.park(load, contents, has_seen, done);
        let over = state.publish_parked(&self.collection);
        drop(state);
        Self::tell(over);
        repeat
    }

    /// Finishes, outside the lock, what has ended. The writes that its reads saw are released last,
    /// after everything has been handed over.
    fn tell(over: Vec<Published<R>>) {
        for Published { done, repeat, writes } in over {
            // The waiter may be gone.
            let _ = done.send(repeat);
            drop(writes);
        }
    }

    /// Ends a load that the source refuses for good. Its subscriptions end with the error.
    pub fn fail_read(&self, load: &PendingRead, error: &DdpError) {
        let mut state = self.state.lock();
        let Some(loading) = state.take_loading(load) else { return };
        let (observers, joining) = match &mut state.slots[load.slot] {
            Some(live) => (live.observers.clone(), std::mem::take(&mut live.joining)),
            None => Default::default(),
        };
        state.end(load.slot);
        let over = state.publish_parked(&self.collection);
        drop(state);
        drop(loading);
        Self::tell(over);
        for (_, observer) in observers {
            observer.fail(error.clone());
        }
        for (_, _, sender) in joining {
            // A subscriber that has left needs no answer.
            let _ = sender.send(Err(error.clone()));
        }
    }

    /// Keeps a write incomplete until the queries that are reading again have sent it, since it may
    /// be in their buffers.
    pub fn hold(&self, write: &Arc<Write>) {
        let mut state = self.state.lock();
        for slot in state.loading.clone() {
            if let Some(live) = &mut state.slots[slot]
                && let Phase::Loading(loading) = &mut live.phase
                && !live.observers.is_empty()
            {
                loading.writes.push(Arc::clone(write));
            }
        }
    }

    /// Whether a load is still wanted. A source that cannot read for now asks before it tries again.
    #[must_use]
    pub fn wants(&self, load: &PendingRead) -> bool {
        let mut state = self.state.lock();
        state.loading(load.slot).is_some_and(|loading| loading.generation == load.generation)
    }

    /// Whether there are no observers.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state.lock().by_query.is_empty()
    }

    fn leave(&self, slot: usize, key: u64) {
        let mut state = self.state.lock();
        let (mut writes, mut over) = (None, Vec::new());
        if let Some(live) = &mut state.slots[slot] {
            let before = live.observers.len() + live.joining.len();
            live.observers.retain(|(other, _)| *other != key);
            live.joining.retain(|(other, ..)| *other != key);
            let after = live.observers.len() + live.joining.len();
            if before > after && after == 0 {
                writes = state.end(slot);
                over = state.publish_parked(&self.collection);
            }
        }
        drop(state);
        drop(writes);
        Self::tell(over);
    }
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
