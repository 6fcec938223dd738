//! Rows to be read by their keys: their messages hold no more, or came in an uncertain order.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use serde_json::value::RawValue;
use tokio_postgres::types::ToSql;

use super::batch::{Assembled, Batch, Effect};
use super::pipeline::Arrival;
use crate::db::busy::Busy;
use crate::error::Error;
use crate::feed::Feed;
use crate::read::load::LOOK_AGAIN_AFTER;
use crate::read::reader::{RETRY_AFTER, Reader};
use crate::read::snapshot::{Seen, TransactionSnapshot};
use crate::row::Row;
use crate::schema::Layout;
use crate::table::collection::TableCollection;

/// If one transaction has more keys, they are not looked up individually.
const KEYS_MAX: usize = 10_000;

/// How often to look for a transaction that was streamed before it became visible, after 1, 2, 4, …
/// milliseconds: for a second in all.
const LOOKS_MAX: u32 = 10;

/// Reads the rows of a batch that are to be read by their keys. After a lost connection it tries
/// again until the feed is interrupted as well, since then everything is read again. After any other
/// failure the live queries read again themselves.
pub(super) async fn read(
    reader: &Reader,
    collection: Option<&TableCollection>,
    arrival: Arrival,
) -> Arrival {
    let Arrival::Assembled(Assembled::Batch(Batch { collection: name, xid, effect })) = arrival
    else {
        return arrival;
    };
    let batch = |effect| Batch { collection: Arc::clone(&name), xid, effect };
    let assembled = |effect| Arrival::Assembled(Assembled::Batch(batch(effect)));
    let (mut changes, unread) = match effect {
        Effect::Changes { changes, unread } if !unread.is_empty() => (changes, unread),
        effect => return assembled(effect),
    };
    let (ids, keys): (Vec<_>, Vec<_>) = unread.into_iter().unzip();
    let mut looks = 0;
    let read = loop {
        let Some(collection) = collection.filter(|found| !found.multiplexer.is_idle()) else {
            // No query needs them: a later one will read the current rows.
            return assembled(Effect::Changes { changes: Vec::new(), unread: Vec::new() });
        };
        let layout_feed = collection.layout().feed();
        let read = AssertUnwindSafe(select(reader, collection, &keys)).catch_unwind();
        // All collections wait behind it, for the pool as well.
        let read = tokio::time::timeout(reader.key_read_within, read).await;
        let read = read.unwrap_or_else(|_| Ok(Err(Error::silent())));
        match read.unwrap_or_else(|_| Err(Error::panicked())) {
            Err(error) if error.is_of_connection() && !reader.is_closed() => {
                reader.log.line("no rows yet", &name, error, |collection, error, count| {
                    tracing::warn!(
                        collection,
                        %error,
                        count,
                        "rows could not be read; trying again"
                    );
                });
                tokio::time::sleep(RETRY_AFTER).await;
            }
            // A notification comes when its transaction is visible: somebody has made this one up.
            Ok((_, snapshot)) if !snapshot.has_seen(xid) && layout_feed == Feed::Notify => {
                break Err(Error::too_early());
            }
            Ok((_, snapshot)) if !snapshot.has_seen(xid) && looks < LOOKS_MAX => {
                tokio::time::sleep(LOOK_AGAIN_AFTER * 2_u32.pow(looks)).await;
                looks += 1;
            }
            Ok((_, snapshot)) if !snapshot.has_seen(xid) => break Err(Error::too_early()),
            read => break read,
        }
    };
    match read {
        Ok((rows, snapshot)) => {
            let mut rows: HashMap<_, _> =
                rows.into_iter().map(|row| (row.id().clone(), row)).collect();
            for change in &mut changes {
                change.row = rows.remove(&change.id);
            }
            let effect = Effect::Changes { changes, unread: Vec::new() };
            Arrival::Read(batch(effect), snapshot, ids)
        }
        Err(error) => {
            reader.log.line("no rows by key", &name, error, |collection, error, count| {
                tracing::warn!(
                    collection,
                    %error,
                    count,
                    "rows could not be read by key; reading again"
                );
            });
            assembled(Effect::Requery)
        }
    }
}

/// Reads rows by their keys, along with the snapshot of the read.
async fn select(
    reader: &Reader,
    collection: &TableCollection,
    keys: &[String],
) -> Result<(Vec<Row>, TransactionSnapshot), Error> {
    let layout = &collection.layout();
    if keys.len() > KEYS_MAX {
        return Err(Error::too_many_keys());
    }
    let params = columns_of_keys(layout, keys)?;
    let client = Busy::get(&reader.pool).await?;
    reader.counters.key_reads.add(1);
    // PostgreSQL would go on waiting for a lock when nobody waits for the read any more; preparing
    // takes it as well.
    let within = reader.key_read_within.as_millis();
    let begin = format!("BEGIN; SET LOCAL lock_timeout = {within}");
    let sql = layout.select_by_key_sql();
    let params: Vec<_> = params.iter().map(|texts| texts as &(dyn ToSql + Sync)).collect();
    let rows = client.query(&begin, &sql, &params).await?;
    let (mut found, mut taken) = (Vec::with_capacity(rows.len()), None);
    for row in &rows {
        match row.try_get(0)? {
            json if str::starts_with(json, '{') => found.push(Row::parse(layout, json)?),
            seen => taken = Some(Seen::parse(seen)?),
        }
    }
    let Seen { snapshot, family } = taken.ok_or_else(|| Error::malformed("no snapshot"))?;
    if collection.note_family(layout, family) {
        reader.check_soon();
    }
    Ok((found, snapshot))
}

/// The text of each key column, for one parameter per column.
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

/// A JSON value in PostgreSQL's input syntax.
fn key_text(json: &str) -> Option<String> {
    if json.starts_with('"') { serde_json::from_str(json).ok() } else { Some(json.to_owned()) }
}
