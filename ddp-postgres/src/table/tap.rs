//! Who is told of rows that are gone, besides the live queries.

use ddp_core::DocumentId;
use ddp_server::live_query::{Batch, Content};

use crate::row::live::LiveRow;

/// What is told of each transaction's changes to a collection, in order. It does not block.
pub(crate) trait Tap: Send + Sync {
    /// These rows are gone.
    fn gone(&self, ids: &mut dyn Iterator<Item = &DocumentId>);

    /// More may be gone than was told.
    fn missed(&self);
}

/// Tells what a batch means.
pub(super) fn tell(tap: &dyn Tap, batch: &Batch<LiveRow>) {
    match &batch.content {
        Content::Changes(changes) => {
            let gone = changes.iter().filter(|change| change.row.is_none());
            tap.gone(&mut gone.map(|change| &change.id));
        }
        Content::Truncated(_) | Content::Requery => tap.missed(),
    }
}
