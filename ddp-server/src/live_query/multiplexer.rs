//! One observer of the data source for all live queries of a collection.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ddp_core::{CollectionName, DdpError, Document, DocumentId, FieldName};
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::queries::{Phase, State, fold};
use super::{Batch, Observation, Observer, Row};
use crate::query::{Predicate, Query, Value};
use crate::write_fence::Write;

/// The live queries of one collection of a data source.
///
/// The source hands over every change by [`apply`](Self::apply), and reads documents when it is
/// given a [`Load`]. The multiplexer does no IO, and locks only for as long as a change takes.
pub struct Multiplexer<R> {
    collection: CollectionName,
    state: Mutex<State<R>>,
}

/// How a data source evaluates a query.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The predicate, with constants in the form in which [`Row::value`] answers.
    pub predicate: Predicate,
    /// Whether the predicate, evaluated on a row here, always says what the source itself would
    /// say. If not, the query reads again after every change of the collection.
    pub exact: bool,
    /// An equality that the predicate demands, to route changes by.
    pub keys: Option<(FieldName, Vec<Value>)>,
}

/// The source is to read the documents of a query and to hand them to
/// [`Multiplexer::finish_load`], or the reason why it can't to [`Multiplexer::fail_load`]. It must
/// begin to read only after it was given this.
#[derive(Debug)]
#[must_use]
pub struct Load {
    pub(super) slot: usize,
    pub(super) generation: u64,
    /// The query.
    pub query: Query,
    /// The query as the source planned it.
    pub plan: Plan,
}

/// The answer to [`Multiplexer::observe`].
#[derive(Debug)]
pub struct Joined {
    /// Keeps the observer subscribed.
    pub observation: Observation,
    /// If there, the source must carry it out.
    pub load: Option<Load>,
    /// Done when the observer has been given its first documents.
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
        let mut state = self.state.lock();
        let key = state.next_key();
        let (slot, load) = match state.by_query.get(query) {
            Some(&slot) => (slot, None),
            None => state.begin(query, plan),
        };
        let (sender, ready) = oneshot::channel();
        if let Some(live) = &mut state.slots[slot] {
            live.joining.push((key, observer, sender));
            if matches!(live.phase, Phase::Live) {
                live.welcome(&self.collection);
            }
        }
        drop(state);
        let guard = Guard { multiplexer: Arc::clone(self), slot, key };
        Joined { observation: Observation::new(guard), load, ready }
    }

    /// Takes note of a transaction's changes. The loads that this makes necessary are the answer.
    #[must_use]
    pub fn apply(&self, batch: Batch<R>) -> Vec<Load> {
        let mut state = self.state.lock();
        let batch = Arc::new(batch);
        for slot in state.loading.clone() {
            if let Some(loading) = state.loading(slot) {
                loading.remember(&batch);
            }
        }
        if batch.requery {
            return (0..state.slots.len()).filter_map(|slot| state.reload_if_live(slot)).collect();
        }
        if !batch.truncated && batch.changes.is_empty() {
            return Vec::new();
        }
        let inexact = state.inexact.clone();
        let loads = inexact.into_iter().filter_map(|slot| state.reload_if_live(slot)).collect();
        state.apply_to_live(&self.collection, &batch);
        loads
    }

    /// Makes every live query read again, since changes may have been missed. Loads that are under
    /// way are void.
    #[must_use]
    pub fn reload_all(&self) -> Vec<Load> {
        let mut state = self.state.lock();
        (0..state.slots.len()).filter_map(|slot| state.reload(slot)).collect()
    }

    /// Plans every live query anew and makes it read again, since the shape of the collection has
    /// changed. Loads that are under way are void. Queries that cannot be planned any more end with
    /// the error. To be called while no batch is applied.
    #[must_use]
    pub fn replan(&self, plan: impl Fn(&Query) -> Result<Plan, DdpError>) -> Vec<Load> {
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
        drop(state);
        for (load, error) in failed {
            self.fail_load(&load, &error);
        }
        loads
    }

    /// Ends a load. `documents` is all that the query gives at a point of which `has_seen` tells
    /// which transactions it includes. Observers are sent the difference. If what happened meanwhile
    /// can't be told from the changes, the answer is another load; there is progress even if
    /// something happens during each.
    #[must_use]
    pub fn finish_load(
        &self,
        load: Load,
        documents: BTreeMap<DocumentId, Arc<Document>>,
        has_seen: impl Fn(u64) -> bool,
    ) -> Option<Load> {
        let mut state = self.state.lock();
        let mut loading = state.take_loading(&load)?;
        let unseen = || loading.buffer.iter().filter(|batch| !has_seen(batch.transaction));
        let inexact = !load.plan.exact && unseen().next().is_some();
        let must_repeat = loading.must_repeat || inexact || unseen().any(|batch| batch.requery);
        let mut documents = documents;
        for batch in unseen() {
            fold(&mut documents, &load, batch);
        }
        state.publish_load(&self.collection, load.slot, documents);
        let repeat = must_repeat.then(|| state.reload(load.slot)).flatten();
        if let Some(repeat) = &repeat
            && let Some(next) = state.loading(repeat.slot)
        {
            next.inherited = std::mem::take(&mut loading.writes);
        }
        // The writes that this load has seen are released last, when all has been handed over.
        drop(state);
        drop(loading);
        repeat
    }

    /// Ends a load that the source refuses for good. Its subscriptions end with the error.
    pub fn fail_load(&self, load: &Load, error: &DdpError) {
        let mut state = self.state.lock();
        let Some(loading) = state.take_loading(load) else { return };
        let (observers, joining) = match &mut state.slots[load.slot] {
            Some(live) => (live.observers.clone(), std::mem::take(&mut live.joining)),
            None => Default::default(),
        };
        state.end(load.slot);
        drop(state);
        drop(loading);
        for (_, observer) in observers {
            observer.fail(error.clone());
        }
        for (_, _, sender) in joining {
            // A subscriber that has gone meanwhile needs no answer.
            let _ = sender.send(Err(error.clone()));
        }
    }

    /// Keeps a write from being complete until the queries that are reading again, for which it may
    /// be in the buffer, have sent it.
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
    pub fn wants(&self, load: &Load) -> bool {
        let mut state = self.state.lock();
        state.loading(load.slot).is_some_and(|loading| loading.generation == load.generation)
    }

    /// Whether nobody observes anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state.lock().by_query.is_empty()
    }

    fn leave(&self, slot: usize, key: u64) {
        let mut state = self.state.lock();
        let mut writes = None;
        if let Some(live) = &mut state.slots[slot] {
            let before = live.observers.len() + live.joining.len();
            live.observers.retain(|(other, _)| *other != key);
            live.joining.retain(|(other, ..)| *other != key);
            let after = live.observers.len() + live.joining.len();
            if before > after && after == 0 {
                writes = state.end(slot);
            }
        }
        drop(state);
        drop(writes);
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
