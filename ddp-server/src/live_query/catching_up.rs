//! Finished loads, and when they may be published.
//!
//! After a gap every query of the collection is behind, and their results are published together:
//! if one came first, and a client that has a document through two of them lost it in that one, the
//! client would be shown the other's older document.

use std::collections::HashSet;
use std::sync::Arc;

use ddp_core::{CollectionName, DocumentId};

use super::batch::{Batch, Change, Content, Origin, Row};
use super::candidates::catch_up;
use super::contents::Contents;
use super::deliveries::Deliveries;
use super::live::{Phase, State};
use super::loading::{INTERRUPTIONS_MAX, Loading, Reading, Stage};
use super::plan::PendingRead;

/// The rows of a query.
pub(super) type Rows<R> = Vec<(DocumentId, R)>;

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
        self.is_apart = interruptions >= INTERRUPTIONS_MAX;
        if self.is_apart {
            return self.catching_up.clear();
        }
        let slots = self.slots.iter().enumerate().filter(|(_, live)| live.is_some());
        self.catching_up = slots.map(|(slot, _)| slot).collect();
        // These will have to read once more, but not before the others.
        self.catching_up.retain(|slot| !self.parked.contains(slot));
    }

    /// Remembers a batch for the queries that are being read, and for those that wait since.
    pub(super) fn remember(&mut self, batch: &Arc<Batch<R>>) {
        self.backlog.push(batch);
        if self.backlog.is_full() {
            self.bring_up_to_date(self.parked.iter().copied().collect(), |_| false);
            self.backlog.shrink();
        }
    }

    /// All queries missed what a batch did: they are read again, unless they will be anyway.
    pub(super) fn reload_missed(&mut self) {
        for slot in 0..self.slots.len() {
            if self.parked.contains(&slot) {
                // It is not too often: what was read at the last try is not parked.
                self.repeat(slot, false);
            } else if self.is_live(slot) {
                self.reload(slot);
            }
        }
    }

    /// Has a query that has been read wait for another read, which it needs. False if that has
    /// happened too often in a row.
    fn repeat(&mut self, slot: usize, has_overflowed: bool) -> bool {
        let Some(loading) = self.loading(slot) else { return false };
        let (mut overflows, mut misses) = (loading.overflows, loading.misses);
        *(if has_overflowed { &mut overflows } else { &mut misses }) += 1;
        if Loading::is_exhausted(overflows, misses) || !self.reload(slot) {
            return false;
        }
        if let Some(loading) = self.loading(slot) {
            (loading.overflows, loading.misses) = (overflows, misses);
        }
        true
    }

    /// Takes what was read for queries, with a common point at which it was, and publishes what can be.
    pub(super) fn finish_reads(
        &mut self,
        collection: &CollectionName,
        reads: Vec<(PendingRead, Contents, Rows<R>)>,
        point: Origin,
        has_seen: &impl Fn(Origin) -> bool,
    ) {
        let mut finished = Vec::new();
        for (read, contents, rows) in reads {
            let slot = read.slot;
            if self.wants(&read) && self.take(read, contents, has_seen) {
                finished.push((slot, rows));
            }
        }
        let is_apart = self.is_apart || self.backlog.has_last_try();
        let slots: Vec<_> = finished.iter().map(|(slot, _)| *slot).collect();
        let is_awaited =
            |slot: &usize| self.slots[*slot].as_ref().is_some_and(|live| !live.joining.is_empty());
        let shown = slots.iter().copied().filter(|slot| is_apart || is_awaited(slot));
        let unseen = self.unseen_ids(&shown.collect::<Vec<_>>(), has_seen);
        self.bring_up_to_date(slots, has_seen);
        let mut deliveries = Deliveries::default();
        for (slot, rows) in finished {
            self.catching_up.remove(&slot);
            let Some(live) = &mut self.slots[slot] else { continue };
            let Phase::Loading(loading) = &mut live.phase else { continue };
            let Stage::Read(reading) = &mut loading.stage else { continue };
            let is_held = reading.contents.is_held(&live.snapshot, live.window.as_ref());
            reading.is_held = is_held;
            let is_shown = !live.joining.is_empty() || (is_apart && !is_held);
            if is_shown {
                self.show_newer(collection, (slot, rows), unseen.as_ref(), point, &mut deliveries);
            }
            if is_shown || is_held {
                self.publish(collection, slot, &mut deliveries);
            } else {
                self.parked.insert(slot);
            }
        }
        self.publish_parked(collection, &mut deliveries);
        self.is_apart &= self.unfinished > 0;
        self.send(deliveries);
    }

    /// Takes what was read for a query. False if it must be read again at once.
    fn take(
        &mut self,
        read: PendingRead,
        contents: Contents,
        has_seen: &impl Fn(Origin) -> bool,
    ) -> bool {
        let slot = read.slot;
        let Some(loading) = self.loading(slot) else { return false };
        let Stage::Reading { place, unseen_writes } = loading.stage else { return false };
        let has_overflowed = !self.backlog.is_complete(place);
        let missed = |batch: &Arc<Batch<R>>| batch.is_requery() && !has_seen(batch.origin);
        let has_missed = self.backlog.since(place).any(|(_, batch)| missed(batch));
        // They are already shown something newer than was read, or than others will read.
        if (has_overflowed || has_missed) && self.repeat(slot, has_overflowed) {
            return false;
        }
        let Some(loading) = self.loading(slot) else { return false };
        loading.stage = Stage::Read(Box::new(Reading {
            read,
            contents,
            is_held: false,
            place,
            unseen_writes,
            must_repeat: has_overflowed,
            is_behind: has_missed,
        }));
        true
    }

    /// Brings what was read for these queries up to date. Later it is only what comes from now on.
    fn bring_up_to_date(&mut self, slots: Vec<usize>, has_seen: impl Fn(Origin) -> bool) {
        let mut taken = Vec::with_capacity(slots.len());
        for slot in slots {
            let Some(loading) = self.loading(slot) else { continue };
            let waiting = Stage::Waiting { is_first: false };
            match std::mem::replace(&mut loading.stage, waiting) {
                Stage::Read(reading) => taken.push((slot, reading)),
                other => loading.stage = other,
            }
        }
        if let Some(first) = taken.iter().map(|(_, reading)| reading.place).min() {
            let unseen = self.backlog.since(first).filter(|(_, batch)| !has_seen(batch.origin));
            let mut readings: Vec<_> =
                taken.iter_mut().map(|(_, reading)| &mut **reading).collect();
            catch_up(&self.router, unseen, &mut readings);
        }
        for (slot, mut reading) in taken {
            self.backlog.leave(reading.place);
            // What was read at the last try is published now.
            reading.place = self.backlog.enter(0, false);
            if let Some(loading) = self.loading(slot) {
                loading.stage = Stage::Read(reading);
            }
        }
    }

    /// The documents that batches changed which the reads of these queries do not include; `None` if that
    /// may be any.
    fn unseen_ids(
        &self,
        slots: &[usize],
        has_seen: &impl Fn(Origin) -> bool,
    ) -> Option<HashSet<DocumentId>> {
        let place = |slot: usize| match &self.slots[slot].as_ref()?.phase {
            Phase::Loading(loading) => match &loading.stage {
                Stage::Read(reading) => Some(reading.place),
                Stage::Waiting { .. } | Stage::Reading { .. } => None,
            },
            Phase::Live => None,
        };
        let mut ids = HashSet::new();
        let Some(first) = slots.iter().filter_map(|slot| place(*slot)).min() else {
            return Some(ids);
        };
        if !self.backlog.is_complete(first) {
            return None;
        }
        for (_, batch) in self.backlog.since(first).filter(|(_, batch)| !has_seen(batch.origin)) {
            if batch.is_truncated() {
                return None;
            }
            ids.extend(batch.changes().iter().map(|change| change.id.clone()));
        }
        Some(ids)
    }

    /// What was read for one query may be newer than what others show that have yet to catch up. They
    /// show it as well from now on, so that no document is older in one query than in another. Nor may it
    /// become older by a read that is taken although it has missed something: this is remembered for it.
    fn show_newer(
        &mut self,
        collection: &CollectionName,
        (slot, rows): (usize, Rows<R>),
        unseen: Option<&HashSet<DocumentId>>,
        point: Origin,
        deliveries: &mut Deliveries,
    ) {
        let Some(unseen) = unseen else { return };
        if self.unfinished == 1 {
            return;
        }
        let is_remembered = self.backlog.has_last_try();
        let is_newer = |id: &DocumentId, row: &R| {
            let holders = self.holders.of(id);
            holders.iter().filter(|other| **other != slot).any(|other| {
                self.slots[*other].as_ref().is_some_and(|live| {
                    matches!(live.phase, Phase::Loading(_))
                        && live.held(id) != Some(&row.document(live.query.fields.as_deref()))
                })
            })
        };
        let newer = rows
            .into_iter()
            .filter(|(id, row)| !unseen.contains(id) && (is_remembered || is_newer(id, row)));
        let changes: Vec<_> = newer.map(|(id, row)| Change { id, row: Some(row) }).collect();
        if !changes.is_empty() {
            let batch = Arc::new(Batch { origin: point, content: Content::Changes(changes) });
            if is_remembered {
                self.remember(&batch);
            }
            // Queries that cannot decide it without being read are being read.
            let _ = self.advance(collection, &batch, deliveries);
        }
    }

    /// Publishes what waits for queries to catch up, when they have.
    pub(super) fn publish_parked(
        &mut self,
        collection: &CollectionName,
        deliveries: &mut Deliveries,
    ) {
        if !self.catching_up.is_empty() {
            return;
        }
        (self.gaps, self.requeries) = (0, 0);
        let parked: Vec<_> = std::mem::take(&mut self.parked).into_iter().collect();
        self.bring_up_to_date(parked.clone(), |_| false);
        for slot in parked {
            self.publish(collection, slot, deliveries);
        }
    }

    /// Publishes what was read for a query, which is live from then on, unless it has to be read again.
    fn publish(&mut self, collection: &CollectionName, slot: usize, deliveries: &mut Deliveries) {
        let Some(live) = &mut self.slots[slot] else { return };
        let loading = match std::mem::replace(&mut live.phase, Phase::Live) {
            Phase::Loading(loading) => *loading,
            Phase::Live => return,
        };
        let Stage::Read(reading) = loading.stage else {
            live.phase = Phase::Loading(Box::new(loading));
            return;
        };
        self.unfinished -= 1;
        self.backlog.leave(reading.place);
        let must_repeat = reading.must_repeat || reading.is_behind || reading.contents.is_short();
        let is_behind = reading.is_behind;
        // What it owed before the read has been sent by then, and those who join owe nothing yet.
        let unseen = loading.owes.map_or(self.owed.next(), |_| reading.unseen_writes);
        if reading.is_held {
            live.welcome(slot, collection, deliveries);
        } else {
            self.publish_read(collection, slot, reading.contents, deliveries);
        }
        if must_repeat && self.reload(slot) {
            self.owe(slot, unseen);
            if is_behind {
                self.catching_up.insert(slot);
            }
        }
        if let Some(since) = loading.owes {
            self.owed.pay(since);
        }
    }

    /// A query that is to be read again owes the writes from this number on.
    fn owe(&mut self, slot: usize, since: u64) {
        let Some(before) = self.loading(slot).map(|loading| loading.owes.replace(since)) else {
            return;
        };
        self.owed.owe(since);
        if let Some(before) = before {
            self.owed.pay(before);
        }
    }

    /// Gives a query its result, and its observers the difference.
    fn publish_read(
        &mut self,
        collection: &CollectionName,
        slot: usize,
        contents: Contents,
        deliveries: &mut Deliveries,
    ) {
        let Some(live) = &mut self.slots[slot] else { return };
        let delta = match contents {
            Contents::All(documents) => {
                let (query, members) =
                    (Arc::clone(&live.query), self.holders.members(documents.keys()));
                let alike = self.alike(members, query.fields.as_deref());
                let alike = alike.filter(|alike| alike.iter().eq(documents.iter())).cloned();
                let Some(live) = &mut self.slots[slot] else { return };
                match alike {
                    Some(alike) => live.snapshot.replace_by(collection, &alike),
                    None => live.snapshot.replace(collection, documents),
                }
            }
            Contents::Window(window) => {
                live.release_all(slot, &mut self.holders);
                window.ids().for_each(|id| self.holders.hold(id, slot));
                let documents = live.window.insert(window).shown();
                live.snapshot.replace(collection, documents)
            }
        };
        let Some(live) = &mut self.slots[slot] else { return };
        if let Some(delta) = delta {
            live.publish(slot, &delta, &mut self.holders, deliveries);
            self.share(slot);
        }
        if let Some(live) = &mut self.slots[slot] {
            live.welcome(slot, collection, deliveries);
        }
    }
}
