//! Applies a batch to the live queries that it concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ddp_core::{CollectionName, Document, DocumentId, FieldName};

use super::batch::{Batch, Change, Row};
use super::contents::judge;
use super::deliveries::Deliveries;
use super::live::{Holders, LiveQuery, Phase, State, release};
use super::window::Window;
use crate::query::Truth;

impl<R: Row> State<R> {
    /// Brings the live queries that a batch concerns to their next snapshots. Returns those that
    /// must read again, since only the source knows their results.
    pub(super) fn advance(
        &mut self,
        collection: &CollectionName,
        batch: &Batch<R>,
        deliveries: &mut Deliveries,
    ) -> BTreeSet<usize> {
        let mut unsure = BTreeSet::new();
        let mut steps: BTreeMap<usize, Step<'_, R>> = BTreeMap::new();
        if batch.is_truncated() {
            for (id, slots) in &self.holders {
                for slot in slots {
                    steps.entry(*slot).or_default().insert(id.clone(), None);
                }
            }
        }
        for change in batch.changes() {
            self.route(change, &mut steps, &mut unsure);
        }
        let Self { slots, holders, .. } = self;
        for (slot, step) in steps {
            let Some(live) = &mut slots[slot] else { continue };
            // While a query reads again its observers still see changes, so that no document is
            // older in one query than in another. Before its first read there is nothing to change.
            let has_documents = matches!(live.phase, Phase::Live) || !live.observers.is_empty();
            if !has_documents {
                continue;
            }
            let delta = if live.window.is_some() {
                if !live.advance_window(slot, step, batch.is_truncated(), holders) {
                    unsure.insert(slot);
                }
                let documents = live.window.as_ref().map(Window::shown).unwrap_or_default();
                live.snapshot.replace(collection, documents)
            } else {
                let step = step.into_iter().map(|(id, wanted)| (id, wanted.map(|(_, doc)| doc)));
                live.snapshot.advance(collection, step.collect())
            };
            if let Some(delta) = delta {
                live.publish(slot, &delta, holders, deliveries);
            }
        }
        unsure
    }

    /// Adds a change's effect to each query's step.
    fn route<'a>(
        &self,
        change: &'a Change<R>,
        steps: &mut BTreeMap<usize, Step<'a, R>>,
        unsure: &mut BTreeSet<usize>,
    ) {
        let mut documents = Projections { made: Vec::new() };
        let mut take = |slot: usize, before: Option<&Arc<Document>>, live: &LiveQuery| {
            let wanted = match &change.row {
                None => None,
                Some(row) => match judge(&live.plan, before, row) {
                    Truth::True => Some((row, documents.get(live.query.fields.as_ref(), row))),
                    Truth::False | Truth::Unknown => None,
                    // It is shown as it was, since it is unknown whether its new state may be seen.
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

/// A batch's effect on a live query: the rows that it wants, with their documents, and `None` for
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

impl LiveQuery {
    /// Takes a step of a query with `skip` or `limit`. False if only the source can tell what is
    /// within them now.
    fn advance_window<R: Row>(
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
