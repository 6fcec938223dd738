//! Applies a batch to the live queries that it concerns.

use std::collections::BTreeSet;

use ddp_core::CollectionName;

use super::batch::{Batch, Row};
use super::concerns::{Concern, Numbers};
use super::contents::judge;
use super::deliveries::Deliveries;
use super::groups::{Groups, Outcome};
use super::holders::Holders;
use super::live::{LiveQuery, State};
use super::rows::{Rows, Step};
use super::window::Window;
use crate::query::Truth;

impl<R: Row> State<R> {
    /// Brings the live queries that a batch concerns to their next snapshots. Returns those that
    /// must read again, since only the source knows their results.
    ///
    /// Queries that hold the same documents, and to which the batch does the same, share a step: only
    /// the first of them costs by the number of documents.
    pub(super) fn advance(
        &mut self,
        collection: &CollectionName,
        batch: &Batch<R>,
        deliveries: &mut Deliveries,
    ) -> BTreeSet<usize> {
        let mut unsure = BTreeSet::new();
        let concerned = self.concerned(batch, &mut unsure);
        let (mut rows, mut groups) = (Rows::new(batch), Groups::default());
        let is_one = concerned.all.len() == 1;
        for Concern { slot, bundles, new } in &concerned.all {
            let slot = *slot;
            let Some(live) = &mut self.slots[slot] else { continue };
            if !live.has_documents() {
                continue;
            }
            let fields = live.query.fields.clone();
            let delta = if live.window.is_some() {
                let held = concerned.held(bundles);
                let (wanted, gone) = live.judge_all(batch, slot, (&held, new), &mut unsure);
                let step = rows.step(&wanted, &gone, fields.as_ref());
                if !live.advance_window(slot, step, batch.is_truncated(), &mut self.holders) {
                    unsure.insert(slot);
                }
                let documents = live.window.as_ref().map(Window::shown).unwrap_or_default();
                live.snapshot.replace(collection, documents)
            } else if batch.is_truncated() {
                let held = concerned.held(bundles);
                let (wanted, _) = live.judge_all(batch, slot, (&held, new), &mut unsure);
                let documents = rows.documents(&wanted, &[], fields.as_ref()).into_iter();
                let documents = documents.filter_map(|(id, document)| Some((id, document?)));
                live.snapshot.replace(collection, documents.collect())
            } else if is_one {
                let held = concerned.held(bundles);
                let (wanted, gone) = live.judge_all(batch, slot, (&held, new), &mut unsure);
                let documents = rows.documents(&wanted, &gone, fields.as_ref());
                live.snapshot.advance(collection, documents)
            } else {
                let group = groups.of(
                    live.members,
                    &live.snapshot,
                    (bundles, |bundles| concerned.held(bundles)),
                );
                let outcome = if !group.keeps(&live.plan, &mut rows) {
                    let changes = (group.held(), &**new);
                    let (wanted, gone) = live.judge_all(batch, slot, changes, &mut unsure);
                    group.outcome(wanted, gone)
                } else if new.is_empty() {
                    Outcome::Stay
                } else {
                    let wanted = group.held().iter().chain(new).copied().collect();
                    Outcome::Rows { wanted, gone: Numbers::new() }
                };
                group.step(collection, &mut live.snapshot, (fields, outcome), &mut rows)
            };
            if let Some(delta) = delta {
                live.publish(slot, &delta, &mut self.holders, deliveries);
                if !delta.only_updates() {
                    self.share(slot);
                }
            }
        }
        unsure
    }
}

impl LiveQuery {
    /// The changes by which the query has a document, and those by which it has one no longer. Those
    /// that are not certain are in neither.
    fn judge_all<R: Row>(
        &self,
        batch: &Batch<R>,
        slot: usize,
        (held, new): (&[u32], &[u32]),
        unsure: &mut BTreeSet<usize>,
    ) -> (Numbers, Numbers) {
        let (mut wanted, mut gone) =
            (Numbers::with_capacity(held.len() + new.len()), Numbers::new());
        for &number in held {
            let change = &batch.changes()[number as usize];
            let truth = change
                .row
                .as_ref()
                .map_or(Truth::False, |row| judge(&self.plan, || self.held(&change.id), row));
            match truth {
                Truth::True => wanted.push(number),
                Truth::False | Truth::Unknown => gone.push(number),
                // It is shown as it was, since it is unknown whether its new state may be seen.
                Truth::Undecided => _ = unsure.insert(slot),
            }
        }
        wanted.extend_from_slice(new);
        (wanted, gone)
    }

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
                holders.release(id, slot);
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
                (false, true) => holders.hold(&id, slot),
                (true, false) => holders.release(&id, slot),
                _ => {}
            }
        }
        for id in window.trim() {
            holders.release(&id, slot);
        }
        is_certain && !window.is_short()
    }
}
