//! Rows to be read by their keys: their messages hold no more, or came in an uncertain order.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use ddp_core::DocumentId;
use futures::FutureExt;
use serde_json::value::RawValue;
use tokio_postgres::types::ToSql;

use super::batch::{Assembled, Batch, Effect, Gap, GapReason};
use super::pipeline::Arrival;
use super::together::Found;
use crate::db::busy::Busy;
use crate::error::Error;
use crate::read::load::LOOK_AGAIN_AFTER;
use crate::read::reader::{RETRY_AFTER, Reader};
use crate::read::snapshot::Seen;
use crate::row::Row;
use crate::schema::Layout;
use crate::table::collection::TableCollection;

/// If one transaction has more keys, they are not looked up individually.
const KEYS_MAX: usize = 10_000;

/// How often to look for a transaction that was streamed before it became visible, after 1, 2, 4, …
/// milliseconds: for a second in all.
const LOOKS_MAX: u32 = 10;

/// Reads the rows of a batch that are to be read by their keys, and `more` of the same collection. After
/// a lost connection it tries again until the feed is interrupted as well, since then everything is
/// read again. After any other failure the live queries read again themselves.
pub(super) async fn read(
    reader: &Reader,
    collection: Option<&TableCollection>,
    arrival: Arrival,
    more: &[(DocumentId, String)],
) -> (Arrival, Option<Found>) {
    let batch = match arrival {
        Arrival::Assembled(Assembled::Batch(batch)) if !batch.unread().is_empty() => batch,
        other => return (other, None),
    };
    let (name, xid) = (&batch.collection, batch.xid);
    let mut looks = 0;
    let read = loop {
        let Some(collection) = collection.filter(|found| !found.is_idle()) else {
            // No query needs them: a later one will read the current rows.
            let effect = Effect::Changes { changes: Vec::new(), unread: Vec::new() };
            return (Arrival::Assembled(Assembled::Batch(Batch { effect, ..batch })), None);
        };
        let read =
            AssertUnwindSafe(select(reader, collection, batch.unread(), more)).catch_unwind();
        // All collections wait behind it, for the pool as well.
        let read = tokio::time::timeout(reader.key_read_within, read).await;
        let read = read.unwrap_or_else(|_| Ok(Err(Error::silent())));
        match read.unwrap_or_else(|_| Err(Error::panicked())) {
            Err(error) if error.is_of_connection() && !reader.is_closed() => {
                reader.log.line("no rows yet", name, error, |collection, error, count| {
                    tracing::warn!(
                        collection,
                        %error,
                        count,
                        "rows could not be read; trying again"
                    );
                });
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Ok(found) if found.includes(xid) => break Ok(found),
            Ok(_) if looks < LOOKS_MAX => {
                tokio::time::sleep(LOOK_AGAIN_AFTER * 2_u32.pow(looks)).await;
                looks += 1;
            }
            Ok(_) => break Err(Error::too_early()),
            Err(error) => break Err(error),
        }
    };
    let error = match read {
        Ok(found) => match found.fill(&batch) {
            Some((batch, ids)) => {
                return (Arrival::Read(batch, found.snapshot.clone(), ids), Some(found));
            }
            None => Error::malformed(name),
        },
        Err(error) => error,
    };
    reader.log.line("no rows by key", name, error, |collection, error, count| {
        tracing::warn!(collection, %error, count, "rows could not be read by key; reading again");
    });
    let gap = Gap { collection: Arc::clone(name), reason: GapReason::Unread };
    (Arrival::Assembled(Assembled::Gap(gap)), None)
}

/// Reads rows by their keys, along with the snapshot of the read.
async fn select(
    reader: &Reader,
    collection: &TableCollection,
    own: &[(DocumentId, String)],
    more: &[(DocumentId, String)],
) -> Result<Found, Error> {
    let layout = &collection.layout();
    if own.len() > KEYS_MAX {
        return Err(Error::too_many_keys());
    }
    let mut found: HashMap<_, _> =
        own.iter().chain(more).map(|(id, _)| (id.clone(), None)).collect();
    let keys: Vec<&str> = own.iter().chain(more).map(|(_, key)| key.as_str()).collect();
    let params = columns_of_keys(layout, &keys)?;
    let client = Busy::get(&reader.pool).await?;
    reader.counters.key_reads.add(1);
    // PostgreSQL would go on waiting for a lock when nobody waits for the read any more; preparing
    // takes it as well.
    let within = reader.key_read_within.as_millis();
    let begin = format!("BEGIN; SET LOCAL lock_timeout = {within}");
    let sql = layout.select_by_key_sql();
    let params: Vec<_> = params.iter().map(|texts| texts as &(dyn ToSql + Sync)).collect();
    let rows = client.query(&begin, &sql, &params).await?;
    let mut taken = None;
    for row in &rows {
        match row.try_get(0)? {
            json if str::starts_with(json, '{') => {
                let row = Row::parse(layout, json)?;
                found.insert(row.id().clone(), Some(row));
            }
            seen => taken = Some(Seen::parse(seen)?),
        }
    }
    let Seen { snapshot, family } = taken.ok_or_else(|| Error::malformed("no snapshot"))?;
    if collection.note_family(layout, family) {
        reader.check_soon();
    }
    Ok(Found { feed: layout.feed(), snapshot, rows: found })
}

/// The text of each key column, for one parameter per column.
fn columns_of_keys(layout: &Layout, keys: &[&str]) -> Result<Vec<Vec<String>>, Error> {
    let malformed = || Error::malformed(layout.collection());
    let mut columns = vec![Vec::with_capacity(keys.len()); layout.key().len()];
    for key in keys {
        let several: Vec<&RawValue>;
        let values = match layout.id_column() {
            Some(_) => vec![*key],
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

/// A JSON value in PostgreSQL's input syntax.
fn key_text(json: &str) -> Option<String> {
    if json.starts_with('"') { serde_json::from_str(json).ok() } else { Some(json.to_owned()) }
}
