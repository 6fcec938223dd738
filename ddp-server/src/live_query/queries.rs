//! The state of a [`Multiplexer`](super::Multiplexer).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ddp_core::{CollectionName, DdpError, Delta, Document, DocumentId, FieldName, Snapshot};
use futures::channel::oneshot;

use super::catching_up::Parked;
use super::contents::judge;
use super::multiplexer::{Load, Plan};
use super::observer::{Deliveries, Welcomed};
use super::router::Router;
use super::window::Window;
use super::{Batch, Change, Observer, Row};
use crate::query::{Query, Truth};
use crate::write_fence::Write;

/// How many changes a live query remembers while its documents are being read. With more, it reads
/// again, and may remember four times as many.
const BUFFERED_CHANGES_MAX: usize = if cfg!(test) { 1_000 } else { 10_000 };

/// The live queries of one collection, and how to find those that a change concerns.
pub(super) struct State<R> {
    pub(super) slots: Vec<Option<LiveQuery<R>>>,
    pub(super) free: Vec<usize>,
    pub(super) by_query: HashMap<Query, usize>,
    pub(super) router: Router,
    /// Queries that are reading.
    pub(super) loading: BTreeSet<usize>,
    /// Those of them that were behind the others and have not caught up. Until they have, the loads
    /// that are done wait, and are published together.
    pub(super) catching_up: BTreeSet<usize>,
    /// How often in a row they were interrupted by a gap.
    pub(super) gaps: u32,
    /// How often in a row something happened meanwhile that must be read.
    pub(super) requeries: u32,
    /// Queries whose loads wait.
    pub(super) parked: BTreeSet<usize>,
    /// The live queries that hold each document.
    pub(super) holders: Holders,
    pub(super) last_key: u64,
}

pub(super) struct LiveQuery<R> {
    pub(super) query: Query,
    pub(super) plan: Plan,
    pub(super) phase: Phase<R>,
    /// What the observers are shown.
    pub(super) snapshot: Snapshot,
    /// What is held besides, of a query with `skip` or `limit` that has been read.
    pub(super) window: Option<Window>,
    /// The step from nothing to the snapshot, while it is current and somebody asked for it.
    pub(super) initial: Option<Arc<Delta>>,
    pub(super) observers: Vec<(u64, Observer)>,
    /// Whether they are in the order of their sessions.
    pub(super) is_sorted: bool,
    /// Observers that have not been given anything yet.
    pub(super) joining: Vec<(u64, Observer, Ready)>,
}

/// Tells a subscriber that it has been given its first documents, or why it never will.
pub(super) type Ready = oneshot::Sender<Result<(), DdpError>>;

pub(super) enum Phase<R> {
    Live,
    Loading(Box<Loading<R>>),
}

pub(super) struct Loading<R> {
    pub(super) generation: u64,
    /// What happened since the load began.
    pub(super) buffer: Vec<Arc<Batch<R>>>,
    pub(super) buffered_changes: usize,
    /// What happened can't be made up for by the buffer.
    pub(super) must_repeat: bool,
    /// More happened than the buffer takes.
    pub(super) has_overflowed: bool,
    /// How often that was so in a row.
    pub(super) overflows: u32,
    /// How often in a row something happened that must be read.
    pub(super) misses: u32,
    /// That is so because all queries missed it.
    pub(super) is_behind: bool,
    /// Writes that were over while this load was under way; it may or may not see them.
    pub(super) writes: Vec<Arc<Write>>,
    /// Writes that were over before this load began, so that it sees them.
    pub(super) inherited: Vec<Arc<Write>>,
    /// What was read, brought up to now, until it can be published.
    pub(super) parked: Option<Parked>,
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

    pub(super) fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    pub(super) fn begin(&mut self, query: &Query, plan: Plan) -> (usize, Option<Load>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_query.insert(query.clone(), slot);
        self.router.insert(slot, plan.keys.as_ref());
        self.slots[slot] = Some(LiveQuery {
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

    /// Gives a live query another plan. It has to read again.
    pub(super) fn set_plan(&mut self, slot: usize, plan: Plan) {
        let Some(live) = &mut self.slots[slot] else { return };
        self.router.remove(slot, live.plan.keys.as_ref());
        self.router.insert(slot, plan.keys.as_ref());
        live.plan = plan;
    }

    /// Forgets a live query. The writes that waited for it are the answer: they must be dropped
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
    pub(super) fn reload(&mut self, slot: usize) -> Option<Load> {
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
        Some(Load { slot, generation, query: live.query.clone(), plan: live.plan.clone() })
    }

    pub(super) fn reload_if_live(&mut self, slot: usize) -> Option<Load> {
        if self.loading.contains(&slot) { None } else { self.reload(slot) }
    }

    pub(super) fn loading(&mut self, slot: usize) -> Option<&mut Loading<R>> {
        match &mut self.slots.get_mut(slot)?.as_mut()?.phase {
            Phase::Loading(loading) => Some(loading),
            Phase::Live => None,
        }
    }

    /// Makes the query live if this load of it still counts.
    pub(super) fn take_loading(&mut self, load: &Load) -> Option<Box<Loading<R>>> {
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

    /// Brings the live queries that a batch concerns to their next snapshots. The answer is those
    /// that must read again, since only the source can tell what they give.
    pub(super) fn apply_to_live(
        &mut self,
        collection: &CollectionName,
        batch: &Batch<R>,
    ) -> BTreeSet<usize> {
        let mut unsure = BTreeSet::new();
        let mut steps: BTreeMap<usize, Step<'_, R>> = BTreeMap::new();
        if batch.truncated {
            for (id, slots) in &self.holders {
                for slot in slots {
                    steps.entry(*slot).or_default().insert(id.clone(), None);
                }
            }
        }
        for change in &batch.changes {
            self.route(change, &mut steps, &mut unsure);
        }
        let Self { slots, holders, .. } = self;
        let mut deliveries = Deliveries::default();
        for (slot, step) in steps {
            let Some(live) = &mut slots[slot] else { continue };
            // While a query reads again its observers go on seeing changes, so that no document
            // is older in one query than in another. Before its first read there is nothing to
            // change.
            let has_documents = matches!(live.phase, Phase::Live) || !live.observers.is_empty();
            if !has_documents {
                continue;
            }
            let delta = if live.window.is_some() {
                if !live.advance_window(slot, step, batch.truncated, holders) {
                    unsure.insert(slot);
                }
                let documents = live.window.as_ref().map(Window::shown).unwrap_or_default();
                live.snapshot.replace(collection, documents)
            } else {
                let step = step.into_iter().map(|(id, wanted)| (id, wanted.map(|(_, doc)| doc)));
                live.snapshot.advance(collection, step.collect())
            };
            if let Some(delta) = delta {
                live.publish(slot, &delta, holders, &mut deliveries);
            }
        }
        deliveries.send(slots);
        unsure
    }

    /// Adds to each query's step what a change means to it.
    fn route<'a>(
        &self,
        change: &'a Change<R>,
        steps: &mut BTreeMap<usize, Step<'a, R>>,
        unsure: &mut BTreeSet<usize>,
    ) {
        let mut documents = Projections { made: Vec::new() };
        let mut take = |slot: usize, before: Option<&Arc<Document>>, live: &'_ LiveQuery<R>| {
            let wanted = match &change.row {
                None => None,
                Some(row) => match judge(&live.plan, before, row) {
                    Truth::True => Some((row, documents.get(live.query.fields.as_ref(), row))),
                    Truth::False | Truth::Unknown => None,
                    // It is shown as it was: nobody knows whether it may be seen as it is.
                    Truth::Undecided => {
                        unsure.insert(slot);
                        return;
                    }
                },
            };
            if before.is_some() || wanted.is_some() {
                steps.entry(slot).or_default().insert(change.id.clone(), wanted);
            }
        };
        for slot in self.holders.get(&change.id).into_iter().flatten() {
            let Some(live) = &self.slots[*slot] else { continue };
            take(*slot, live.held(&change.id), live);
        }
        let Some(row) = &change.row else { return };
        for slot in self.router.candidates(row) {
            let Some(live) = &self.slots[slot] else { continue };
            if live.held(&change.id).is_none() {
                take(slot, None, live);
            }
        }
    }
}

/// What a batch means to a live query: the rows that it wants, with their documents, and `None` for
/// those that it does not.
type Step<'a, R> = BTreeMap<DocumentId, Option<(&'a R, Arc<Document>)>>;

/// The documents that a row becomes, one for each projection.
type Fields = Option<Arc<[FieldName]>>;

struct Projections {
    made: Vec<(Fields, Arc<Document>)>,
}

impl Projections {
    fn get<R: Row>(&mut self, fields: Option<&Arc<[FieldName]>>, row: &R) -> Arc<Document> {
        if let Some((_, document)) = self.made.iter().find(|(other, _)| other.as_ref() == fields) {
            return Arc::clone(document);
        }
        let document = row.document(fields.map(|fields| &**fields));
        self.made.push((fields.cloned(), Arc::clone(&document)));
        document
    }
}

impl<R: Row> LiveQuery<R> {
    /// Takes a step of a query with `skip` or `limit`. False if only the source can tell what is
    /// within them now.
    fn advance_window(
        &mut self,
        slot: usize,
        step: Step<'_, R>,
        truncated: bool,
        holders: &mut Holders,
    ) -> bool {
        let Some(window) = &mut self.window else { return false };
        if truncated {
            for id in window.ids() {
                release(holders, id, slot);
            }
            window.clear();
        }
        let mut is_certain = true;
        for (id, wanted) in step {
            let was_held = window.get(&id).is_some();
            match wanted {
                Some((row, document)) => is_certain &= window.insert(&id, row, &document),
                None => window.remove(&id),
            }
            match (was_held, window.get(&id).is_some()) {
                (false, true) => holders.entry(id).or_default().push(slot),
                (true, false) => release(holders, &id, slot),
                _ => {}
            }
        }
        for id in window.trim() {
            release(holders, &id, slot);
        }
        is_certain && !window.is_short()
    }
}

type Holders = HashMap<DocumentId, Vec<usize>>;

impl<R> LiveQuery<R> {
    /// The document that the query holds, shown or not.
    fn held(&self, id: &DocumentId) -> Option<&Arc<Document>> {
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
        // Of a window more is held than shown.
        let changes = if self.window.is_some() { &[] } else { delta.changes() };
        for change in changes {
            match (&change.before, &change.after) {
                (None, Some(_)) => holders.entry(change.id.clone()).or_default().push(slot),
                (Some(_), None) => release(holders, &change.id, slot),
                _ => {}
            }
        }
        if !std::mem::replace(&mut self.is_sorted, true) {
            self.observers.sort_by_key(|(_, observer)| observer.session());
        }
        deliveries.step(slot, delta);
    }

    /// Gives the observers that are joining all documents.
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

impl<R: Row> Loading<R> {
    fn into_writes(self) -> Vec<Arc<Write>> {
        let mut writes = self.inherited;
        writes.extend(self.writes);
        writes
    }

    pub(super) fn remember(&mut self, batch: &Arc<Batch<R>>) {
        if let Some(parked) = &mut self.parked {
            self.is_behind |= batch.requery;
            self.must_repeat |= !parked.contents.fold(&parked.load, batch);
            return;
        }
        self.buffered_changes += batch.changes.len() + 1;
        if self.buffered_changes > BUFFERED_CHANGES_MAX << (2 * self.overflows) {
            self.must_repeat = true;
            self.has_overflowed = true;
            self.buffer = Vec::new();
        } else {
            self.buffer.push(Arc::clone(batch));
        }
    }
}

fn release(holders: &mut Holders, id: &DocumentId, slot: usize) {
    if let Some(slots) = holders.get_mut(id) {
        slots.retain(|other| *other != slot);
        if slots.is_empty() {
            holders.remove(id);
        }
    }
}
