//! A live query while its documents are being read.

use std::sync::Arc;

use futures::channel::oneshot;

use super::batch::{Batch, Row};
use super::contents::Contents;
use super::plan::PendingRead;
use crate::write_fence::Write;

/// How many changes a live query remembers while its documents are being read. With more, it reads
/// again, and may remember four times as many.
const BUFFERED_CHANGES_MAX: usize = if cfg!(test) { 1_000 } else { 10_000 };

pub(super) struct Loading<R> {
    pub(super) generation: u64,
    /// What happened since the load started.
    pub(super) buffer: Vec<Arc<Batch<R>>>,
    pub(super) buffered_changes: usize,
    /// The buffer cannot make up for what happened.
    pub(super) must_repeat: bool,
    /// More happened than the buffer can hold.
    pub(super) has_overflowed: bool,
    /// How often that was so in a row.
    pub(super) overflows: u32,
    /// How often in a row something happened that must be read.
    pub(super) misses: u32,
    /// Whether that is because all queries missed it.
    pub(super) is_behind: bool,
    /// Writes that ended during this load; it may or may not see them.
    pub(super) writes: Vec<Arc<Write>>,
    /// Writes that were over before this load started, so it sees them.
    pub(super) inherited: Vec<Arc<Write>>,
    /// The result, up to date until it can be published.
    pub(super) parked: Option<Parked>,
}

/// The result, up to date.
pub(super) struct Parked {
    pub(super) load: PendingRead,
    pub(super) contents: Contents,
    pub(super) done: oneshot::Sender<Option<PendingRead>>,
}

impl<R: Row> Loading<R> {
    pub(super) fn into_writes(self) -> Vec<Arc<Write>> {
        let mut writes = self.inherited;
        writes.extend(self.writes);
        writes
    }

    pub(super) fn remember(&mut self, batch: &Arc<Batch<R>>) {
        if let Some(parked) = &mut self.parked {
            self.is_behind |= batch.is_requery();
            self.must_repeat |= !parked.contents.fold(&parked.load, batch);
            return;
        }
        self.buffered_changes += batch.changes().len() + 1;
        if self.buffered_changes > BUFFERED_CHANGES_MAX << (2 * self.overflows) {
            self.must_repeat = true;
            self.has_overflowed = true;
            self.buffer = Vec::new();
        } else {
            self.buffer.push(Arc::clone(batch));
        }
    }
}
