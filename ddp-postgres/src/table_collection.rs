//! A registered table, as it is at present.

use std::sync::Arc;

use ddp_core::DdpError;
use ddp_server::live_query::{Batch, Change, Load, Multiplexer};
use parking_lot::{Mutex, RwLock};

use crate::assembler::Assembled;
use crate::driver;
use crate::live_row::LiveRow;
use crate::row::RowError;
use crate::schema::Layout;
use crate::table::Table;

/// One registered table with its live queries.
pub(crate) struct TableCollection {
    pub(crate) table: Table,
    pub(crate) multiplexer: Arc<Multiplexer<LiveRow>>,
    /// The channel, which no change of the table changes.
    pub(crate) channel: String,
    current: RwLock<Current>,
    /// What the catalogs said when the table was last looked at.
    pub(crate) digest: Mutex<String>,
}

/// What is known of the table at present.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) layout: Arc<Layout>,
    pub(crate) standing: Standing,
}

/// What can be done with the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Every change is told, and can be read.
    Live,
    /// Every change is told, in a form that another server installed: all queries read again.
    Unreadable,
    /// It is not there. Queries show no documents until it is.
    Gone,
    /// It cannot be published: queries end with an error.
    Unavailable,
}

impl TableCollection {
    pub(crate) fn new(table: Table, layout: Layout, digest: String) -> Self {
        Self {
            table,
            multiplexer: Multiplexer::new(layout.collection().to_string()),
            channel: layout.channel().to_owned(),
            current: RwLock::new(Current { layout: Arc::new(layout), standing: Standing::Live }),
            digest: Mutex::new(digest),
        }
    }

    pub(crate) fn current(&self) -> Current {
        self.current.read().clone()
    }

    pub(crate) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.current.read().layout)
    }

    /// Takes note of what the table is now. All live queries are planned anew and read again; the
    /// reads are the answer. Those that no longer fit end with an error.
    ///
    /// No transaction's changes may be applied meanwhile, since rows belong to a layout.
    #[must_use]
    pub(crate) fn replace(&self, current: Current) -> Vec<Load> {
        let layout = Arc::clone(&current.layout);
        *self.current.write() = current;
        self.multiplexer.replan(|query| {
            driver::plan(&layout, query)
                .map_err(|error| DdpError::new("collection-changed", error.to_string()))
        })
    }

    /// What subscribers of a table that cannot be published are told; the log says why.
    pub(crate) fn unavailable(&self) -> DdpError {
        let name = self.table.collection_name();
        DdpError::new("collection-unavailable", format!("collection {name:?} is unavailable"))
    }

    /// A transaction's changes as live queries take them. What can't be told from them is read
    /// again. `None` if there is nothing to be read.
    pub(crate) fn live_batch(&self, assembled: Assembled) -> Option<Batch<LiveRow>> {
        let Current { layout, standing } = self.current();
        match (standing, assembled) {
            (Standing::Live, assembled) => Some(live_batch(&layout, assembled)),
            (Standing::Unreadable, Assembled::Batch(batch)) => Some(requery(batch.xid)),
            (Standing::Unreadable, Assembled::Gap(_)) => Some(requery(u64::MAX)),
            (Standing::Gone | Standing::Unavailable, _) => None,
        }
    }
}

fn requery(transaction: u64) -> Batch<LiveRow> {
    Batch { transaction, truncated: false, requery: true, changes: Vec::new() }
}

fn live_batch(layout: &Arc<Layout>, assembled: Assembled) -> Batch<LiveRow> {
    let batch = match assembled {
        Assembled::Batch(batch) if !batch.requery => batch,
        Assembled::Batch(batch) => return requery(batch.xid),
        Assembled::Gap(gap) => {
            tracing::warn!(
                "changes of {} were lost ({:?}): reading again",
                gap.collection,
                gap.reason
            );
            // No snapshot has seen it for sure.
            return requery(u64::MAX);
        }
    };
    let changes = batch.changes.into_iter().map(|change| {
        let row = change.row.map(|row| LiveRow::new(layout, row)).transpose()?;
        Ok(Change { id: change.id, row })
    });
    match changes.collect::<Result<_, RowError>>() {
        Ok(changes) => {
            let (transaction, truncated) = (batch.xid, batch.truncated);
            Batch { transaction, truncated, requery: false, changes }
        }
        Err(error) => {
            tracing::warn!(
                "a change of {} is unreadable: {error}; reading again",
                batch.collection
            );
            requery(batch.xid)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembler::{Gap, GapReason};
    use crate::schema::fixture;
    use crate::snapshot::TransactionSnapshot;
    use crate::value::ValueKind;

    #[test]
    fn no_read_makes_up_for_a_gap_that_came_while_it_ran() {
        let layout = Arc::new(fixture::layout(&[("id", ValueKind::Text)], false));
        let gap = Gap { collection: Arc::clone(layout.collection()), reason: GapReason::Part };
        let batch = live_batch(&layout, Assembled::Gap(gap));
        let snapshot = TransactionSnapshot::parse("1000:9223372036854775807:").unwrap();
        assert!(batch.requery && !snapshot.has_seen(batch.transaction));
    }
}
