//! Reads a live query's documents, and hands over to the feed.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use ddp_core::{DdpError, DocumentId};
use ddp_server::live_query::PendingRead;
use futures::FutureExt;
use tokio_postgres::types::ToSql;

use super::reader::{LOCK_TIMEOUT, RETRY_AFTER, Reader};
use super::snapshot::TransactionSnapshot;
use super::sql;
use crate::db::busy::Busy;
use crate::db::tokens::Position;
use crate::error::Error;
use crate::row::Row;
use crate::row::live::LiveRow;
use crate::schema::Layout;
use crate::table::collection::{TableCollection, TableState};

/// The initial delay before checking again whether committed transactions are visible.
pub(crate) const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Carries out a load until it is done or no longer wanted, retrying while the database is
/// unreachable.
pub(crate) async fn run(reader: &Reader, collection: &TableCollection, mut load: PendingRead) {
    let mut has_checked = false;
    // The feed's position when it began to deliver everything for this load.
    let mut position = None;
    let mut wait = LOOK_AGAIN_AFTER;
    loop {
        let mut interruptions = reader.interruptions().subscribe();
        if !collection.multiplexer.wants(&load) {
            return;
        }
        match collection.current().state {
            TableState::Live | TableState::ReadAgain | TableState::Partial => {}
            TableState::Missing => {
                match collection.multiplexer.finish_read(load, Rows::new(), |_| true).await {
                    Ok(Some(repeat)) => (load, position) = (repeat, None),
                    Ok(None) | Err(_) => return,
                }
                continue;
            }
            TableState::Unavailable => {
                return collection.multiplexer.fail_read(&load, &collection.unavailable());
            }
        }
        let reading =
            AssertUnwindSafe(read(reader, collection, &load, &mut position)).catch_unwind();
        let reading = tokio::select! {
            read = reading => read.unwrap_or_else(|_| Err(Error::panicked())),
            // Whatever broke the feed may have broken the load's connection without its noticing.
            // The load is void, or will be when the feed is back.
            _ = interruptions.changed() => Err(Error::interrupted()),
        };
        match reading {
            Ok((documents, snapshot)) => {
                collection.note_locked(false);
                reader.counters.loads.add(1);
                let has_seen = |origin| snapshot.has_seen_batch(origin);
                match collection.multiplexer.finish_read(load, documents, has_seen).await {
                    Ok(Some(repeat)) => (load, position) = (repeat, None),
                    Ok(None) | Err(_) => return,
                }
            }
            Err(error) if error.is_too_early() => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_AFTER);
            }
            Err(error) if error.is_of_lock() && !reader.is_closed() => collection.note_locked(true),
            Err(error) if error.may_pass() && !reader.is_closed() => {
                tracing::debug!(collection = %load.query.collection, %error, "loading failed; trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            // The table may have been altered unnoticed, in which case this load is void.
            Err(error) if error.is_of_schema() && !has_checked => {
                has_checked = reader.check_tables().await.is_ok();
                if !has_checked {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
            Err(error) => {
                tracing::error!(collection = %load.query.collection, %error, "a live query failed");
                return collection.multiplexer.fail_read(&load, &DdpError::internal());
            }
        }
    }
}

type Rows = Vec<(DocumentId, LiveRow)>;

/// Reads the documents, and the snapshot that shows them.
///
/// The feed listens before the snapshot is taken, so the multiplexer buffers whatever the snapshot
/// does not include. A token committed with the read shows when the feed has reached the snapshot:
/// from then on the query is at the same point as all others of its collection, and no client sees
/// a document go back in time.
async fn read(
    reader: &Reader,
    collection: &TableCollection,
    load: &PendingRead,
    position: &mut Option<u64>,
) -> Result<(Rows, TransactionSnapshot), Error> {
    let layout = &collection.layout();
    let has_come_to = reader.listen(layout.channel()).await?;
    let position = *position.get_or_insert(has_come_to);
    if !collection.multiplexer.wants(load) {
        // In the meantime the feed started again, and so did the load.
        return Err(Error::interrupted());
    }
    let select = sql::select(layout, load);
    let turn = collection.turn_to_read().await;
    let permit = reader.permit().await?;
    let client = Busy::get(&reader.pool).await?;
    let visible = reader.visibility.begin_read();
    let (snapshot, rows, token) = select_rows(reader, layout, &client, &select).await?;
    client.done();
    drop((permit, turn));
    if !visible.is_complete(layout.channel(), &snapshot, position) {
        return Err(Error::too_early());
    }
    visible.forget(&snapshot);
    drop(visible);
    let mut documents = Rows::with_capacity(rows.len());
    for row in &rows {
        let row = LiveRow::new(layout, Row::parse(layout, row.try_get(0)?)?)?;
        documents.push((row.id().clone(), row));
    }
    if let Some(token) = token {
        token.wait().await?;
    }
    Ok((documents, snapshot))
}

/// Reads the rows by one statement, along with its snapshot, in a transaction that notifies a token.
///
/// The table is locked before the snapshot is taken: after an ALTER TABLE that rewrites the table, it
/// looks empty to older snapshots. `LOCK TABLE` would need a privilege on all columns. An empty SELECT
/// takes the same lock, and then each statement of the transaction has a snapshot of its own.
async fn select_rows<'a>(
    reader: &'a Reader,
    layout: &Layout,
    client: &Busy,
    select: &sql::Select,
) -> Result<(TransactionSnapshot, Vec<tokio_postgres::Row>, Option<Position<'a>>), Error> {
    let relation = layout.relation();
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
         SELECT FROM {relation} LIMIT 0"
    );
    let sql = format!(
        "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text UNION ALL ({})",
        select.sql
    );
    // Preparing takes the same lock.
    let (_, statement) =
        futures::try_join!(client.batch_execute(&begin), client.prepare_cached(&sql))?;
    let params: Vec<&(dyn ToSql + Sync)> = select.params.iter().map(sql::Param::to_sql).collect();
    let token = reader.tokens.position();
    // A transaction without WAL would not be streamed.
    let send = reader.tokens.send_sql(token.id);
    let commit = format!("SET LOCAL synchronous_commit = local; {send}; COMMIT");
    // Polled in this order, so that both go out in one round trip.
    let (rows, committed) =
        futures::join!(client.query(&statement, &params), client.batch_execute(&commit));
    let (mut rows, committed) = (rows?, committed.map_err(Error::from));
    let token = match committed {
        Ok(()) => Some(token),
        // What was read is right all the same. No change can commit now, and of earlier ones those are
        // applied that the snapshot does not include.
        Err(error) if error.is_of_full_queue() => None,
        Err(error) => return Err(error),
    };
    // A row is a JSON object.
    let is_snapshot =
        |row: &tokio_postgres::Row| row.try_get(0).is_ok_and(|text: &str| !text.starts_with('{'));
    let number =
        rows.iter().position(is_snapshot).ok_or_else(|| Error::malformed("no snapshot"))?;
    let snapshot = TransactionSnapshot::parse(rows.remove(number).try_get(0)?)?;
    Ok((snapshot, rows, token))
}
