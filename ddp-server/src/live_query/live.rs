//! The live queries of one collection: the state of a [`Multiplexer`](super::Multiplexer).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ddp_core::{
    CollectionName, DdpError, Delta, Document, DocumentId, FieldName, LiveQueryKey, Snapshot,
};

use super::backlog::Backlog;
use super::batch::Row;
use super::deliveries::{Deliveries, Observers, Ready, Welcomed};
use super::holders::{Holders, Members};
use super::loading::{Loading, Stage};
use super::observer::Observer;
use super::owed::Owed;
use super::plan::{PendingRead, Plan};
use super::queue::{Queue, Waiting, shape};
use super::router::Router;
use super::window::Window;
use crate::query::Query;

static LAST_QUERY: AtomicU64 = AtomicU64::new(1);

/// A collection's live queries, and an index to find those that a change concerns.
pub(super) struct State<R> {
    pub(super) slots: Vec<Option<LiveQuery>>,
    pub(super) free: Vec<usize>,
    pub(super) by_query: HashMap<Arc<Query>, usize>,
    pub(super) router: Router,
    /// Queries that wait to be read.
    pub(super) queue: Queue,
    /// What has happened since the reads in progress began.
    pub(super) backlog: Backlog<R>,
    /// The writes that wait for queries to be read.
    pub(super) owed: Owed,
    /// How many queries are not live for now.
    pub(super) unfinished: usize,
    /// Those of them that were behind the others and have not caught up. Until then, what others
    /// have read waits if it shows a difference, and is published together.
    pub(super) catching_up: BTreeSet<usize>,
    /// Whether they were interrupted too often: each is published as soon as it has been read.
    pub(super) is_apart: bool,
    /// How often in a row they were interrupted by a gap.
    pub(super) gaps: u32,
    /// How often in a row something happened during a read that must be read.
    pub(super) requeries: u32,
    /// Queries that have been read and wait.
    pub(super) parked: BTreeSet<usize>,
    pub(super) holders: Holders,
    /// For [`concerned`](Self::concerned), and all zero otherwise.
    pub(super) marks: Vec<u32>,
    pub(super) last_key: u64,
    /// How many tasks read.
    pub(super) readers: usize,
}

pub(super) struct LiveQuery {
    pub(super) key: LiveQueryKey,
    pub(super) query: Arc<Query>,
    pub(super) plan: Arc<Plan>,
    /// See [`Waiting::shape`].
    shape: u64,
    pub(super) phase: Phase,
    /// What the observers are shown.
    pub(super) snapshot: Snapshot,
    /// The ids of the documents, for a query without `skip` and `limit`.
    pub(super) members: Members,
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

pub(super) enum Phase {
    Live,
    Loading(Box<Loading>),
}

impl<R: Row> State<R> {
    /// Without live queries.
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_query: HashMap::new(),
            router: Router::default(),
            queue: Queue::default(),
            backlog: Backlog::new(),
            owed: Owed::default(),
            unfinished: 0,
            catching_up: BTreeSet::new(),
            is_apart: false,
            gaps: 0,
            requeries: 0,
            parked: BTreeSet::new(),
            holders: Holders::default(),
            marks: Vec::new(),
            last_key: 0,
            readers: 0,
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

    /// A new query, which waits to be read. Returns its slot.
    pub(super) fn begin(&mut self, query: &Query, plan: Plan) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let query = Arc::new(query.clone());
        self.by_query.insert(Arc::clone(&query), slot);
        self.router.insert(slot, plan.keys.as_ref());
        // Unlike those of observers, keys of queries are unique in the process: a session may show
        // queries of several sources.
        let key = LAST_QUERY.fetch_add(1, Ordering::Relaxed).into();
        self.slots[slot] = Some(LiveQuery {
            key,
            shape: shape(&query, &plan),
            query,
            plan: Arc::new(plan),
            phase: Phase::Live,
            snapshot: Snapshot::default(),
            members: Members::default(),
            window: None,
            initial: None,
            observers: Vec::new(),
            is_sorted: true,
            joining: Vec::new(),
        });
        self.reload(slot);
        slot
    }

    /// Gives a live query another plan, after which it must be read again.
    pub(super) fn set_plan(&mut self, slot: usize, plan: Plan) {
        let waiting = self.waiting(slot);
        let Some(live) = &mut self.slots[slot] else { return };
        self.router.remove(slot, live.plan.keys.as_ref());
        self.router.insert(slot, plan.keys.as_ref());
        live.shape = shape(&live.query, &plan);
        live.plan = Arc::new(plan);
        if let Some(waiting) = waiting {
            self.queue.remove(waiting);
            self.queue.insert(Waiting { shape: live.shape, ..waiting });
        }
    }

    /// Forgets a live query.
    pub(super) fn end(&mut self, slot: usize) {
        self.leave_stage(slot);
        let Some(live) = self.slots[slot].take() else { return };
        self.free.push(slot);
        self.by_query.remove(&live.query);
        self.catching_up.remove(&slot);
        self.router.remove(slot, live.plan.keys.as_ref());
        live.release_all(slot, &mut self.holders);
        self.bequeath(slot, &live);
        if let Phase::Loading(loading) = live.phase {
            self.unfinished -= 1;
            if let Some(since) = loading.owes {
                self.owed.pay(since);
            }
        }
    }

    /// The documents of a query that holds these and shows these fields, if there is one.
    pub(super) fn alike(
        &self,
        members: Members,
        fields: Option<&[FieldName]>,
    ) -> Option<&Snapshot> {
        let live = self.slots[self.holders.like(members, fields)?].as_ref()?;
        let is_alike = live.members == members && live.query.fields.as_deref() == fields;
        is_alike.then_some(&live.snapshot)
    }

    /// Has a query share its documents with one that holds the same, so that they can share steps.
    pub(super) fn share(&mut self, slot: usize) {
        let Some(live) = self.slots[slot].as_ref().filter(|live| live.window.is_none()) else {
            return;
        };
        let fields = live.query.fields.clone();
        let other = self.alike(live.members, fields.as_deref()).cloned();
        let Some(live) = &mut self.slots[slot] else { return };
        if !other.is_some_and(|other| live.snapshot.share(&other)) {
            self.holders.set_like(live.members, fields.as_deref(), slot);
        }
    }

    /// A query that has ended can no longer be found by its documents, but another that holds them can.
    fn bequeath(&mut self, slot: usize, ended: &LiveQuery) {
        let fields = ended.query.fields.as_deref();
        if !self.holders.forget_like(ended.members, fields, slot) {
            return;
        }
        let Some((id, _)) = ended.snapshot.iter().next() else { return };
        let is_heir = |heir: &&usize| {
            self.slots[**heir].as_ref().is_some_and(|heir| {
                heir.members == ended.members && heir.query.fields.as_deref() == fields
            })
        };
        if let Some(&heir) = self.holders.of(id).iter().find(is_heir) {
            self.holders.set_like(ended.members, fields, heir);
        }
    }

    /// Ends a query for good. Whom to tell is told when nothing is locked.
    pub(super) fn fail(&mut self, slot: usize, error: &DdpError) -> Option<Ended> {
        let live = self.slots[slot].as_mut()?;
        let (observers, joining) = (live.observers.clone(), std::mem::take(&mut live.joining));
        self.end(slot);
        Some(Ended { observers, joining, error: error.clone() })
    }

    /// Makes a query wait to be read (again); a read of it that has begun is void. False if there is
    /// no such query.
    pub(super) fn reload(&mut self, slot: usize) -> bool {
        if self.waiting(slot).is_some() {
            return true;
        }
        self.leave_stage(slot);
        let generation = self.next_key();
        let Some(live) = &mut self.slots[slot] else { return false };
        let is_first = !live.joining.is_empty() || live.observers.is_empty();
        let owes = match &live.phase {
            Phase::Loading(loading) => loading.owes,
            Phase::Live => {
                self.unfinished += 1;
                let owes = (!live.observers.is_empty()).then(|| self.owed.next());
                owes.inspect(|since| self.owed.owe(*since))
            }
        };
        let stage = Stage::Waiting { is_first };
        let loading = Loading { generation, stage, overflows: 0, misses: 0, owes };
        live.phase = Phase::Loading(Box::new(loading));
        self.queue.insert(Waiting { shape: live.shape, order: generation, slot, is_first });
        true
    }

    pub(super) fn is_live(&self, slot: usize) -> bool {
        let live = self.slots[slot].as_ref();
        live.is_some_and(|live| matches!(live.phase, Phase::Live))
    }

    pub(super) fn loading(&mut self, slot: usize) -> Option<&mut Loading> {
        match &mut self.slots.get_mut(slot)?.as_mut()?.phase {
            Phase::Loading(loading) => Some(loading),
            Phase::Live => None,
        }
    }

    /// A query's entry in the queue, if it waits there.
    fn waiting(&self, slot: usize) -> Option<Waiting> {
        let live = self.slots.get(slot)?.as_ref()?;
        let Phase::Loading(loading) = &live.phase else { return None };
        let Stage::Waiting { is_first } = loading.stage else { return None };
        Some(Waiting { shape: live.shape, order: loading.generation, slot, is_first })
    }

    /// Somebody waits for the first documents of a query: if it waits to be read, it comes first.
    pub(super) fn hurry(&mut self, slot: usize) {
        let Some(waiting) = self.waiting(slot).filter(|waiting| !waiting.is_first) else { return };
        self.queue.remove(waiting);
        self.queue.insert(Waiting { is_first: true, ..waiting });
        if let Some(loading) = self.loading(slot) {
            loading.stage = Stage::Waiting { is_first: true };
        }
    }

    /// Nothing is kept any more for the stage in which a query is.
    fn leave_stage(&mut self, slot: usize) {
        if let Some(waiting) = self.waiting(slot) {
            return self.queue.remove(waiting);
        }
        self.parked.remove(&slot);
        let place = match self.loading(slot).map(|loading| &loading.stage) {
            Some(Stage::Reading { place, .. }) => *place,
            Some(Stage::Read(reading)) => reading.place,
            Some(Stage::Waiting { .. }) | None => return,
        };
        self.backlog.leave(place);
    }

    /// Begins to read a group of the queries that wait.
    pub(super) fn begin_reads(&mut self, max: usize) -> Vec<PendingRead> {
        let mut reads = Vec::new();
        for slot in self.queue.take(max) {
            let Some(live) = &mut self.slots[slot] else { continue };
            let Phase::Loading(loading) = &mut live.phase else { continue };
            let place = self.backlog.enter(loading.overflows, loading.is_last_try());
            loading.stage = Stage::Reading { place, unseen_writes: self.owed.next() };
            let (query, plan) = (Arc::clone(&live.query), Arc::clone(&live.plan));
            reads.push(PendingRead { slot, generation: loading.generation, query, plan });
        }
        reads
    }

    /// Whether a read that has begun still counts.
    pub(super) fn wants(&mut self, read: &PendingRead) -> bool {
        self.loading(read.slot).is_some_and(|loading| {
            loading.generation == read.generation && matches!(loading.stage, Stage::Reading { .. })
        })
    }

    /// A read that has begun was given up: the query waits again.
    pub(super) fn put_back(&mut self, read: &PendingRead) {
        if !self.wants(read) {
            return;
        }
        let counts = self.loading(read.slot).map(|loading| (loading.overflows, loading.misses));
        self.reload(read.slot);
        if let (Some(loading), Some(counts)) = (self.loading(read.slot), counts) {
            (loading.overflows, loading.misses) = counts;
        }
    }
}

/// The observers of a query that has ended with an error.
pub(super) struct Ended {
    observers: Vec<(u64, Observer)>,
    joining: Vec<(u64, Observer, Ready)>,
    error: DdpError,
}

impl Ended {
    pub(super) fn tell(self) {
        for (_, observer) in self.observers {
            observer.fail(self.error.clone());
        }
        for (_, _, sender) in self.joining {
            // A subscriber that has left needs no answer.
            let _ = sender.send(Err(self.error.clone()));
        }
    }
}

impl<R> Observers for State<R> {
    fn key(&self, slot: usize) -> LiveQueryKey {
        // Deliveries are sent before a query can end.
        self.slots[slot].as_ref().map_or(0.into(), |live| live.key)
    }

    fn of(&self, slot: usize) -> &[(u64, Observer)] {
        self.slots[slot].as_ref().map_or(&[], |live| &live.observers)
    }
}

impl LiveQuery {
    /// The document that the query holds, shown or not.
    pub(super) fn held(&self, id: &DocumentId) -> Option<&Arc<Document>> {
        match &self.window {
            Some(window) => window.get(id),
            None => self.snapshot.get(id),
        }
    }

    pub(super) fn release_all(&self, slot: usize, holders: &mut Holders) {
        match &self.window {
            Some(window) => window.ids().for_each(|id| holders.release(id, slot)),
            None => self.snapshot.iter().for_each(|(id, _)| holders.release(id, slot)),
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
        if self.window.is_none() && !delta.only_updates() {
            self.note_members(slot, delta, holders);
        }
        if !std::mem::replace(&mut self.is_sorted, true) {
            self.observers.sort_by_key(|(_, observer)| observer.address());
        }
        deliveries.step(slot, delta);
    }

    /// Notes which documents come and go by a step of a query without a window.
    fn note_members(&mut self, slot: usize, delta: &Delta, holders: &mut Holders) {
        let (before, fields) = (self.members, self.query.fields.as_deref());
        for change in delta.changes() {
            match (&change.before, &change.after) {
                (None, Some(_)) => holders.hold_member(&change.id, slot, &mut self.members),
                (Some(_), None) => holders.release_member(&change.id, slot, &mut self.members),
                _ => {}
            }
        }
        if self.members != before {
            holders.forget_like(before, fields, slot);
        }
    }

    /// Whether there is anything to change. While a query reads again its observers still see changes,
    /// so that no document is older in one query than in another; before its first read it has none.
    pub(super) fn has_documents(&self) -> bool {
        matches!(self.phase, Phase::Live) || !self.observers.is_empty()
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
