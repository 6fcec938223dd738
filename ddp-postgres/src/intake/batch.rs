//! What a transaction did to one collection.

use std::sync::Arc;

use ddp_core::DocumentId;

use crate::row::Row;

/// What a transaction did to one row in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The id of the row's document.
    pub id: DocumentId,
    /// The row as the transaction left it; `None` if it is gone.
    pub row: Option<Row>,
}

/// What a transaction did to a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The collection.
    pub collection: Arc<str>,
    /// The transaction, by its 64-bit id.
    pub xid: u64,
    /// What it did.
    pub effect: Effect,
}

/// The net effect of a transaction. There is one change for each row, in the order in which the rows
/// were first changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changed these rows, and no others.
    Changes {
        /// What became of each of them.
        changes: Vec<Change>,
        /// The ids and keys, as JSON, of all of them, if only the key of any was told: they are to
        /// be read, and are among the changes as gone until then.
        unread: Vec<(DocumentId, String)>,
    },
    /// It removed all rows at once, and then wrote these.
    Truncation {
        /// What became of each of them.
        changes: Vec<Change>,
    },
    /// It changed more than its messages say: the collection must be read again.
    Requery,
}

impl Batch {
    /// The rows that changed, as far as they are known.
    pub fn changes(&self) -> &[Change] {
        match &self.effect {
            Effect::Changes { changes, .. } | Effect::Truncation { changes } => changes,
            Effect::Requery => &[],
        }
    }

    /// The ids and keys of the rows that are to be read.
    pub fn unread(&self) -> &[(DocumentId, String)] {
        match &self.effect {
            Effect::Changes { unread, .. } => unread,
            Effect::Truncation { .. } | Effect::Requery => &[],
        }
    }
}

/// Why a collection's changes are no longer known to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// A payload that no trigger sends.
    Malformed,
    /// Another operation of the transaction was due.
    Sequence,
    /// Another part of the operation was due.
    Part,
}

/// Changes to a collection got lost: it must be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The collection.
    pub collection: Arc<str>,
    /// How that is known.
    pub reason: GapReason,
}

/// What an [`Assembler`](super::assembler::Assembler) puts out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assembled {
    /// A transaction's changes to a collection.
    Batch(Batch),
    /// Some changes to a collection got lost.
    Gap(Gap),
}

impl Assembled {
    /// The collection that it is about.
    pub(crate) fn collection(&self) -> &str {
        match self {
            Self::Batch(batch) => &batch.collection,
            Self::Gap(gap) => &gap.collection,
        }
    }
}
