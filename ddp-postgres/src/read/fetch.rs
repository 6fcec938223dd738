//! Reading a query's documents once, without keeping them live.

use std::any::Any;
use std::sync::Arc;

use ddp_core::DdpError;
use ddp_server::live_query::{Documents, Row as _};
use ddp_server::query::Query;
use deadpool_postgres::Pool;
use tokio::sync::OwnedSemaphorePermit;

use super::doubt::{replace_invalid, replace_refused};
use super::plan::plan;
use super::reader::{LOCK_TIMEOUT, Reader};
use super::sql::{self, Param, Select};
use crate::db::busy::{Busy, Rest};
use crate::db::methods::Methods;
use crate::error::Error;
use crate::row::Row;
use crate::row::live::LiveRow;
use crate::schema::{Layout, TRANSACTION_SQL};
use crate::table::collection::{TableCollection, TableState};

/// Reads the documents of a query in its order, for a method: one SELECT, and nothing is listened to.
pub(crate) async fn fetch(
    reader: &Reader,
    methods: &Methods,
    collection: &TableCollection,
    query: &Query,
) -> Result<Documents, ddp_server::Error> {
    // What methods set for their sessions, or `DISCARD ALL`, must not change how rows are written.
    let settings_sql = format!("{}{}", methods.limits_sql, *TRANSACTION_SQL);
    let is_askable = reader.is_askable;
    let by = By { pool: &methods.pool, settings_sql, permit: None, is_askable };
    Ok(read(reader, &by, collection, query).await?)
}

/// The same for a subscription, which takes turns with all others. While the table is locked, it waits
/// without a connection.
pub(crate) async fn fetch_once(
    reader: &Reader,
    collection: &TableCollection,
    query: &Query,
) -> Result<Documents, ddp_server::Error> {
    loop {
        let turn = collection.turn_to_read().await;
        let permit = reader.permit().await?;
        let settings_sql = format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'");
        let (permit, is_askable) = (Some(Arc::new(permit)), reader.is_askable);
        let by = By { pool: &reader.pool, settings_sql, permit, is_askable };
        match read(reader, &by, collection, query).await {
            Err(Refusal::Failed(error)) if error.is_of_lock() => {
                collection.note_locked(reader, true)
            }
            read => {
                collection.note_locked(reader, false);
                drop(turn);
                return Ok(read?);
            }
        }
    }
}

/// Why there are no documents.
enum Refusal {
    Unavailable(DdpError),
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for ddp_server::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable(error) => error.into(),
            Refusal::Failed(error) => error.into(),
        }
    }
}

/// On whose connection to read.
struct By<'a> {
    pool: &'a Pool,
    /// Sets for how long, and in which form if others had the connection.
    settings_sql: String,
    /// Given back when the connection is.
    permit: Option<Arc<OwnedSemaphorePermit>>,
    is_askable: bool,
}

async fn read(
    reader: &Reader,
    by: &By<'_>,
    collection: &TableCollection,
    query: &Query,
) -> Result<Documents, Refusal> {
    let mut has_checked = false;
    loop {
        let current = collection.current();
        match current.state {
            TableState::Live | TableState::ReadAgain | TableState::Partial => {}
            TableState::Missing => return Ok(Documents::new()),
            TableState::Unavailable => return Err(Refusal::Unavailable(collection.unavailable())),
        }
        match select(by, &current.layout, query).await {
            // Somebody has deallocated what was prepared; that connection is closed by now.
            Err(error) if error.is_of_lost_statement() => {}
            // The table may have been altered unnoticed.
            Err(error) if error.is_of_schema() && !has_checked => {
                has_checked = true;
                reader.check_tables().await?;
            }
            read => return Ok(read?),
        }
    }
}

async fn select(by: &By<'_>, layout: &Arc<Layout>, query: &Query) -> Result<Documents, Error> {
    let plan = plan(layout, query)?;
    let skip = query.skip as usize;
    let rows_max = query.limit.map(|limit| skip.saturating_add(limit as usize));
    let select = sql::select_rows(layout, query, &plan.predicate, rows_max);
    let client = Busy::get(by.pool).await?;
    let (permit, begin) = (by.permit.clone(), format!("BEGIN; {}", by.settings_sql));
    let is_askable = by.is_askable;
    // Whoever waits for the rows may give up, as a subscription does that ends. PostgreSQL goes on all
    // the same, so the connection and its permit stay taken for as long: else clients that come and
    // go could take all connections, and methods would have none.
    let read = tokio::spawn(async move {
        let rows = run(client, select, (&begin, is_askable), permit.clone()).await;
        drop(permit);
        rows
    });
    let rows = read.await.map_err(|_| Error::panicked())?;
    let rows = rows.map_err(|error| error.of_reading(layout))?;
    let mut documents = Documents::with_capacity(rows.len().saturating_sub(skip));
    for row in rows.iter().skip(skip) {
        let row = LiveRow::new(layout, Row::parse(layout, row.try_get(0)?)?)?;
        documents.push((row.id().clone(), row.document(query.fields.as_deref())));
    }
    Ok(documents)
}

/// `permit` is held until the connection is free again.
async fn run(
    client: Busy,
    mut select: Select,
    (begin, is_askable): (&str, bool),
    permit: impl Any + Send,
) -> Result<Vec<tokio_postgres::Row>, Error> {
    if is_askable {
        replace_invalid(&client, std::iter::once(&mut select)).await?;
    }
    let mut rows = run_once(&client, &select, begin).await;
    if let Err((error, rest)) = &mut rows
        && replace_refused(&client, std::iter::once(&mut select), error, rest).await?
    {
        rows = run_once(&client, &select, begin).await;
    }
    match rows {
        Ok(rows) => {
            client.done();
            Ok(rows)
        }
        Err((error, rest)) => Err(client.fail(error, rest, permit)),
    }
}

async fn run_once(
    client: &Busy,
    select: &Select,
    begin: &str,
) -> Result<Vec<tokio_postgres::Row>, (Error, Rest)> {
    let params: Vec<_> = select.params.iter().map(Param::to_sql).collect();
    client.query_within(begin, &select.sql, &params).await
}
