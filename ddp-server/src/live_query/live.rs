//! The live queries of one collection: the state of a [`Multiplexer`](super::Multiplexer).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ddp_core::{CollectionName, Delta, Document, DocumentId, LiveQueryKey, Snapshot};

use super::batch::Row;
use super::deliveries::{Deliveries, Observers, Ready, Welcomed};
use super::loading::Loading;
use super::observer::Observer;
use super::plan::{PendingRead, Plan};
use super::router::Router;
use super::window::Window;
use crate::query::Query;
use crate::write_fence::Write;

static LAST_QUERY: AtomicU64 = AtomicU64::new(1);

/// A collection's live queries, and an index to find those that a change concerns.
pub(super) struct State<R> {
    pub(super) slots: Vec<Option<LiveQuery<R>>>,
    pub(super) free: Vec<usize>,
    pub(super) by_query: HashMap<Query, usize>,
    pub(super) router: Router,
    /// Queries that are reading.
    pub(super) loading: BTreeSet<usize>,
    /// Those of them that were behind the others and have not caught up. Until then, finished loads
    /// wait, and are published together.
    pub(super) catching_up: BTreeSet<usize>,
    /// How often in a row they were interrupted by a gap.
    pub(super) gaps: u32,
    /// How often in a row something happened during a read that must be read.
    pub(super) requeries: u32,
    /// Queries whose loads wait.
    pub(super) parked: BTreeSet<usize>,
    /// The live queries that hold each document.
    pub(super) holders: Holders,
    pub(super) last_key: u64,
}

pub(super) struct LiveQuery<R> {
    pub(super) key: LiveQueryKey,
    pub(super) query: Query,
    pub(super) plan: Plan,
    pub(super) phase: Phase<R>,
    /// What the observers are shown.
    pub(super) snapshot: Snapshot,
    /// What is held in addition, for a query with `skip` or `limit` that has been read.
    pub(super) window: Option<Window>,
    /// The step from nothing to the snapshot, while it is current and has been requested.
    pub(super) initial: Option<Arc<Delta>>,
    pub(super) observers: Vec<(u64, Observer)>,
    /// Whether they are sorted by session.
    pub(super) is_sorted: bool,
    /// Observers that have not been given anything yet.
    pub(super) joining: Vec<(u64, Observer, Ready)>,
}

pub(super) enum Phase<R> {
    Live,
    Loading(Box<Loading<R>>),
}

impl<R: Row> State<R> {
    /// Without live queries.
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_query: HashMap::new(),
            router: Router::default(),
            loading: BTreeSet::new(),
            catching_up: BTreeSet::new(),
            gaps: 0,
            requeries: 0,
            parked: BTreeSet::new(),
            holders: HashMap::new(),
            last_key: 0,
        }
    }

    /// Sends deliveries, and adds those who observe a query from now on.
    pub(super) fn send(&mut self, deliveries: Deliveries) {
        for Welcomed { slot, key, observer, ready, .. } in deliveries.send(self) {
            if let Some(live) = &mut self.slots[slot] {
                live.observers.push((key, observer));
                live.is_sorted = false;
            }
            // A subscriber that has left needs no answer.
            let _ = ready.send(Ok(()));
        }
    }

    pub(super) fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    pub(super) fn begin(&mut self, query: &Query, plan: Plan) -> (usize, Option<PendingRead>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_query.insert(query.clone(), slot);
        self.router.insert(slot, plan.keys.as_ref());
        // Unlike those of observers, keys of queries are unique in the process: a session may show
        // queries of several sources.
        let key = LAST_QUERY.fetch_add(1, Ordering::Relaxed).into();
        self.slots[slot] = Some(LiveQuery {
            key,
            query: query.clone(),
            plan,
            phase: Phase::Live,
            snapshot: Snapshot::default(),
            window: None,
            initial: None,
            observers: Vec::new(),
            is_sorted: true,
            joining: Vec::new(),
        });
        (slot, self.reload(slot))
    }

    /// Gives a live query another plan, after which it must read again.
    pub(super) fn set_plan(&mut self, slot: usize, plan: Plan) {
        let Some(live) = &mut self.slots[slot] else { return };
        self.router.remove(slot, live.plan.keys.as_ref());
        self.router.insert(slot, plan.keys.as_ref());
        live.plan = plan;
    }

    /// Forgets a live query. Returns the writes that were waiting for it: they must be dropped
    /// outside the lock.
    pub(super) fn end(&mut self, slot: usize) -> Option<Vec<Arc<Write>>> {
        let live = self.slots[slot].take()?;
        self.free.push(slot);
        self.by_query.remove(&live.query);
        for slots in [&mut self.loading, &mut self.catching_up, &mut self.parked] {
            slots.remove(&slot);
        }
        self.router.remove(slot, live.plan.keys.as_ref());
        live.release_all(slot, &mut self.holders);
        match live.phase {
            Phase::Live => None,
            Phase::Loading(loading) => Some(loading.into_writes()),
        }
    }

    /// Makes a query read (again); an earlier load of it is void.
    pub(super) fn reload(&mut self, slot: usize) -> Option<PendingRead> {
        let generation = self.next_key();
        let live = self.slots[slot].as_mut()?;
        let inherited = match std::mem::replace(&mut live.phase, Phase::Live) {
            Phase::Live => Vec::new(),
            Phase::Loading(loading) => loading.into_writes(),
        };
        live.phase = Phase::Loading(Box::new(Loading {
            generation,
            buffer: Vec::new(),
            buffered_changes: 0,
            must_repeat: false,
            has_overflowed: false,
            overflows: 0,
            misses: 0,
            is_behind: false,
            parked: None,
            writes: Vec::new(),
            inherited,
        }));
        self.loading.insert(slot);
        self.parked.remove(&slot);
        Some(PendingRead { slot, generation, query: live.query.clone(), plan: live.plan.clone() })
    }

    pub(super) fn reload_if_live(&mut self, slot: usize) -> Option<PendingRead> {
        if self.loading.contains(&slot) { None } else { self.reload(slot) }
    }

    pub(super) fn loading(&mut self, slot: usize) -> Option<&mut Loading<R>> {
        match &mut self.slots.get_mut(slot)?.as_mut()?.phase {
            Phase::Loading(loading) => Some(loading),
            Phase::Live => None,
        }
    }

    /// Makes the query live if this load of it still counts.
    pub(super) fn take_loading(&mut self, load: &PendingRead) -> Option<Box<Loading<R>>> {
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
}

/// The live queries that hold each document, by their slots.
pub(super) type Holders = HashMap<DocumentId, Vec<usize>>;

impl<R> Observers for State<R> {
    fn key(&self, slot: usize) -> LiveQueryKey {
        // Deliveries are sent before a query can end.
        self.slots[slot].as_ref().map_or(0.into(), |live| live.key)
    }

    fn of(&self, slot: usize) -> &[(u64, Observer)] {
        self.slots[slot].as_ref().map_or(&[], |live| &live.observers)
    }
}

impl<R> LiveQuery<R> {
    /// The document that the query holds, shown or not.
    pub(super) fn held(&self, id: &DocumentId) -> Option<&Arc<Document>> {
        match &self.window {
            Some(window) => window.get(id),
            None => self.snapshot.get(id),
        }
    }

    pub(super) fn release_all(&self, slot: usize, holders: &mut Holders) {
        match &self.window {
            Some(window) => window.ids().for_each(|id| release(holders, id, slot)),
            None => self.snapshot.iter().for_each(|(id, _)| release(holders, id, slot)),
        }
    }

    pub(super) fn publish(
        &mut self,
        slot: usize,
        delta: &Arc<Delta>,
        holders: &mut Holders,
        deliveries: &mut Deliveries,
    ) {
        self.initial = None;
        // A window holds more than it shows.
        let changes = if self.window.is_some() { &[] } else { delta.changes() };
        for change in changes {
            match (&change.before, &change.after) {
                (None, Some(_)) => holders.entry(change.id.clone()).or_default().push(slot),
                (Some(_), None) => release(holders, &change.id, slot),
                _ => {}
            }
        }
        if !std::mem::replace(&mut self.is_sorted, true) {
            self.observers.sort_by_key(|(_, observer)| observer.address());
        }
        deliveries.step(slot, delta);
    }

    /// Gives all documents to the observers that are joining.
    pub(super) fn welcome(
        &mut self,
        slot: usize,
        collection: &CollectionName,
        deliveries: &mut Deliveries,
    ) {
        if self.joining.is_empty() {
            return;
        }
        let initial = self.initial.get_or_insert_with(|| self.snapshot.initial(collection));
        for (key, observer, ready) in self.joining.drain(..) {
            let initial = Arc::clone(initial);
            deliveries.welcome(Welcomed { slot, key, observer, initial, ready });
        }
    }
}

pub(super) fn release(holders: &mut Holders, id: &DocumentId, slot: usize) {
    if let Some(slots) = holders.get_mut(id) {
        slots.retain(|other| *other != slot);
        if slots.is_empty() {
            holders.remove(id);
        }
    }
}
