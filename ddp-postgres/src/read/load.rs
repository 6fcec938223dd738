//! Reads the documents of live queries, and hands over to the feed.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ddp_core::DocumentId;
use ddp_server::live_query::PendingRead;
use futures::future::try_join_all;
use futures::{TryFutureExt, TryStreamExt};
use tokio::sync::{MutexGuard, OwnedSemaphorePermit};
use tokio_postgres::types::ToSql;

use super::alike::{Statement, statements};
use super::doubt::{replace_invalid, replace_refused};
use super::reader::{LOCK_TIMEOUT, Reader};
use super::snapshot::{Seen, TransactionSnapshot};
use super::sql::{Param, Select};
use crate::db::busy::{Busy, Rest};
use crate::db::tokens::Position;
use crate::error::Error;
use crate::row::Row;
use crate::row::live::LiveRow;
use crate::schema::Layout;
use crate::table::collection::TableCollection;

/// The initial delay before checking again whether committed transactions are visible.
pub(crate) const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// How many bytes of rows are read for several queries at once, and what a row takes besides its text.
const BYTES_MAX: usize = 8 * 1024 * 1024;
const OVERHEAD_BYTES: usize = 100;

/// What a read needs: a connection, and what it may only hold in turn with others.
pub(super) struct Access<'a> {
    _turn: Option<MutexGuard<'a, ()>>,
    _permit: OwnedSemaphorePermit,
    client: Busy,
}

/// Has the feed listen, and waits for a connection. What the feed brings from now on must be remembered
/// for the queries that are read with it.
pub(super) async fn access<'a>(
    reader: &Reader,
    collection: &'a TableCollection,
) -> Result<Access<'a>, Error> {
    reader.listen(&collection.channel).await?;
    let turn = collection.turn_to_read().await;
    let permit = reader.permit().await?;
    let client = Busy::get(&reader.pool).await?;
    Ok(Access { _turn: turn, _permit: permit, client })
}

/// What was read for a group of queries.
pub(super) enum Found {
    All(Vec<Part>, usize),
    /// More than several queries should read at once, or rows whose queries are not certain: the group
    /// must be divided.
    TooMuch,
}

/// Rows for queries, by their indices.
type Rows = HashMap<usize, Vec<(DocumentId, LiveRow)>>;

/// What one statement read for some of the queries, at the same point.
pub(super) struct Part {
    pub(super) rows: Rows,
    pub(super) snapshot: TransactionSnapshot,
}

/// Reads the documents of queries, and the snapshots that show them. `position` is how far the feed had
/// come when the reads began.
///
/// The feed listens before the snapshots are taken, so the multiplexer remembers whatever they do not
/// include. A token committed with the read shows when the feed has reached the snapshots: from then
/// on the queries are at the same point as all others of their collection, and no client sees a
/// document go back in time.
pub(super) async fn read(
    reader: &Reader,
    collection: &TableCollection,
    access: Access<'_>,
    reads: &[PendingRead],
    position: u64,
) -> Result<Found, Error> {
    let layout = &collection.layout();
    let mut statements = statements(layout, reads);
    let Access { client, _permit: permit, _turn: turn } = access;
    let visible = reader.visibility.begin_read();
    let bytes_max = if reads.len() > 1 { BYTES_MAX } else { usize::MAX };
    if reader.is_askable {
        replace_invalid(&client, statements.iter_mut().map(|one| &mut one.select)).await?;
    }
    let mut selected = select_rows(reader, layout, &client, &statements, bytes_max).await;
    let mut rest = Rest::Open;
    if let Err(error) = &selected {
        let selects = statements.iter_mut().map(|statement| &mut statement.select);
        if replace_refused(&client, selects, error, &mut rest).await? {
            rest = Rest::Open;
            selected = select_rows(reader, layout, &client, &statements, bytes_max).await;
        }
    }
    let (selected, bytes, token) = match selected {
        Ok(Some(selected)) => selected,
        Ok(None) => {
            // One statement was sent together with the end of its transaction.
            client.end(if statements.len() == 1 { Rest::Ended } else { Rest::Open }, permit);
            return Ok(Found::TooMuch);
        }
        Err(error) => return Err(client.fail(error, rest, permit).of_reading(layout)),
    };
    client.done();
    drop((permit, turn));
    for (seen, _) in &selected {
        if collection.note_family(layout, seen.family) {
            reader.check_soon();
        }
    }
    let is_complete =
        |(seen, _): &Selected| visible.is_complete(layout.channel(), &seen.snapshot, position);
    if !selected.iter().all(is_complete) {
        return Err(Error::too_early());
    }
    if let Some((seen, _)) = selected.first() {
        visible.forget(&seen.snapshot);
    }
    drop(visible);
    let mut parts = Vec::with_capacity(selected.len());
    for (statement, (seen, rows)) in statements.iter().zip(selected) {
        let Some(rows) = sort(layout, statement, rows)? else { return Ok(Found::TooMuch) };
        parts.push(Part { rows, snapshot: seen.snapshot });
    }
    if let Some(token) = token {
        token.wait().await?;
    }
    Ok(Found::All(parts, bytes))
}

/// Gives each query its rows. `None` if a row is nobody's.
fn sort(
    layout: &Arc<Layout>,
    statement: &Statement,
    rows: Vec<tokio_postgres::Row>,
) -> Result<Option<Rows>, Error> {
    let mut sorted: Rows = statement.all_readers().map(|index| (index, Vec::new())).collect();
    for row in rows {
        let row = LiveRow::new(layout, Row::parse(layout, row.try_get(0)?)?)?;
        let Some((last, others)) = statement.readers(&row).split_last() else { return Ok(None) };
        for index in others {
            sorted.entry(*index).or_default().push((row.id().clone(), row.clone()));
        }
        sorted.entry(*last).or_default().push((row.id().clone(), row));
    }
    Ok(Some(sorted))
}

type Selected = (Seen, Vec<tokio_postgres::Row>);

/// Reads the rows by each statement along with what it saw, in a transaction that notifies a token.
/// `None` if there are too many.
///
/// The table is locked before the snapshots are taken: after an ALTER TABLE that rewrites the table, it
/// looks empty to older snapshots. `LOCK TABLE` would need a privilege on all columns. An empty SELECT
/// takes the same lock, and then each statement of the transaction has a snapshot of its own.
async fn select_rows<'a>(
    reader: &'a Reader,
    layout: &Layout,
    client: &Busy,
    statements: &[Statement],
    bytes_max: usize,
) -> Result<Option<(Vec<Selected>, usize, Option<Position<'a>>)>, Error> {
    let relation = layout.relation();
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
         SELECT FROM {relation} LIMIT 0"
    );
    // Many statements have the same text.
    let texts: HashSet<&str> = statements.iter().map(|one| &*one.select.sql).collect();
    let preparing = texts.into_iter().map(|sql| prepare(client, layout, sql));
    // Preparing takes the same lock.
    let (_, prepared) = futures::try_join!(
        client.batch_execute(&begin).map_err(Error::from),
        try_join_all(preparing)
    )?;
    let prepared: HashMap<&str, tokio_postgres::Statement> = prepared.into_iter().collect();
    let token = reader.tokens.position();
    // A transaction without WAL would not be streamed.
    let send = reader.tokens.send_sql(token.id);
    let commit = format!("SET LOCAL synchronous_commit = local; {send}; COMMIT");
    let commit = async {
        match client.batch_execute(&commit).await.map_err(Error::from) {
            Ok(()) => Ok(true),
            // What was read is right all the same. No change can commit now, and of earlier ones
            // those are applied that the snapshots do not include.
            Err(error) if error.is_of_full_queue() => Ok(false),
            Err(error) => Err(Stop::Failed(error)),
        }
    };
    let bytes = AtomicUsize::new(0);
    let selecting = statements.iter().map(|one| {
        let prepared = &prepared[&*one.select.sql];
        rows_of(client, prepared, &one.select, &bytes, bytes_max)
    });
    let selecting = try_join_all(selecting);
    let selected = if statements.len() == 1 {
        // Polled in this order, so that both go out in one round trip.
        futures::try_join!(selecting, commit)
    } else {
        selecting.and_then(|selected| commit.map_ok(|is_sent| (selected, is_sent))).await
    };
    match selected {
        Ok((selected, is_sent)) => {
            Ok(Some((selected, bytes.into_inner(), is_sent.then_some(token))))
        }
        Err(Stop::TooMuch) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Prepares a statement whose first row is to be what it sees.
async fn prepare<'a>(
    client: &Busy,
    layout: &Layout,
    sql: &'a str,
) -> Result<(&'a str, tokio_postgres::Statement), Error> {
    let text = format!("SELECT {} UNION ALL ({sql})", layout.snapshot_sql());
    Ok((sql, client.prepare_cached(&text).await?))
}

/// Why a statement has not read everything.
enum Stop {
    TooMuch,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

async fn rows_of(
    client: &Busy,
    statement: &tokio_postgres::Statement,
    select: &Select,
    bytes: &AtomicUsize,
    bytes_max: usize,
) -> Result<Selected, Stop> {
    let params: Vec<&(dyn ToSql + Sync)> = select.params.iter().map(Param::to_sql).collect();
    let mut stream = pin!(client.query_raw(statement, params).await?);
    let (mut rows, mut seen) = (Vec::new(), None);
    while let Some(row) = stream.try_next().await? {
        let text: &str = row.try_get(0)?;
        // A row of the table is a JSON object.
        if !text.starts_with('{') {
            seen = Some(Seen::parse(text)?);
            continue;
        }
        let more = OVERHEAD_BYTES + text.len();
        if bytes.fetch_add(more, Ordering::Relaxed) + more > bytes_max {
            return Err(Stop::TooMuch);
        }
        rows.push(row);
    }
    Ok((seen.ok_or_else(|| Error::malformed("no snapshot"))?, rows))
}
