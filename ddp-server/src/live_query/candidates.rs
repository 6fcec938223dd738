//! Brings what was read for queries up to date, and finds the queries that a change may concern.

use std::collections::HashMap;
use std::sync::Arc;

use ddp_core::DocumentId;

use super::batch::{Batch, Change, Row};
use super::loading::Reading;
use super::router::Router;

/// Brings what was read up to date with batches that it does not include, in their order.
pub(super) fn catch_up<'a, R: Row>(
    router: &Router,
    batches: impl Iterator<Item = (u64, &'a Arc<Batch<R>>)> + Clone,
    readings: &mut [&mut Reading],
) {
    let mut candidates = Candidates::new(batches.clone(), readings);
    for (position, batch) in batches {
        if batch.is_truncated() {
            let concerned = readings.iter_mut().filter(|reading| reading.place.needs(position));
            concerned.for_each(|reading| reading.contents.clear());
        }
        let mut touched = Vec::new();
        for change in batch.changes() {
            candidates.note(router, change);
            for &index in candidates.of(&change.id) {
                let reading = &mut *readings[index];
                if reading.place.needs(position) {
                    reading.must_repeat |= !reading.contents.take(&reading.read, change);
                    touched.push(index);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().for_each(|index| readings[index].contents.trim());
    }
}

/// Which of the readings may hold each document that changes, by their indices.
struct Candidates<'a> {
    of: HashMap<&'a DocumentId, Vec<usize>>,
    /// The readings by their queries' slots.
    by_slot: HashMap<usize, usize>,
}

impl<'a> Candidates<'a> {
    fn new<R: 'a>(
        batches: impl Iterator<Item = (u64, &'a Arc<Batch<R>>)>,
        readings: &[&mut Reading],
    ) -> Self {
        let changes = batches.flat_map(|(_, batch)| batch.changes());
        let mut of: HashMap<_, _> = changes.map(|change| (&change.id, Vec::new())).collect();
        let mut by_slot = HashMap::new();
        if !of.is_empty() {
            for (index, reading) in readings.iter().enumerate() {
                by_slot.insert(reading.read.slot, index);
                reading.contents.for_each_id(&mut |id| {
                    if let Some(holders) = of.get_mut(id) {
                        holders.push(index);
                    }
                });
            }
        }
        Self { of, by_slot }
    }

    /// Notes which readings a change may concern though they do not hold its document.
    fn note<R: Row>(&mut self, router: &Router, change: &Change<R>) {
        let (Some(row), Some(holders)) = (&change.row, self.of.get_mut(&change.id)) else {
            return;
        };
        let before = holders.len();
        holders.extend(router.candidates(row).filter_map(|slot| self.by_slot.get(&slot)));
        if holders.len() > before {
            holders.sort_unstable();
            holders.dedup();
        }
    }

    fn of(&self, id: &DocumentId) -> &[usize] {
        self.of.get(id).map_or(&[], Vec::as_slice)
    }
}
