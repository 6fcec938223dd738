//! What a transaction did to one collection.

use std::sync::Arc;

use ddp_core::DocumentId;

use crate::row::Row;

/// What a transaction finally did to one row.
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
    /// The transaction's 64-bit id.
    pub xid: u64,
    /// What it did.
    pub effect: Effect,
}

/// The net effect of a transaction: one change per row, in the order of their first changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changed these rows, and no others.
    Changes {
        /// What became of each row.
        changes: Vec<Change>,
        /// The ids and keys (as JSON) of all of them, if only the key was sent for any. They must
        /// still be read; until then, the changes have them as gone.
        unread: Vec<(DocumentId, String)>,
    },
    /// It removed all rows at once, and then wrote these.
    Truncation {
        /// What became of each of these rows.
        changes: Vec<Change>,
    },
    /// It changed more than its messages say: the collection must be read again.
    Requery,
}

impl Batch {
    /// The changed rows, as far as they are known.
    pub fn changes(&self) -> &[Change] {
        match &self.effect {
            Effect::Changes { changes, .. } | Effect::Truncation { changes } => changes,
            Effect::Requery => &[],
        }
    }

    /// The ids and keys of the rows still to be read.
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
    /// A payload that no trigger would send.
    Malformed,
    /// It was not the transaction's next operation.
    Sequence,
    /// It was not the operation's next part.
    Part,
    /// Rows could not be read by their keys.
    Unread,
}

/// Changes to a collection were lost: it must be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The collection.
    pub collection: Arc<str>,
    /// How this was noticed.
    pub reason: GapReason,
}

/// What an [`Assembler`](super::assembler::Assembler) puts out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assembled {
    /// A transaction's changes to a collection.
    Batch(Batch),
    /// Some changes to a collection were lost.
    Gap(Gap),
}

impl Assembled {
    pub(crate) fn collection(&self) -> &str {
        match self {
            Self::Batch(batch) => &batch.collection,
            Self::Gap(gap) => &gap.collection,
        }
    }
}
