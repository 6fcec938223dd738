//! Access for tests to the stages between a trigger and a live query, one by one. Not part of the
//! API.

use std::sync::Arc;

use ddp_server::live_query::{Plan, Row as _};
use ddp_server::query::{Position, Predicate, Query, Truth};
use tokio_postgres::types::ToSql;

use crate::error::Error;
use crate::read::{plan, sql};
use crate::row::live::LiveRow;
use crate::schema::Layout;

pub use crate::intake::assembler::Assembler;
pub use crate::intake::batch::{Assembled, Batch, Change, Effect, Gap, GapReason};
pub use crate::row::{Row, RowError};

/// Tables in the database.
pub mod schema {
    pub use crate::schema::{
        Column, Error, Layout, SESSION_OPTIONS, describe, install, install_sql, uninstall,
    };

    /// A text that changes when the table does, or what its documents depend on.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn digest(
        client: &tokio_postgres::Client,
        layout: &Layout,
    ) -> Result<String, tokio_postgres::Error> {
        Ok(crate::schema::digests(client, std::iter::once(layout)).await?.concat())
    }
}

/// Values of columns.
pub mod value {
    pub use crate::value::{ValueError, ValueKind, encode};
}

/// A query as it is planned.
#[derive(Debug)]
pub struct Planned {
    layout: Arc<Layout>,
    query: Query,
    plan: Plan,
}

/// A part of a statement, with its parameters.
#[derive(Debug, Default)]
pub struct Statement {
    /// The text.
    pub sql: String,
    params: Vec<sql::Param>,
}

/// A row as live queries have it.
#[derive(Debug)]
pub struct TestRow(LiveRow);

impl Statement {
    /// The parameters, each a text or an array of texts.
    #[must_use]
    pub fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(sql::Param::to_sql).collect()
    }

    /// Appends text unchanged.
    pub fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// Appends the condition of a planned predicate.
    pub fn push_condition(&mut self, planned: &Planned) {
        let predicate = &planned.plan.predicate;
        sql::condition(&planned.layout, predicate, &mut self.sql, &mut self.params);
    }
}

impl Planned {
    /// Plans a query.
    ///
    /// # Errors
    /// What does not fit the table.
    pub fn new(layout: &Arc<Layout>, query: Query) -> Result<Self, Error> {
        let plan = plan::plan(layout, &query)?;
        Ok(Self { layout: Arc::clone(layout), query, plan })
    }

    /// The same for a predicate alone.
    ///
    /// # Errors
    /// What does not fit the table.
    pub fn predicate(layout: &Arc<Layout>, predicate: Predicate) -> Result<Self, Error> {
        let collection = &**layout.collection();
        Self::new(layout, Query { predicate, ..Query::all(collection) })
    }

    /// The statement that reads the first rows.
    #[must_use]
    pub fn select(&self, rows_max: Option<usize>) -> Statement {
        let select = sql::select_rows(&self.layout, &self.query, &self.plan.predicate, rows_max);
        Statement { sql: select.sql, params: select.params }
    }

    /// How a live query decides a row.
    #[must_use]
    pub fn truth(&self, row: &TestRow) -> Truth {
        self.plan.predicate.evaluate(&|test| row.0.meets(test))
    }

    /// Whether the router, too, leads the row to the query; true if there is nothing to route by.
    #[must_use]
    pub fn is_routed(&self, row: &TestRow) -> bool {
        self.plan.keys.as_ref().is_none_or(|(field, values)| {
            let value = row.0.value(field);
            !value.is_null() && values.contains(&value)
        })
    }

    /// Where a window places a row; nothing if only the database knows.
    #[must_use]
    pub fn position(&self, row: &TestRow) -> Option<Position> {
        let order = self.plan.order.as_ref()?;
        Some(Position::new(order, |field| row.0.value(field)))
    }
}

impl TestRow {
    /// A row as PostgreSQL writes it.
    ///
    /// # Errors
    /// If it is not a row of this table.
    pub fn new(layout: &Arc<Layout>, json: &str) -> Result<Self, RowError> {
        Ok(Self(LiveRow::new(layout, Row::parse(layout, json)?)?))
    }

    /// The id of its document.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.id().as_str()
    }
}
