//! One observer of the data source for all live queries of a collection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use ddp_core::{CollectionName, DdpError, Delta, Document, DocumentId, FieldName, Snapshot};
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::{Batch, Change, Observation, Observer, Row};
use crate::live_query::router::Router;
use crate::query::{Predicate, Query, Truth, Value};
use crate::write_fence::Write;

/// How many changes a live query remembers while its documents are being read. With more, it reads
/// again instead.
const BUFFERED_CHANGES_MAX: usize = 10_000;

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
    slot: usize,
    generation: u64,
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

struct State<R> {
    slots: Vec<Option<LiveQuery<R>>>,
    free: Vec<usize>,
    by_query: HashMap<Query, usize>,
    router: Router,
    /// Queries that are not exact.
    inexact: Vec<usize>,
    /// Queries that are reading.
    loading: BTreeSet<usize>,
    /// The live queries that show each document.
    holders: HashMap<DocumentId, Vec<usize>>,
    last_key: u64,
}

struct LiveQuery<R> {
    query: Query,
    plan: Plan,
    phase: Phase<R>,
    snapshot: Snapshot,
    /// The step from nothing to the snapshot, while it is current and somebody asked for it.
    initial: Option<Arc<Delta>>,
    observers: Vec<(u64, Observer)>,
    /// Observers that have not been given anything yet.
    joining: Vec<(u64, Observer, Ready)>,
}

/// Tells a subscriber that it has been given its first documents, or why it never will.
type Ready = oneshot::Sender<Result<(), DdpError>>;

enum Phase<R> {
    Live,
    Loading(Loading<R>),
}

struct Loading<R> {
    generation: u64,
    /// What happened since the load began.
    buffer: Vec<Arc<Batch<R>>>,
    buffered_changes: usize,
    /// What happened can't be made up for by the buffer.
    must_repeat: bool,
    /// Writes that are in the buffer and wait to be sent.
    writes: Vec<Arc<Write>>,
}

impl<R: Row> Multiplexer<R> {
    /// A collection without live queries.
    #[must_use]
    pub fn new(collection: impl Into<CollectionName>) -> Arc<Self> {
        let state = State {
            slots: Vec::new(),
            free: Vec::new(),
            by_query: HashMap::new(),
            router: Router::default(),
            inexact: Vec::new(),
            loading: BTreeSet::new(),
            holders: HashMap::new(),
            last_key: 0,
        };
        Arc::new(Self { collection: collection.into(), state: Mutex::new(state) })
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

    /// Ends a load. `documents` is all that the query gives at a point of which `has_seen` tells
    /// which transactions it includes. If too much happened meanwhile, the answer is a load to be
    /// carried out again.
    #[must_use]
    pub fn finish_load(
        &self,
        load: Load,
        documents: BTreeMap<DocumentId, Arc<Document>>,
        has_seen: impl Fn(u64) -> bool,
    ) -> Option<Load> {
        let mut state = self.state.lock();
        let loading = state.take_loading(&load)?;
        let unseen = || loading.buffer.iter().filter(|batch| !has_seen(batch.transaction));
        let inexact = !load.plan.exact && unseen().next().is_some();
        if loading.must_repeat || inexact || unseen().any(|batch| batch.requery) {
            let writes = loading.writes;
            let load = state.reload(load.slot);
            if let Some(load) = &load
                && let Some(loading) = state.loading(load.slot)
            {
                loading.writes = writes;
            }
            return load;
        }
        let mut documents = documents;
        for batch in unseen() {
            fold(&mut documents, &load, batch);
        }
        state.publish_load(&self.collection, load.slot, documents);
        // The writes that waited for this load are released last, when all has been handed over.
        drop(state);
        drop(loading);
        None
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

impl<R: Row> State<R> {
    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    fn begin(&mut self, query: &Query, plan: Plan) -> (usize, Option<Load>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_query.insert(query.clone(), slot);
        if plan.exact {
            self.router.insert(slot, plan.keys.as_ref());
        } else {
            self.inexact.push(slot);
        }
        self.slots[slot] = Some(LiveQuery {
            query: query.clone(),
            plan,
            phase: Phase::Live,
            snapshot: Snapshot::default(),
            initial: None,
            observers: Vec::new(),
            joining: Vec::new(),
        });
        (slot, self.reload(slot))
    }

    /// Forgets a live query. The writes that waited for it are the answer: they must be dropped
    /// outside the lock.
    fn end(&mut self, slot: usize) -> Option<Vec<Arc<Write>>> {
        let live = self.slots[slot].take()?;
        self.free.push(slot);
        self.by_query.remove(&live.query);
        self.inexact.retain(|other| *other != slot);
        self.loading.remove(&slot);
        if live.plan.exact {
            self.router.remove(slot, live.plan.keys.as_ref());
        }
        for (id, _) in live.snapshot.iter() {
            release(&mut self.holders, id, slot);
        }
        match live.phase {
            Phase::Live => None,
            Phase::Loading(loading) => Some(loading.writes),
        }
    }

    /// Makes a query read (again); an earlier load of it is void.
    fn reload(&mut self, slot: usize) -> Option<Load> {
        let generation = self.next_key();
        let live = self.slots[slot].as_mut()?;
        let writes = match &mut live.phase {
            Phase::Live => Vec::new(),
            Phase::Loading(loading) => std::mem::take(&mut loading.writes),
        };
        live.phase = Phase::Loading(Loading {
            generation,
            buffer: Vec::new(),
            buffered_changes: 0,
            must_repeat: false,
            writes,
        });
        self.loading.insert(slot);
        Some(Load { slot, generation, query: live.query.clone(), plan: live.plan.clone() })
    }

    fn reload_if_live(&mut self, slot: usize) -> Option<Load> {
        if self.loading.contains(&slot) { None } else { self.reload(slot) }
    }

    fn loading(&mut self, slot: usize) -> Option<&mut Loading<R>> {
        match &mut self.slots.get_mut(slot)?.as_mut()?.phase {
            Phase::Loading(loading) => Some(loading),
            Phase::Live => None,
        }
    }

    /// Makes the query live if this load of it still counts.
    fn take_loading(&mut self, load: &Load) -> Option<Loading<R>> {
        let live = self.slots.get_mut(load.slot)?.as_mut()?;
        match std::mem::replace(&mut live.phase, Phase::Live) {
            Phase::Loading(loading) if loading.generation == load.generation => {
                self.loading.remove(&load.slot);
                Some(loading)
            }
            other => {
                live.phase = other;
                None
            }
        }
    }

    /// Gives a query the documents that were read, and its observers the difference.
    fn publish_load(
        &mut self,
        collection: &CollectionName,
        slot: usize,
        documents: BTreeMap<DocumentId, Arc<Document>>,
    ) {
        let Self { slots, holders, .. } = self;
        let Some(live) = &mut slots[slot] else { return };
        if let Some(delta) = live.snapshot.replace(collection, documents) {
            live.publish(slot, &delta, holders);
        }
        live.welcome(collection);
    }

    /// Brings the live queries that a batch concerns to their next snapshots.
    fn apply_to_live(&mut self, collection: &CollectionName, batch: &Batch<R>) {
        let mut steps: BTreeMap<usize, BTreeMap<DocumentId, Option<Arc<Document>>>> =
            BTreeMap::new();
        if batch.truncated {
            for (id, slots) in &self.holders {
                for slot in slots {
                    steps.entry(*slot).or_default().insert(id.clone(), None);
                }
            }
        }
        for change in &batch.changes {
            self.route(change, &mut steps);
        }
        let Self { slots, holders, .. } = self;
        for (slot, step) in steps {
            let Some(live) = &mut slots[slot] else { continue };
            if matches!(live.phase, Phase::Live)
                && let Some(delta) = live.snapshot.advance(collection, step)
            {
                live.publish(slot, &delta, holders);
            }
        }
    }

    /// Adds to each query's step what a change means to it.
    fn route(
        &self,
        change: &Change<R>,
        steps: &mut BTreeMap<usize, BTreeMap<DocumentId, Option<Arc<Document>>>>,
    ) {
        for slot in self.holders.get(&change.id).into_iter().flatten() {
            steps.entry(*slot).or_default().insert(change.id.clone(), None);
        }
        let Some(row) = &change.row else { return };
        let mut made: Vec<(Option<&[FieldName]>, Arc<Document>)> = Vec::new();
        for slot in self.router.candidates(row) {
            let Some(live) = &self.slots[slot] else { continue };
            if live.plan.predicate.evaluate(&|field| row.value(field)) != Truth::True {
                continue;
            }
            let fields = live.query.fields.as_deref();
            let document = made.iter().find(|(other, _)| *other == fields);
            let document = match document {
                Some((_, document)) => Arc::clone(document),
                None => {
                    let document = row.document(fields);
                    made.push((fields, Arc::clone(&document)));
                    document
                }
            };
            steps.entry(slot).or_default().insert(change.id.clone(), Some(document));
        }
    }
}

impl<R> LiveQuery<R> {
    fn publish(
        &mut self,
        slot: usize,
        delta: &Arc<Delta>,
        holders: &mut HashMap<DocumentId, Vec<usize>>,
    ) {
        self.initial = None;
        for change in delta.changes() {
            match (&change.before, &change.after) {
                (None, Some(_)) => holders.entry(change.id.clone()).or_default().push(slot),
                (Some(_), None) => release(holders, &change.id, slot),
                _ => {}
            }
        }
        for (_, observer) in &self.observers {
            observer.handle_delta(delta);
        }
    }

    /// Gives the observers that are joining all documents.
    fn welcome(&mut self, collection: &CollectionName) {
        if self.joining.is_empty() {
            return;
        }
        let initial = self.initial.get_or_insert_with(|| self.snapshot.initial(collection));
        for (key, observer, sender) in self.joining.drain(..) {
            observer.handle_delta(initial);
            self.observers.push((key, observer));
            // A subscriber that has gone meanwhile needs no answer.
            let _ = sender.send(Ok(()));
        }
    }
}

impl<R> Loading<R> {
    fn remember(&mut self, batch: &Arc<Batch<R>>) {
        self.buffered_changes += batch.changes.len() + 1;
        if self.buffered_changes > BUFFERED_CHANGES_MAX {
            self.must_repeat = true;
            self.buffer = Vec::new();
        } else {
            self.buffer.push(Arc::clone(batch));
        }
    }
}

/// Brings documents that were read up to a batch that they do not include.
fn fold<R: Row>(
    documents: &mut BTreeMap<DocumentId, Arc<Document>>,
    load: &Load,
    batch: &Batch<R>,
) {
    if batch.truncated {
        documents.clear();
    }
    for Change { id, row } in &batch.changes {
        let wanted = row
            .as_ref()
            .filter(|row| load.plan.predicate.evaluate(&|field| row.value(field)) == Truth::True);
        match wanted {
            Some(row) => {
                documents.insert(id.clone(), row.document(load.query.fields.as_deref()));
            }
            None => {
                documents.remove(id);
            }
        }
    }
}

fn release(holders: &mut HashMap<DocumentId, Vec<usize>>, id: &DocumentId, slot: usize) {
    if let Some(slots) = holders.get_mut(id) {
        slots.retain(|other| *other != slot);
        if slots.is_empty() {
            holders.remove(id);
        }
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
