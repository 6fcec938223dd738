//! The stage between the assembler and the live queries, in which rows are read that were told by
//! their keys only.
//!
//! Whatever comes while a read is under way waits behind it, in order: other batches, and tokens.
//! When too much waits, all of it is dropped and every live query reads again.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use ddp_core::DocumentId;
use futures::FutureExt;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_postgres::types::ToSql;

use crate::db::busy::Busy;
use crate::db::{Inner, RETRY_AFTER};
use crate::error::Error;
use crate::intake::assembler::{Assembled, Batch};
use crate::intake::read_ahead::ReadAhead;
use crate::read::snapshot::TransactionSnapshot;
use crate::row::Row;
use crate::schema::Layout;
use crate::table::collection::TableCollection;

/// What may wait behind a read, roughly.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a batch or a token takes besides its rows, and a change besides its row.
const OVERHEAD_BYTES: usize = 200;
/// More keys of one transaction than this are not looked up one by one.
const KEYS_MAX: usize = 10_000;

/// What comes from the feed, in its order.
#[derive(Debug)]
pub(crate) enum Item {
    Assembled(Assembled),
    /// A batch of which rows have been read, with the snapshot in which they were, and their ids.
    Read(Batch, TransactionSnapshot, Vec<DocumentId>),
    Token(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    waiting: VecDeque<Item>,
    waiting_bytes: usize,
    /// Whether a task reads rows, and takes what waits afterwards.
    is_reading: bool,
    /// What has been read of what is still to come.
    ahead: ReadAhead,
    /// Tells of interruptions, so that what was read before one is not taken for news after it.
    interruptions: watch::Sender<()>,
}

impl Pipeline {
    /// Whether anything is being read, and other things may wait.
    pub(crate) fn is_reading(&self) -> bool {
        self.is_reading
    }

    /// Drops what waits, and what is being read.
    pub(crate) fn interrupt(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.ahead.clear();
        self.interruptions.send_replace(());
    }

    /// Leaves out of the next item what has been read already.
    fn strip(&mut self, mut item: Item) -> Item {
        if let Item::Assembled(Assembled::Batch(batch)) = &mut item {
            self.ahead.strip(batch);
        }
        item
    }
}

impl Item {
    fn bytes(&self) -> usize {
        let Self::Assembled(Assembled::Batch(batch)) = self else { return OVERHEAD_BYTES };
        let row = |row: Option<&Row>| row.map_or(0, |row| row.text().len());
        let changes = batch.changes.iter();
        let changes = changes
            .map(|change| OVERHEAD_BYTES + change.id.as_str().len() + row(change.row.as_ref()));
        let unread = batch.unread.iter().map(|(id, key)| id.as_str().len() + key.len());
        OVERHEAD_BYTES + changes.sum::<usize>() + unread.sum::<usize>()
    }

    fn has_unread_rows(&self) -> bool {
        matches!(self, Self::Assembled(Assembled::Batch(batch)) if !batch.unread.is_empty())
    }
}

impl Inner {
    /// Hands over what has come, behind what came before.
    pub(crate) fn submit(&self, item: Item) {
        let mut pipeline = self.pipeline.lock();
        if !pipeline.is_reading {
            let item = pipeline.strip(item);
            if !item.has_unread_rows() {
                return self.deliver(item);
            }
            let Some(db) = self.weak().upgrade() else { return };
            pipeline.is_reading = true;
            let interruptions = pipeline.interruptions.subscribe();
            tokio::spawn(db.read_and_deliver(item, interruptions));
            return;
        }
        pipeline.waiting_bytes += item.bytes();
        if pipeline.waiting_bytes <= WAITING_BYTES_MAX {
            return pipeline.waiting.push_back(item);
        }
        pipeline.interrupt();
        self.counters.gaps_overflow.add(1);
        tracing::warn!("more changes came than rows could be read: reading everything again");
        self.read_everything_again();
    }

    /// The feed is interrupted: whatever waits or is being read will be read again.
    pub(crate) fn interrupt(&self) {
        self.pipeline.lock().interrupt();
    }

    /// Tells of interruptions from now on.
    pub(crate) fn interruptions(&self) -> watch::Receiver<()> {
        self.pipeline.lock().interruptions.subscribe()
    }

    /// Reads the rows of a batch, then goes on with what came meanwhile.
    async fn read_and_deliver(
        self: Arc<Self>,
        mut item: Item,
        mut interruptions: watch::Receiver<()>,
    ) {
        loop {
            let read = tokio::select! {
                read = self.read_rows(item) => Some(read),
                // It might never end: what lost the feed may have lost its connection.
                _ = interruptions.changed() => None,
            };
            let mut pipeline = self.pipeline.lock();
            if let Some(mut read) = read
                && interruptions.has_changed().is_ok_and(|has_changed| !has_changed)
            {
                if let Item::Read(batch, snapshot, ids) = &mut read {
                    pipeline.ahead.note(&batch.collection, snapshot.clone(), std::mem::take(ids));
                }
                self.deliver(read);
            }
            let Some(next) = pipeline.waiting.pop_front() else {
                pipeline.is_reading = false;
                return;
            };
            pipeline.waiting_bytes -= next.bytes();
            (item, interruptions) = (pipeline.strip(next), pipeline.interruptions.subscribe());
        }
    }

    /// Reads the rows that a batch only names, if it does. A lost connection is replaced until the
    /// feed is interrupted as well, for then all is read again; if a read fails otherwise, live
    /// queries read for themselves.
    async fn read_rows(&self, item: Item) -> Item {
        if !item.has_unread_rows() {
            return item;
        }
        let Item::Assembled(Assembled::Batch(mut batch)) = item else { return item };
        let (ids, keys): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.unread).into_iter().unzip();
        let collection = self.collections.get(&*batch.collection);
        let read = loop {
            let Some(collection) = collection.filter(|found| !found.multiplexer.is_idle()) else {
                // Nobody needs them: whoever comes later reads what there is then.
                batch.changes.clear();
                return Item::Assembled(Assembled::Batch(batch));
            };
            let read = AssertUnwindSafe(self.select_keys(collection, &keys)).catch_unwind().await;
            match read.unwrap_or_else(|_| Err(Error::panicked())) {
                Err(error) if error.is_of_connection() && !self.is_closed() => {
                    tracing::warn!("rows of {}: {error}; trying again", batch.collection);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                read => break read,
            }
        };
        match read {
            Ok((rows, snapshot)) => {
                let mut rows: HashMap<_, _> =
                    rows.into_iter().map(|row| (row.id().clone(), row)).collect();
                for change in &mut batch.changes {
                    if change.row.is_none() {
                        change.row = rows.remove(&change.id);
                    }
                }
                Item::Read(batch, snapshot, ids)
            }
            Err(error) => {
                tracing::warn!("rows of {} could not be read: {error}", batch.collection);
                batch.changes.clear();
                batch.requery = true;
                Item::Assembled(Assembled::Batch(batch))
            }
        }
    }

    async fn select_keys(
        &self,
        collection: &TableCollection,
        keys: &[String],
    ) -> Result<(Vec<Row>, TransactionSnapshot), Error> {
        let layout = &collection.layout();
        if keys.len() > KEYS_MAX {
            return Err(Error::too_many_keys());
        }
        let params = columns_of_keys(layout, keys)?;
        let client = Busy::get(&self.pool).await?;
        self.counters.key_reads.add(1);
        let statement = client.prepare_cached(&layout.select_by_key_sql()).await?;
        let params: Vec<_> = params.iter().map(|texts| texts as &(dyn ToSql + Sync)).collect();
        let rows = client.query(&statement, &params).await?;
        client.done();
        let (mut found, mut taken) = (Vec::with_capacity(rows.len()), None);
        for row in &rows {
            match row.try_get(0)? {
                json if str::starts_with(json, '{') => found.push(layout.parse_row(json)?),
                snapshot => taken = Some(TransactionSnapshot::parse(snapshot)?),
            }
        }
        Ok((found, taken.ok_or_else(|| Error::malformed("no snapshot"))?))
    }
}

/// The text of each key's columns, for one parameter per column.
fn columns_of_keys(layout: &Layout, keys: &[String]) -> Result<Vec<Vec<String>>, Error> {
    let malformed = || Error::malformed(layout.collection());
    let mut columns = vec![Vec::with_capacity(keys.len()); layout.key().len()];
    for key in keys {
        let several: Vec<&RawValue>;
        let values = match layout.id_column() {
            Some(_) => vec![key.as_str()],
            None => {
                several = serde_json::from_str(key).map_err(|_| malformed())?;
                several.iter().map(|value| value.get()).collect()
            }
        };
        if values.len() != columns.len() {
            return Err(malformed());
        }
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(key_text(value).ok_or_else(malformed)?);
        }
    }
    Ok(columns)
}

/// A JSON value as PostgreSQL reads it.
fn key_text(json: &str) -> Option<String> {
    if json.starts_with('"') { serde_json::from_str(json).ok() } else { Some(json.to_owned()) }
}
