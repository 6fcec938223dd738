//! Reading a query's documents once, without keeping them live.

use std::sync::Arc;

use ddp_server::live_query::{Documents, Row as _};
use ddp_server::query::Query;
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::types::ToSql;

use super::plan::plan;
use super::reader::Reader;
use super::sql::{self, Param, Select};
use crate::db::busy::Busy;
use crate::error::Error;
use crate::row::Row;
use crate::row::live::LiveRow;
use crate::schema::Layout;
use crate::table::collection::{TableCollection, TableState};

/// Reads the documents of a query in its order: one SELECT, and nothing is listened to. The permit
/// is given back when its connection is.
pub(crate) async fn fetch(
    reader: &Reader,
    collection: &TableCollection,
    query: &Query,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Documents, ddp_server::Error> {
    let permit = permit.map(Arc::new);
    let mut has_checked = false;
    loop {
        let current = collection.current();
        match current.state {
            TableState::Live | TableState::ReadAgain | TableState::Partial => {}
            TableState::Missing => return Ok(Documents::new()),
            TableState::Unavailable => return Err(collection.unavailable().into()),
        }
        match select(reader, &current.layout, query, permit.clone()).await {
            Ok(documents) => return Ok(documents),
            // The table may have been altered unnoticed.
            Err(error) if error.is_of_schema() && !has_checked => {
                has_checked = true;
                reader.check_tables().await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn select(
    reader: &Reader,
    layout: &Arc<Layout>,
    query: &Query,
    permit: Option<Arc<OwnedSemaphorePermit>>,
) -> Result<Documents, Error> {
    let plan = plan(layout, query)?;
    let skip = query.skip as usize;
    let rows_max = query.limit.map(|limit| skip.saturating_add(limit as usize));
    let select = sql::select_rows(layout, query, &plan.predicate, rows_max);
    let client = Busy::get(&reader.pool).await?;
    // Whoever waits for the rows may give up, as a subscription does that ends. PostgreSQL goes on all
    // the same, so the connection and its permit stay taken for as long: else clients that come and
    // go could take all connections, and methods would have none.
    let read = tokio::spawn(async move {
        let rows = run(client, select).await;
        drop(permit);
        rows
    });
    let rows = read.await.map_err(|_| Error::panicked())??;
    let mut documents = Documents::with_capacity(rows.len().saturating_sub(skip));
    for row in rows.iter().skip(skip) {
        let row = LiveRow::new(layout, Row::parse(layout, row.try_get(0)?)?)?;
        documents.push((row.id().clone(), row.document(query.fields.as_deref())));
    }
    Ok(documents)
}

async fn run(client: Busy, select: Select) -> Result<Vec<tokio_postgres::Row>, Error> {
    let statement = client.prepare_cached(&select.sql).await?;
    let params: Vec<&(dyn ToSql + Sync)> = select.params.iter().map(Param::to_sql).collect();
    let rows = client.query(&statement, &params).await?;
    client.done();
    Ok(rows)
}
