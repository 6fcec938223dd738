//! The state of a [`Multiplexer`](super::Multiplexer).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ddp_core::{CollectionName, DdpError, Delta, Document, DocumentId, FieldName, Snapshot};
use futures::channel::oneshot;

use super::multiplexer::{Load, Plan};
use super::router::Router;
use super::{Batch, Change, Observer, Row};
use crate::query::{Query, Truth};
use crate::write_fence::Write;

/// How many changes a live query remembers while its documents are being read. With more, it reads
/// again instead.
const BUFFERED_CHANGES_MAX: usize = 10_000;

/// The live queries of one collection, and how to find those that a change concerns.
pub(super) struct State<R> {
    pub(super) slots: Vec<Option<LiveQuery<R>>>,
    pub(super) free: Vec<usize>,
    pub(super) by_query: HashMap<Query, usize>,
    pub(super) router: Router,
    /// Queries that are not exact.
    pub(super) inexact: Vec<usize>,
    /// Queries that are reading.
    pub(super) loading: BTreeSet<usize>,
    /// The live queries that show each document.
    pub(super) holders: HashMap<DocumentId, Vec<usize>>,
    pub(super) last_key: u64,
}

pub(super) struct LiveQuery<R> {
    pub(super) query: Query,
    pub(super) plan: Plan,
    pub(super) phase: Phase<R>,
    pub(super) snapshot: Snapshot,
    /// The step from nothing to the snapshot, while it is current and somebody asked for it.
    pub(super) initial: Option<Arc<Delta>>,
    pub(super) observers: Vec<(u64, Observer)>,
    /// Observers that have not been given anything yet.
    pub(super) joining: Vec<(u64, Observer, Ready)>,
}

/// Tells a subscriber that it has been given its first documents, or why it never will.
pub(super) type Ready = oneshot::Sender<Result<(), DdpError>>;

pub(super) enum Phase<R> {
    Live,
    Loading(Loading<R>),
}

pub(super) struct Loading<R> {
    pub(super) generation: u64,
    /// What happened since the load began.
    pub(super) buffer: Vec<Arc<Batch<R>>>,
    pub(super) buffered_changes: usize,
    /// What happened can't be made up for by the buffer.
    pub(super) must_repeat: bool,
    /// Writes that were over while this load was under way; it may or may not see them.
    pub(super) writes: Vec<Arc<Write>>,
    /// Writes that were over before this load began, so that it sees them.
    pub(super) inherited: Vec<Arc<Write>>,
}

impl<R: Row> State<R> {
    /// Without live queries.
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_query: HashMap::new(),
            router: Router::default(),
            inexact: Vec::new(),
            loading: BTreeSet::new(),
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
        self.route_to(slot, &plan);
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

    fn route_to(&mut self, slot: usize, plan: &Plan) {
        if plan.exact {
            self.router.insert(slot, plan.keys.as_ref());
        } else {
            self.inexact.push(slot);
        }
    }

    /// Gives a live query another plan. It has to read again.
    pub(super) fn set_plan(&mut self, slot: usize, plan: Plan) {
        let Some(live) = &mut self.slots[slot] else { return };
        let old = std::mem::replace(&mut live.plan, plan.clone());
        self.inexact.retain(|other| *other != slot);
        if old.exact {
            self.router.remove(slot, old.keys.as_ref());
        }
        self.route_to(slot, &plan);
    }

    /// Forgets a live query. The writes that waited for it are the answer: they must be dropped
    /// outside the lock.
    pub(super) fn end(&mut self, slot: usize) -> Option<Vec<Arc<Write>>> {
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
        live.phase = Phase::Loading(Loading {
            generation,
            buffer: Vec::new(),
            buffered_changes: 0,
            must_repeat: false,
            writes: Vec::new(),
            inherited,
        });
        self.loading.insert(slot);
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
    pub(super) fn take_loading(&mut self, load: &Load) -> Option<Loading<R>> {
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
    pub(super) fn publish_load(
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
    pub(super) fn apply_to_live(&mut self, collection: &CollectionName, batch: &Batch<R>) {
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
            // While a query reads again its observers go on seeing changes, so that no document
            // is older in one query than in another. Before its first read there is nothing to
            // change.
            let has_documents = matches!(live.phase, Phase::Live) || !live.observers.is_empty();
            if has_documents && let Some(delta) = live.snapshot.advance(collection, step) {
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
        let mut documents = Projections { row: change.row.as_ref(), made: Vec::new() };
        for slot in self.holders.get(&change.id).into_iter().flatten() {
            let Some(live) = &self.slots[*slot] else { continue };
            let document = match (live.plan.exact, &change.row) {
                (true, _) | (false, None) => None,
                // Whether the query still wants the document may be for its next read to say; until
                // then it is shown as it was, since nobody knows whether it may be seen as it is.
                (false, Some(row)) => {
                    let shown = live.snapshot.get(&change.id);
                    if !shown.is_some_and(|shown| is_wanted_as_before(&live.plan, shown, row)) {
                        continue;
                    }
                    documents.get(live)
                }
            };
            steps.entry(*slot).or_default().insert(change.id.clone(), document);
        }
        let Some(row) = &change.row else { return };
        for slot in self.router.candidates(row) {
            let Some(live) = &self.slots[slot] else { continue };
            if live.plan.predicate.evaluate(&|field| row.value(field)) == Truth::True {
                let document = documents.get(live);
                steps.entry(slot).or_default().insert(change.id.clone(), document);
            }
        }
    }
}

/// The documents that a row becomes, one for each projection.
struct Projections<'a, R> {
    row: Option<&'a R>,
    made: Vec<(Option<&'a [FieldName]>, Arc<Document>)>,
}

impl<'a, R: Row> Projections<'a, R> {
    fn get(&mut self, live: &'a LiveQuery<R>) -> Option<Arc<Document>> {
        let fields = live.query.fields.as_deref();
        if let Some((_, document)) = self.made.iter().find(|(other, _)| *other == fields) {
            return Some(Arc::clone(document));
        }
        let document = self.row?.document(fields);
        self.made.push((fields, Arc::clone(&document)));
        Some(document)
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
    pub(super) fn welcome(&mut self, collection: &CollectionName) {
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
    fn into_writes(self) -> Vec<Arc<Write>> {
        let mut writes = self.inherited;
        writes.extend(self.writes);
        writes
    }

    pub(super) fn remember(&mut self, batch: &Arc<Batch<R>>) {
        self.buffered_changes += batch.changes.len() + 1;
        if self.buffered_changes > BUFFERED_CHANGES_MAX {
            self.must_repeat = true;
            self.buffer = Vec::new();
        } else {
            self.buffer.push(Arc::clone(batch));
        }
    }
}

/// Whether a query must want a row because it wanted the document that the row was: nothing that the
/// predicate looks at has changed.
fn is_wanted_as_before<R: Row>(plan: &Plan, before: &Document, row: &R) -> bool {
    let now = row.document(None);
    plan.predicate.all_fields(&mut |field| {
        field == "_id" || before.get(field).is_some_and(|text| now.get(field) == Some(text))
    })
}

/// Brings documents that were read up to a batch that they do not include. Of a query that is not
/// exact only those change of which it is certain that they are still wanted.
pub(super) fn fold<R: Row>(
    documents: &mut BTreeMap<DocumentId, Arc<Document>>,
    load: &Load,
    batch: &Batch<R>,
) {
    if batch.truncated {
        documents.clear();
    }
    for Change { id, row } in &batch.changes {
        if !load.plan.exact
            && let Some(row) = row
        {
            if documents.get(id).is_some_and(|read| is_wanted_as_before(&load.plan, read, row)) {
                documents.insert(id.clone(), row.document(load.query.fields.as_deref()));
            }
            continue;
        }
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
