//! The one connection of an import.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::accounts::session::{as_params, hide};
use crate::accounts::tables::AccountsTables;
use crate::error::Error;

/// Runs statements, whose parameters no log shows.
pub(super) struct Session<'a> {
    pub(super) client: &'a Client,
    pub(super) tables: &'a AccountsTables,
    /// Whether it is all within one transaction that will be rolled back.
    pub(super) is_rehearsal: bool,
}

impl Session<'_> {
    pub(super) async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let sql = self.tables.sql(sql);
        Ok(self.client.query(&*sql, &as_params(&hide(params))).await?)
    }

    /// Returns how many rows there were.
    pub(super) async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let sql = self.tables.sql(sql);
        Ok(self.client.execute(&*sql, &as_params(&hide(params))).await?)
    }

    /// Begins a batch.
    pub(super) async fn begin(&self) -> Result<(), Error> {
        self.run(if self.is_rehearsal { "SAVEPOINT batch" } else { BEGIN }).await
    }

    /// Ends a batch.
    pub(super) async fn commit(&self) -> Result<(), Error> {
        self.run(if self.is_rehearsal { "RELEASE SAVEPOINT batch" } else { "COMMIT" }).await
    }

    /// Ends a batch as if it had never begun.
    pub(super) async fn roll_back(&self) -> Result<(), Error> {
        let rehearsal = "ROLLBACK TO SAVEPOINT batch; RELEASE SAVEPOINT batch";
        self.run(if self.is_rehearsal { rehearsal } else { "ROLLBACK" }).await
    }

    async fn run(&self, sql: &str) -> Result<(), Error> {
        Ok(self.client.batch_execute(sql).await?)
    }
}

/// Each statement sees what others have committed, whatever the role has for its own.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
