//! What comes from the feed, on its way to the live queries.

use std::sync::Arc;

use ddp_server::live_query::{Batch, Change};

use crate::db::Inner;
use crate::intake::assembler::{Assembled, Assembler, GapReason};
use crate::intake::pipeline::Item;
use crate::read::snapshot::AT_POINT;
use crate::row::RowError;
use crate::row::live::LiveRow;
use crate::schema::{INSTALLED_CHANNEL, Layout};
use crate::stats::Counters;
use crate::table::collection::{Current, Standing};

impl Inner {
    /// A notification came from the feed, in the order of commits.
    pub(crate) fn handle_notification(&self, channel: &str, payload: &str) {
        if channel == self.tokens.channel {
            // Whatever the token's transaction changed has come before it.
            self.handle_drained();
            if let Ok(token) = payload.parse() {
                self.submit(Item::Token(token));
            }
            return;
        }
        if channel == INSTALLED_CHANNEL {
            return self.check_soon();
        }
        let mut assembler = self.assembler.lock();
        assembler.feed(channel, payload);
        self.apply_assembled(&mut assembler);
    }

    /// Nothing more of the current transaction is on its way.
    pub(crate) fn handle_drained(&self) {
        let mut assembler = self.assembler.lock();
        assembler.end_of_burst();
        self.apply_assembled(&mut assembler);
    }

    /// The transaction that was being received is complete.
    pub(crate) fn handle_end_of_transaction(&self) {
        let mut assembler = self.assembler.lock();
        assembler.end_open_transaction();
        self.apply_assembled(&mut assembler);
        drop(assembler);
        if self.visibility.is_crowded() {
            self.look_around();
        }
    }

    fn apply_assembled(&self, assembler: &mut Assembler) {
        while let Some(assembled) = assembler.poll() {
            self.submit(Item::Assembled(assembled));
        }
    }

    /// Brings the live queries, or a token's owner, up to date.
    pub(crate) fn deliver(&self, item: Item) {
        match item {
            Item::Token(token) => {
                let Some(write) = self.tokens.arrived(token) else { return };
                for collection in self.collections.values() {
                    collection.multiplexer.hold(&write);
                }
            }
            Item::Read(batch, snapshot, _) => {
                self.apply(Assembled::Batch(batch), Some(AT_POINT | snapshot.point()));
            }
            Item::Assembled(assembled) => self.apply(assembled, None),
        }
    }

    fn apply(&self, assembled: Assembled, transaction: Option<u64>) {
        let name = match &assembled {
            Assembled::Batch(batch) => &batch.collection,
            Assembled::Gap(gap) => &gap.collection,
        };
        let Some(collection) = self.collections.get(&**name) else { return };
        let Current { layout, standing } = collection.current();
        let mut batch = match standing {
            Standing::Live => live_batch(&layout, assembled, &self.counters),
            Standing::Unreadable => {
                self.counters.requeries.add(1);
                requery(match assembled {
                    Assembled::Batch(batch) => batch.xid,
                    Assembled::Gap(_) => u64::MAX,
                })
            }
            Standing::Gone | Standing::Unavailable => return,
        };
        batch.transaction = transaction.unwrap_or(batch.transaction);
        let loads = collection.multiplexer.apply(batch);
        self.spawn_loads(collection, loads);
    }

    /// The feed begins, perhaps again: whatever happened before may have been missed.
    pub(crate) fn handle_gap(&self) {
        self.assembler.lock().reset();
        self.interrupt();
        self.read_everything_again();
    }

    pub(crate) fn read_everything_again(&self) {
        for collection in self.collections.values() {
            let loads = collection.multiplexer.reload_all();
            if !loads.is_empty() {
                let collection_name = collection.table.collection_name();
                tracing::info!("reading {} live queries of {collection_name} again", loads.len());
            }
            self.spawn_loads(collection, loads);
        }
        for write in self.tokens.lose_all() {
            self.notify_again(write);
        }
    }
}

/// Asks for all to be read again.
fn requery(transaction: u64) -> Batch<LiveRow> {
    Batch { transaction, truncated: false, requery: true, changes: Vec::new() }
}

/// A transaction's changes as live queries take them. What can't be told from them is read again.
fn live_batch(layout: &Arc<Layout>, assembled: Assembled, counters: &Counters) -> Batch<LiveRow> {
    let batch = match assembled {
        Assembled::Batch(batch) if !batch.requery => batch,
        Assembled::Batch(batch) => {
            counters.requeries.add(1);
            return requery(batch.xid);
        }
        Assembled::Gap(gap) => {
            match gap.reason {
                GapReason::Malformed => counters.gaps_malformed.add(1),
                GapReason::Sequence => counters.gaps_sequence.add(1),
                GapReason::Part => counters.gaps_part.add(1),
            }
            tracing::warn!(
                "changes of {} were lost ({:?}): reading again",
                gap.collection,
                gap.reason
            );
            // No snapshot has seen it for sure.
            return requery(u64::MAX);
        }
    };
    counters.batches.add(1);
    counters.changes.add(batch.changes.len());
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
    use crate::intake::assembler::{Gap, GapReason};
    use crate::read::snapshot::TransactionSnapshot;
    use crate::schema::fixture;
    use crate::value::ValueKind;

    #[test]
    fn no_read_makes_up_for_a_gap_that_came_while_it_ran() {
        let layout = Arc::new(fixture::layout(&[("id", ValueKind::Text)], false));
        let gap = Gap { collection: Arc::clone(layout.collection()), reason: GapReason::Part };
        let batch = live_batch(&layout, Assembled::Gap(gap), &Counters::default());
        let snapshot = TransactionSnapshot::parse("1000:9223372036854775807:").unwrap();
        assert!(batch.requery && !snapshot.has_seen(batch.transaction));
    }
}
