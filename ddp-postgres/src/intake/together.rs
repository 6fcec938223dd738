//! Rows that are read for several batches at once.
//!
//! A batch that tells only keys is read while all changes wait, and many may wait behind it: whoever can
//! connect can send some. So a read looks for the rows of the next ones as well. They are delivered one
//! by one all the same, in the order in which they came.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ddp_core::DocumentId;

use super::batch::{Batch, Change, Effect};
use crate::feed::Feed;
use crate::read::snapshot::TransactionSnapshot;
use crate::row::Row;

/// How many rows are read together for several batches.
const ROWS_MAX: usize = if cfg!(test) { 4 } else { 1_000 };

/// Rows by their ids, with their keys in JSON.
pub(crate) type Keys = Vec<(DocumentId, String)>;

/// What a read by keys has found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) feed: Feed,
    pub(crate) snapshot: TransactionSnapshot,
    /// All that it looked for; `None` if there is no such row.
    pub(crate) rows: HashMap<DocumentId, Option<Row>>,
}

impl Found {
    /// Whether it includes what a transaction did, if something that names the transaction had arrived
    /// before. A notification comes when its transaction is visible; if it names another one, somebody has
    /// forged it, and what was read is right all the same.
    pub(crate) fn includes(&self, xid: u64) -> bool {
        self.feed == Feed::Notify || self.snapshot.has_seen(xid)
    }

    /// A batch with its rows, and their ids; `None` if it did not look for all of them.
    pub(crate) fn fill(&self, batch: &Batch) -> Option<(Batch, Vec<DocumentId>)> {
        let ids: Vec<_> = batch.unread().iter().map(|(id, _)| id.clone()).collect();
        let change =
            |id: &DocumentId| Some(Change { id: id.clone(), row: self.rows.get(id)?.clone() });
        let changes = ids.iter().map(change).collect::<Option<_>>()?;
        let effect = Effect::Changes { changes, unread: Vec::new() };
        Some((Batch { collection: Arc::clone(&batch.collection), xid: batch.xid, effect }, ids))
    }
}

/// The last read of each collection by keys, while something waits.
#[derive(Debug, Default)]
pub(crate) struct Together {
    /// With the number of the first arrival that came after the keys were put together.
    found: HashMap<Arc<str>, (Found, u64)>,
}

impl Together {
    /// The keys to be read with those of a batch: of those that wait, the next.
    pub(crate) fn more<'a>(batch: &Batch, waiting: impl Iterator<Item = &'a Batch>) -> Keys {
        let mut known: HashSet<_> = batch.unread().iter().map(|(id, _)| id).collect();
        let mut keys = Keys::new();
        for next in waiting.filter(|next| next.collection == batch.collection) {
            if known.len() + next.unread().len() > ROWS_MAX {
                break;
            }
            keys.extend(next.unread().iter().filter(|(id, _)| known.insert(id)).cloned());
        }
        keys
    }

    /// Notes a read for which all keys had been put together before the arrival with this number.
    pub(crate) fn note(&mut self, collection: &Arc<str>, found: Found, until: u64) {
        self.found.insert(Arc::clone(collection), (found, until));
    }

    /// A batch with its rows, and the snapshot that shows them, if the last read looked for them.
    pub(crate) fn fill(
        &self,
        batch: &Batch,
        number: u64,
    ) -> Option<(Batch, TransactionSnapshot, Vec<DocumentId>)> {
        let (found, until) = self.found.get(&batch.collection)?;
        // Of what came later it includes only what is certain.
        let is_included = match number < *until {
            true => found.includes(batch.xid),
            false => found.snapshot.has_seen(batch.xid),
        };
        let (batch, ids) = found.fill(batch).filter(|_| is_included)?;
        Some((batch, found.snapshot.clone(), ids))
    }

    pub(crate) fn clear(&mut self) {
        self.found.clear();
    }
}
