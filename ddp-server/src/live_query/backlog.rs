//! What happens while queries are read: each batch is kept once, however many reads need it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::batch::{Batch, Row};

/// How many bytes of changes are kept for reads in progress. When it is more, the reads that need the
/// oldest are repeated; while such a repeated read is in progress four times as much is kept, and
/// then sixteen times.
const BYTES_MAX: usize = if cfg!(test) { 100_000 } else { 8 * 1024 * 1024 };
/// How often that limit grows.
const GROWTHS_MAX: usize = 2;
/// What a batch takes besides its changes, and a change besides its row.
const OVERHEAD_BYTES: usize = 100;

/// The batches of a collection since the oldest read in progress began.
///
/// Each read has the position at which it began, and needs all batches from there on. Positions count
/// the batches that were ever kept.
#[derive(Debug)]
pub(super) struct Backlog<R> {
    /// With their sizes.
    batches: VecDeque<(Arc<Batch<R>>, usize)>,
    bytes: usize,
    /// The position of the first of them.
    start: u64,
    /// How many reads began at each position.
    readers: BTreeMap<u64, usize>,
    /// How many of the reads are repeated, by how far the limit has grown for them.
    grown: [usize; GROWTHS_MAX + 1],
    /// How many of them are taken whatever they miss.
    last_tries: usize,
}

/// A read's place in the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    position: u64,
    growths: usize,
    is_last_try: bool,
}

impl<R> Backlog<R> {
    pub(super) fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            bytes: 0,
            start: 0,
            readers: BTreeMap::new(),
            grown: [0; GROWTHS_MAX + 1],
            last_tries: 0,
        }
    }

    fn end(&self) -> u64 {
        self.start + self.batches.len() as u64
    }

    /// A read begins, after this many in a row for which too much had happened. It needs whatever
    /// comes from now on, until it [leaves](Self::leave). If it is the last try, it is taken whatever it
    /// misses.
    pub(super) fn enter(&mut self, overflows: u32, is_last_try: bool) -> Place {
        let growths = (overflows as usize).min(GROWTHS_MAX);
        let place = Place { position: self.end(), growths, is_last_try };
        *self.readers.entry(place.position).or_default() += 1;
        self.grown[growths] += 1;
        self.last_tries += usize::from(is_last_try);
        place
    }

    /// Whether some of the reads are taken whatever they miss: then others tell them what they have read.
    pub(super) fn has_last_try(&self) -> bool {
        self.last_tries > 0
    }

    /// Nothing is needed any more for a read that began here.
    pub(super) fn leave(&mut self, place: Place) {
        self.grown[place.growths] -= 1;
        self.last_tries -= usize::from(place.is_last_try);
        if let Some(readers) = self.readers.get_mut(&place.position) {
            *readers -= 1;
            if *readers == 0 {
                self.readers.remove(&place.position);
            }
        }
        let needed = self.readers.keys().next().copied().unwrap_or(u64::MAX);
        while self.start < needed && self.forget_first() {}
    }

    /// Whether nothing has been forgotten of what a read needs.
    pub(super) fn is_complete(&self, place: Place) -> bool {
        place.position >= self.start
    }

    /// What has happened since a read began, as far as it is known, with the positions.
    pub(super) fn since(
        &self,
        place: Place,
    ) -> impl Iterator<Item = (u64, &Arc<Batch<R>>)> + Clone {
        let skipped = usize::try_from(place.position.saturating_sub(self.start));
        let skipped = skipped.unwrap_or(usize::MAX).min(self.batches.len());
        let batches = self.batches.range(skipped..);
        let first = self.start + skipped as u64;
        batches.enumerate().map(move |(index, (batch, _))| (first + index as u64, batch))
    }

    /// Whether more is kept than should be.
    pub(super) fn is_full(&self) -> bool {
        let growths = (0..=GROWTHS_MAX).rev().find(|growths| self.grown[*growths] > 0);
        self.bytes > BYTES_MAX << (2 * growths.unwrap_or(0))
    }

    /// Forgets the oldest until it is not full. Reads that needed that are then incomplete.
    pub(super) fn shrink(&mut self) {
        while self.is_full() && self.forget_first() {}
    }

    fn forget_first(&mut self) -> bool {
        let Some((_, bytes)) = self.batches.pop_front() else { return false };
        self.bytes -= bytes;
        self.start += 1;
        true
    }

    /// How many bytes are kept.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<R: Row> Backlog<R> {
    /// Keeps a batch, if it is needed.
    pub(super) fn push(&mut self, batch: &Arc<Batch<R>>) {
        if self.readers.is_empty() {
            return;
        }
        let rows = batch.changes().iter().map(|change| {
            let row = change.row.as_ref().map_or(0, Row::bytes);
            OVERHEAD_BYTES + change.id.as_str().len() + row
        });
        let bytes = OVERHEAD_BYTES + rows.sum::<usize>();
        self.bytes += bytes;
        self.batches.push_back((Arc::clone(batch), bytes));
    }
}

impl Place {
    /// Whether a read that began here needs the batch at this position.
    pub(super) fn needs(self, position: u64) -> bool {
        position >= self.position
    }
}
