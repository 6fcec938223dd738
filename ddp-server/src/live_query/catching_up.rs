//! Finished loads, and when they may be published.
//!
//! After a gap every query of the collection is behind, and their results are published together:
//! if one came first, and a client that has a document through two of them lost it in that one, the
//! client would be shown the other's older document.

use std::sync::Arc;

use ddp_core::CollectionName;
use futures::channel::oneshot;

use super::batch::{Batch, Origin, Row};
use super::contents::Contents;
use super::deliveries::Deliveries;
use super::live::State;
use super::loading::{Loading, Parked};
use super::plan::PendingRead;

/// How often in a row a query reads again because more changed during the read than it remembers.
/// After that its observers get the result, which may be older than what they have.
const OVERFLOWS_MAX: u32 = 3;

/// How often in a row a query reads again because something happened during the read that must be
/// read, and how often in a row a gap may interrupt queries that are catching up after a gap,
/// before each is published as soon as it has read: otherwise a feed that keeps breaking would
/// never show anything.
const INTERRUPTIONS_MAX: u32 = if cfg!(test) { 3 } else { 10 };

/// A finished load.
pub(super) struct Published<R> {
    pub(super) done: oneshot::Sender<Option<PendingRead>>,
    /// What must be read again.
    pub(super) repeat: Option<PendingRead>,
    pub(super) writes: Box<Loading<R>>,
}

impl<R: Row> State<R> {
    /// All queries missed something in a gap, and must be published together when they have read.
    pub(super) fn must_make_up_for_gap(&mut self) {
        self.gaps = if self.catching_up.is_empty() { 0 } else { self.gaps + 1 };
        self.must_catch_up(self.gaps);
    }

    /// The same, because something happened that they must read. However often that happens while
    /// they catch up, only another gap counts as an interruption.
    pub(super) fn must_requery(&mut self) {
        self.requeries = if self.catching_up.is_empty() { 0 } else { self.requeries + 1 };
        self.must_catch_up(self.requeries);
    }

    fn must_catch_up(&mut self, interruptions: u32) {
        if interruptions >= INTERRUPTIONS_MAX {
            return self.catching_up.clear();
        }
        let slots = self.slots.iter().enumerate().filter(|(_, live)| live.is_some());
        self.catching_up = slots.map(|(slot, _)| slot).collect();
        // These will have to read once more, but not before the others.
        self.catching_up.retain(|slot| !self.parked.contains(slot));
    }

    /// Makes a query that may have missed something read again: at once if it is not reading, or if
    /// it has read and is waiting.
    pub(super) fn reload_missed(&mut self, slot: usize) -> Option<PendingRead> {
        if !self.loading.contains(&slot) {
            self.reload(slot)
        } else if self.parked.contains(&slot) {
            self.reload_once_more(slot)
        } else {
            None
        }
    }

    fn reload_once_more(&mut self, slot: usize) -> Option<PendingRead> {
        let loading = self.loading(slot)?;
        let (mut overflows, mut misses) = (loading.overflows, loading.misses);
        *(if loading.has_overflowed { &mut overflows } else { &mut misses }) += 1;
        let may_repeat = overflows <= OVERFLOWS_MAX && misses <= INTERRUPTIONS_MAX;
        let repeat = may_repeat.then(|| self.reload(slot)).flatten()?;
        if let Some(next) = self.loading(slot) {
            (next.overflows, next.misses) = (overflows, misses);
        }
        Some(repeat)
    }

    /// Keeps the result of a load until it can be published, if the load still counts.
    pub(super) fn park(
        &mut self,
        load: PendingRead,
        mut contents: Contents,
        has_seen: impl Fn(Origin) -> bool,
        done: oneshot::Sender<Option<PendingRead>>,
    ) {
        let slot = load.slot;
        let Some(loading) = self.loading(slot) else { return };
        if loading.generation != load.generation || loading.parked.is_some() {
            return;
        }
        let missed = |batch: &Arc<Batch<R>>| batch.is_requery() && !has_seen(batch.origin);
        let has_missed = loading.has_overflowed || loading.buffer.iter().any(missed);
        if has_missed && let Some(repeat) = self.reload_once_more(slot) {
            // They are already shown something newer than was read, or than others will read. The
            // waiter may be gone.
            let _ = done.send(Some(repeat));
            return;
        }
        let Some(loading) = self.loading(slot) else { return };
        let buffer = std::mem::take(&mut loading.buffer);
        for batch in buffer.iter().filter(|batch| !has_seen(batch.origin)) {
            loading.is_behind |= batch.is_requery();
            loading.must_repeat |= !contents.fold(&load, batch);
        }
        loading.parked = Some(Parked { load, contents, done });
        self.catching_up.remove(&slot);
        self.parked.insert(slot);
        if self.catching_up.is_empty() {
            (self.gaps, self.requeries) = (0, 0);
        }
    }

    /// Publishes the results, unless some queries have yet to catch up.
    pub(super) fn publish_parked(&mut self, collection: &CollectionName) -> Vec<Published<R>> {
        let mut over = Vec::new();
        if !self.catching_up.is_empty() {
            return over;
        }
        let mut deliveries = Deliveries::default();
        for slot in std::mem::take(&mut self.parked) {
            let Some(Parked { load, contents, done }) =
                self.loading(slot).and_then(|loading| loading.parked.take())
            else {
                continue;
            };
            let Some(mut loading) = self.take_loading(&load) else { continue };
            let must_repeat = loading.must_repeat || loading.is_behind || contents.is_short();
            self.publish_load(collection, slot, contents, &mut deliveries);
            let repeat = must_repeat.then(|| self.reload(slot)).flatten();
            if repeat.is_some()
                && let Some(next) = self.loading(slot)
            {
                next.inherited = std::mem::take(&mut loading.writes);
                if loading.is_behind {
                    self.catching_up.insert(slot);
                }
            }
            over.push(Published { done, repeat, writes: loading });
        }
        self.send(deliveries);
        over
    }

    /// Gives a query its result, and its observers the difference.
    fn publish_load(
        &mut self,
        collection: &CollectionName,
        slot: usize,
        contents: Contents,
        deliveries: &mut Deliveries,
    ) {
        let Self { slots, holders, .. } = self;
        let Some(live) = &mut slots[slot] else { return };
        let documents = match contents {
            Contents::All(documents) => documents,
            Contents::Window(window) => {
                live.release_all(slot, holders);
                for id in window.ids() {
                    holders.entry(id.clone()).or_default().push(slot);
                }
                live.window.insert(window).shown()
            }
        };
        if let Some(delta) = live.snapshot.replace(collection, documents) {
            live.publish(slot, &delta, holders, deliveries);
        }
        live.welcome(slot, collection, deliveries);
    }
}
