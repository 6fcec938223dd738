//! Rows that were read in the state in which later transactions left them.
//!
//! A row of a `keys_only` table is read some time after the transaction that changed it, so it
//! includes what later transactions did. Their batches are then out of date for this row, which is
//! removed from them so that it does not go back in time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ddp_core::DocumentId;

use super::batch::{Batch, Effect};
use crate::read::snapshot::TransactionSnapshot;

/// How many rows are remembered. If one is forgotten too early, an earlier deletion may hide it for
/// a moment.
const ROWS_MAX: usize = if cfg!(test) { 4 } else { 100_000 };

/// The reads that saw transactions whose batches may still come.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// In the order of their snapshots.
    reads: VecDeque<Read>,
    /// How many rows they read, counting repeats.
    rows: usize,
    /// The last snapshot in which each row of a collection was read.
    last: HashMap<Arc<str>, HashMap<DocumentId, Arc<TransactionSnapshot>>>,
}

#[derive(Debug)]
struct Read {
    collection: Arc<str>,
    snapshot: Arc<TransactionSnapshot>,
    ids: Vec<DocumentId>,
}

impl ReadAhead {
    /// Notes that these rows were read, whether they existed or not.
    pub(crate) fn note(
        &mut self,
        collection: &Arc<str>,
        snapshot: TransactionSnapshot,
        ids: Vec<DocumentId>,
    ) {
        let (collection, snapshot) = (Arc::clone(collection), Arc::new(snapshot));
        let last = self.last.entry(Arc::clone(&collection)).or_default();
        last.extend(ids.iter().map(|id| (id.clone(), Arc::clone(&snapshot))));
        self.rows += ids.len();
        self.reads.push_back(Read { collection, snapshot, ids });
        while self.rows > ROWS_MAX {
            self.forget_oldest();
        }
    }

    /// Removes from the next batch what reads have already shown.
    pub(crate) fn strip(&mut self, batch: &mut Batch) {
        // A transaction that began after a read is followed only by such as the read has not seen.
        while self.reads.front().is_some_and(|oldest| oldest.snapshot.is_before(batch.xid)) {
            self.forget_oldest();
        }
        let Some(last) = self.last.get(&batch.collection) else { return };
        let has_seen = |snapshot: &Arc<TransactionSnapshot>| snapshot.has_seen(batch.xid);
        let is_news = |id: &DocumentId| !last.get(id).is_some_and(has_seen);
        match &mut batch.effect {
            // The rows that were read are newer; the others are not known here.
            Effect::Truncation { .. } if last.values().any(has_seen) => {
                batch.effect = Effect::Requery;
            }
            Effect::Truncation { changes } => changes.retain(|change| is_news(&change.id)),
            Effect::Changes { changes, unread } => {
                unread.retain(|(id, _)| is_news(id));
                changes.retain(|change| is_news(&change.id));
            }
            Effect::Requery => {}
        }
    }

    /// Forgets everything, since all batches that were still to come are lost.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget_oldest(&mut self) {
        let Some(Read { collection, snapshot, ids }) = self.reads.pop_front() else { return };
        self.rows -= ids.len();
        let Some(last) = self.last.get_mut(&collection) else { return };
        for id in ids {
            // It may have been read again since.
            if last.get(&id).is_some_and(|last| Arc::ptr_eq(last, &snapshot)) {
                last.remove(&id);
            }
        }
        if last.is_empty() {
            self.last.remove(&collection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::batch::Change;

    fn id(id: &str) -> DocumentId {
        DocumentId::from_string(id)
    }

    fn batch(xid: u64, deleted: &[&str]) -> Batch {
        let changes = deleted.iter().map(|text| Change { id: id(text), row: None }).collect();
        let unread = deleted.iter().map(|text| (id(text), format!("\"{text}\""))).collect();
        Batch { collection: "tasks".into(), xid, effect: Effect::Changes { changes, unread } }
    }

    fn read(ahead: &mut ReadAhead, snapshot: &str, ids: &[&str]) {
        let snapshot = TransactionSnapshot::parse(snapshot).unwrap();
        ahead.note(&"tasks".into(), snapshot, ids.iter().map(|text| id(text)).collect());
    }

    /// What remains of a batch.
    fn stripped(ahead: &mut ReadAhead, mut batch: Batch) -> Batch {
        ahead.strip(&mut batch);
        batch
    }

    #[test]
    fn what_a_read_has_shown_is_not_told_again() {
        let mut ahead = ReadAhead::default();
        read(&mut ahead, "10:20:12", &["a", "b"]);
        assert_eq!(stripped(&mut ahead, batch(15, &["a", "c"])), batch(15, &["c"]));
        assert_eq!(stripped(&mut ahead, batch(12, &["a"])), batch(12, &["a"]), "not seen");
        let other = Batch { collection: "lists".into(), ..batch(15, &["a"]) };
        assert_eq!(stripped(&mut ahead, other.clone()), other, "another collection");
        assert_eq!(stripped(&mut ahead, batch(20, &["a"])), batch(20, &["a"]), "after it");
        assert!(ahead.reads.is_empty() && ahead.last.is_empty(), "all that it has seen has come");
    }

    #[test]
    fn of_a_row_that_is_read_again_the_last_read_counts() {
        let mut ahead = ReadAhead::default();
        read(&mut ahead, "10:20:", &["a"]);
        read(&mut ahead, "10:30:", &["a"]);
        assert_eq!(stripped(&mut ahead, batch(25, &["a", "b"])), batch(25, &["b"]));
        assert_eq!((ahead.reads.len(), ahead.rows), (1, 1), "the first has seen nothing of it");
        assert_eq!(stripped(&mut ahead, batch(15, &["a"])), batch(15, &[]));
    }

    #[test]
    fn a_truncation_that_a_read_has_seen_is_a_reason_to_read_again() {
        let mut ahead = ReadAhead::default();
        read(&mut ahead, "10:20:", &["a"]);
        let truncation = |xid| {
            let changes = batch(xid, &["b"]).changes().to_vec();
            Batch { effect: Effect::Truncation { changes }, ..batch(xid, &[]) }
        };
        let requery = Batch { effect: Effect::Requery, ..batch(15, &[]) };
        assert_eq!(stripped(&mut ahead, truncation(15)), requery);
        let later = truncation(21);
        assert_eq!(stripped(&mut ahead, later.clone()), later);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut ahead = ReadAhead::default();
        for _ in 0..100 {
            read(&mut ahead, "10:20:", &["a", "b"]);
            read(&mut ahead, "10:20:", &["c"]);
            assert!(ahead.rows <= ROWS_MAX && ahead.reads.len() <= ROWS_MAX);
        }
        assert!(stripped(&mut ahead, batch(15, &["a", "c"])).changes().is_empty());
        ahead.clear();
        assert_eq!(stripped(&mut ahead, batch(15, &["a"])), batch(15, &["a"]));
    }
}
