//! The way of a feed's events to the live queries.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use ddp_server::live_query::{Batch, Change, Content, Origin, ReadTurn};
use ddp_server::log::{Count, Log};
use futures::FutureExt;
use parking_lot::Mutex;

use super::assembler::Assembler;
use super::batch::{self, Assembled, Effect, GapReason};
use super::pipeline::{Arrival, Pipeline, Reading, Submitted};
use super::rows;
use crate::feed::event::{FeedEvent, FeedSink, Payload};
use crate::read::group;
use crate::read::reader::{RETRY_AFTER, Reader};
use crate::read::snapshot::TransactionSnapshot;
use crate::read::visibility::Streamed;
use crate::row::RowError;
use crate::row::live::LiveRow;
use crate::schema::{INSTALLED_CHANNEL, Layout};
use crate::stats::Counters;
use crate::table::collection::{Current, TableCollection, TableState};

/// If a transaction sends more about a collection, the collection is read again instead.
const TRANSACTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Takes a feed's events and brings the live queries of all collections up to date.
pub(crate) struct Intake {
    reader: Arc<Reader>,
    /// By name.
    collections: HashMap<String, Arc<TableCollection>>,
    assembler: Mutex<Assembler>,
    pipeline: Mutex<Pipeline>,
}

impl Intake {
    /// An intake for these collections, whose names must be unique.
    pub(crate) fn new(
        reader: Arc<Reader>,
        collections: impl IntoIterator<Item = TableCollection>,
    ) -> Self {
        let mut assembler = Assembler::new(TRANSACTION_BYTES_MAX);
        let mut by_name = HashMap::new();
        for collection in collections {
            assembler.listen(collection.layout());
            let name = collection.table.collection_name().to_owned();
            by_name.insert(name, Arc::new(collection));
        }
        let pipeline = Pipeline::new(reader.interruptions().clone());
        Self {
            reader,
            collections: by_name,
            assembler: Mutex::new(assembler),
            pipeline: Mutex::new(pipeline),
        }
    }

    pub(crate) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// The collections, in no order.
    pub(crate) fn collections(&self) -> impl Iterator<Item = &Arc<TableCollection>> {
        self.collections.values()
    }

    pub(crate) fn collection(&self, name: &str) -> Option<&Arc<TableCollection>> {
        self.collections.get(name)
    }

    fn handle(self: &Arc<Self>, event: FeedEvent<'_>) {
        match event {
            FeedEvent::Begun { is_first, start } => self.handle_begun(is_first, start),
            FeedEvent::Payload(payload) => self.handle_payload(payload),
            FeedEvent::End => self.handle_end_of_transaction(),
            FeedEvent::Drained => self.handle_drained(),
            FeedEvent::Lost => {
                self.reader.forget_idle();
                self.pipeline.lock().interrupt()
            }
        }
    }

    fn handle_payload(self: &Arc<Self>, payload: Payload<'_>) {
        let Payload { channel, mut text, transaction, is_listened } = payload;
        if let Some(transaction) = transaction {
            let streamed = self.reader.visibility.note(channel, text, transaction);
            if streamed != Streamed::Other && !is_listened {
                return;
            }
            if streamed == Streamed::Forged {
                // Whatever it says, the queries read again.
                text = "";
            }
        }
        if channel == self.reader.tokens.channel {
            // What the token's transaction changed has arrived before it.
            self.handle_drained();
            if let Ok(token) = text.parse() {
                self.submit(Arrival::Token(token));
            }
            return;
        }
        if channel == INSTALLED_CHANNEL {
            return self.reader.announced.notify_one();
        }
        let mut assembler = self.assembler.lock();
        assembler.feed(channel, text);
        self.submit_assembled(&mut assembler);
    }

    /// Nothing more of the current transaction is on its way for now.
    fn handle_drained(self: &Arc<Self>) {
        let mut assembler = self.assembler.lock();
        assembler.end_of_burst();
        self.submit_assembled(&mut assembler);
    }

    /// The transaction being received is complete.
    fn handle_end_of_transaction(self: &Arc<Self>) {
        let mut assembler = self.assembler.lock();
        assembler.end_open_transaction();
        self.submit_assembled(&mut assembler);
        drop(assembler);
        if self.reader.visibility.is_crowded() {
            self.reader.look_around();
        }
    }

    /// The feed starts, perhaps not for the first time: earlier changes may have been missed.
    fn handle_begun(self: &Arc<Self>, is_first: bool, start: Option<TransactionSnapshot>) {
        if let Some(start) = start {
            self.reader.visibility.begin(start);
        }
        self.reader.counters.feed_connections.add(1);
        if !is_first {
            self.reader.counters.gaps_connection.add(1);
            self.reader.check_soon();
        }
        self.assembler.lock().reset();
        self.pipeline.lock().interrupt();
        // What has been asked for before the feed's first start has not been read yet.
        self.read_everything_again((!is_first).then_some("the feed was interrupted"));
    }

    fn submit_assembled(self: &Arc<Self>, assembler: &mut Assembler) {
        while let Some(assembled) = assembler.poll() {
            self.submit(Arrival::Assembled(assembled));
        }
    }

    /// Passes on an arrival, behind earlier ones.
    fn submit(self: &Arc<Self>, arrival: Arrival) {
        let mut pipeline = self.pipeline.lock();
        match pipeline.submit(arrival) {
            Submitted::Deliver(arrival) => self.deliver(arrival),
            Submitted::Read(reading) => {
                tokio::spawn(Arc::clone(self).read_and_deliver(reading));
            }
            Submitted::Waits => {}
            Submitted::Overflow => {
                self.reader.counters.gaps_overflow.add(1);
                self.reader.log.line("changes overflowed", "", "", |_, _, count| {
                    tracing::warn!(
                        count,
                        "changes arrived faster than rows could be read; reading everything again"
                    );
                });
                self.read_everything_again(Some("changes overflowed"));
            }
        }
    }

    /// Reads the rows of a batch, then continues with what has arrived in the meantime.
    async fn read_and_deliver(self: Arc<Self>, mut reading: Reading) {
        loop {
            let Reading { arrival, more, until, mut interruptions } = reading;
            let collection = arrival.collection().and_then(|name| self.collection(name)).cloned();
            let read = tokio::select! {
                read = rows::read(&self.reader, collection.as_deref(), arrival, &more) => Some(read),
                // The read may hang: whatever broke the feed may have broken its connection, too.
                _ = interruptions.changed() => None,
            };
            let mut pipeline = self.pipeline.lock();
            if let Some((mut read, found)) = read
                && interruptions.has_changed().is_ok_and(|has_changed| !has_changed)
            {
                pipeline.note_read(&mut read, found, until);
                self.deliver(read);
            }
            let Some(next) = pipeline.next() else { return };
            reading = next;
        }
    }

    /// Brings the live queries, or a token's owner, up to date.
    fn deliver(self: &Arc<Self>, arrival: Arrival) {
        match arrival {
            Arrival::Token(token) => {
                let Some(write) = self.reader.tokens.arrived(token) else { return };
                for collection in self.collections.values() {
                    collection.multiplexer.hold(&write);
                }
            }
            Arrival::Read(batch, snapshot, _) => {
                self.apply(Assembled::Batch(batch), Some(Origin::Read(snapshot.point())));
            }
            Arrival::Assembled(assembled) => self.apply(assembled, None),
        }
    }

    fn apply(self: &Arc<Self>, assembled: Assembled, read: Option<Origin>) {
        let Some(collection) = self.collections.get(assembled.collection()) else { return };
        let Current { layout, state } = collection.current();
        let counters = &self.reader.counters;
        let mut batch = match state {
            TableState::Live => live_batch(&layout, assembled, counters, &self.reader.log),
            TableState::ReadAgain | TableState::Partial => {
                counters.requeries.add(1);
                requery(match assembled {
                    Assembled::Batch(batch) => Origin::Transaction(batch.xid),
                    Assembled::Gap(_) => Origin::Gap,
                })
            }
            TableState::Missing | TableState::Unavailable => return,
        };
        batch.origin = read.unwrap_or(batch.origin);
        if collection.apply(batch) {
            self.read_soon(collection);
        }
    }

    /// Switches to a table's new description, or plans its queries again with the current one.
    pub(crate) fn replace(
        self: &Arc<Self>,
        collection: &Arc<TableCollection>,
        current: Option<Current>,
    ) {
        // Changes are applied under these locks, and depend on the layout.
        let mut assembler = self.assembler.lock();
        let mut pipeline = self.pipeline.lock();
        let current = current.unwrap_or_else(|| collection.current());
        assembler.listen(Arc::clone(&current.layout));
        let is_reading = pipeline.is_reading();
        if is_reading {
            pipeline.drop_all();
        }
        let must_read = collection.replace(current);
        drop((assembler, pipeline));
        if must_read {
            self.read_soon(collection);
        }
        if is_reading {
            self.read_everything_again(Some("a table was altered"));
        }
    }

    /// Makes all live queries read. The log tells the cause if they have been read before.
    fn read_everything_again(self: &Arc<Self>, cause: Option<&str>) {
        for collection in self.collections.values() {
            let queries = collection.reload_all();
            if let Some(cause) = cause.filter(|_| queries > 0) {
                tell_of_reading(&self.reader.log, collection, queries, cause);
            }
            self.read_soon(collection);
        }
        for write in self.reader.tokens.lose_all() {
            self.reader.notify_again(write);
        }
    }

    /// Has the queries of a collection read that wait, if enough tasks do not do so already. The task
    /// keeps the intake alive until all are live, and thereby the feed.
    pub(crate) fn read_soon(self: &Arc<Self>, collection: &Arc<TableCollection>) {
        let Some(turn) = ReadTurn::take(&collection.multiplexer) else { return };
        let (intake, collection) = (Arc::clone(self), Arc::clone(collection));
        tokio::spawn(async move {
            let others = || intake.read_soon(&collection);
            let reading = group::run(&intake.reader, &collection, turn, others);
            if AssertUnwindSafe(reading).catch_unwind().await.is_err() {
                // What it had begun waits again, and nobody else may come along to read it.
                let name = collection.table.collection_name();
                intake.reader.log.line("reading panicked", name, "", |collection, _, count| {
                    tracing::error!(
                        collection,
                        count,
                        "reading live queries panicked; trying again"
                    );
                });
                tokio::time::sleep(RETRY_AFTER).await;
                intake.read_soon(&collection);
            }
        });
    }
}

fn tell_of_reading(log: &Log, collection: &TableCollection, queries: usize, cause: &str) {
    let collection = collection.table.collection_name();
    let count: Count = |collection, cause, count| {
        tracing::info!(collection, cause, count, "live queries were read again several times");
    };
    if log.admits("reading again", collection, cause, count) {
        tracing::info!(collection, queries, cause, "reading live queries again");
    }
}

/// Weak, since a feed must not keep the intake alive.
impl FeedSink for Weak<Intake> {
    fn handle(&self, event: FeedEvent<'_>) -> ControlFlow<()> {
        let Some(intake) = self.upgrade() else { return ControlFlow::Break(()) };
        intake.handle(event);
        ControlFlow::Continue(())
    }

    fn is_idle(&self, channel: &str) -> bool {
        let Some(intake) = self.upgrade() else { return true };
        let mut collections = intake.collections.values();
        let collection = collections.find(|collection| collection.channel == channel);
        collection.is_none_or(|collection| collection.is_idle())
    }

    fn position(&self) -> u64 {
        self.upgrade().map_or(0, |intake| intake.reader.visibility.position())
    }

    fn is_closed(&self) -> bool {
        self.upgrade().is_none_or(|intake| intake.reader.is_closed())
    }
}

/// A batch that asks to read everything again.
fn requery(origin: Origin) -> Batch<LiveRow> {
    Batch { origin, content: Content::Requery }
}

/// A transaction's changes in the form that live queries need. Whatever is unclear is read again.
fn live_batch(
    layout: &Arc<Layout>,
    assembled: Assembled,
    counters: &Counters,
    log: &Log,
) -> Batch<LiveRow> {
    let batch::Batch { collection, xid, effect } = match assembled {
        Assembled::Batch(batch) => batch,
        Assembled::Gap(gap) => {
            match gap.reason {
                GapReason::Malformed => counters.gaps_malformed.add(1),
                GapReason::Sequence => counters.gaps_sequence.add(1),
                GapReason::Part => counters.gaps_part.add(1),
                // The log has said why.
                GapReason::Unread => {
                    counters.requeries.add(1);
                    return requery(Origin::Gap);
                }
            }
            let reason = format!("{:?}", gap.reason);
            log.line("changes were lost", &gap.collection, reason, |collection, reason, count| {
                tracing::warn!(collection, %reason, count, "changes were lost; reading again");
            });
            return requery(Origin::Gap);
        }
    };
    let origin = Origin::Transaction(xid);
    let (is_truncation, changes) = match effect {
        Effect::Changes { changes, .. } => (false, changes),
        Effect::Truncation { changes } => (true, changes),
        Effect::Requery => {
            counters.requeries.add(1);
            return requery(origin);
        }
    };
    counters.batches.add(1);
    counters.changes.add(changes.len());
    let changes = changes.into_iter().map(|change| {
        let row = change.row.map(|row| LiveRow::new(layout, row)).transpose()?;
        Ok(Change { id: change.id, row })
    });
    match changes.collect::<Result<Vec<_>, RowError>>() {
        Ok(changes) if is_truncation => Batch { origin, content: Content::Truncated(changes) },
        Ok(changes) => Batch { origin, content: Content::Changes(changes) },
        Err(error) => {
            log.line("unreadable change", &collection, error, |collection, error, count| {
                tracing::warn!(collection, %error, count, "a change is unreadable; reading again");
            });
            requery(origin)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::batch::Gap;
    use crate::schema::fixture;
    use crate::value::ValueKind;

    #[test]
    fn no_read_makes_up_for_a_gap_that_came_while_it_ran() {
        let layout = Arc::new(fixture::layout(&[("id", ValueKind::Text)], false));
        let gap = Gap { collection: Arc::clone(layout.collection()), reason: GapReason::Part };
        let batch = live_batch(&layout, Assembled::Gap(gap), &Counters::default(), &Log::default());
        let snapshot = TransactionSnapshot::parse("1000:9223372036854775807:").unwrap();
        assert!(matches!(batch.content, Content::Requery));
        assert!(!snapshot.has_seen_batch(batch.origin));
    }
}
