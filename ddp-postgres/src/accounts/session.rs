//! How the store runs its statements: on the connections of methods, within their limits.

use ddp_server::WriteFence;
use ddp_server::accounts::WriteError;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::hidden::Hidden;
use super::refusal::{is_of_input, refusal};
use super::store::PostgresAccounts;
use crate::db::busy::Busy;
use crate::db::transaction::Transaction;
use crate::error::Error;

/// The parameters of a statement.
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A transaction on the tables of accounts.
pub(super) struct Writing<'a> {
    store: &'a PostgresAccounts,
    transaction: Transaction,
}

impl PostgresAccounts {
    /// Reads by one statement. Nothing is found by what no row can have.
    pub(super) async fn read(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, ddp_server::Error> {
        Ok(self.try_read(sql, params).await?)
    }

    /// The same with the database's own error.
    pub(super) async fn try_read(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let methods = &self.inner.methods;
        let sql = self.accounts.tables.sql(sql);
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {}", methods.limits_sql);
        let hidden = hide(params);
        loop {
            let read =
                Busy::get(&methods.pool).await?.query(&begin, &sql, &as_params(&hidden)).await;
            match read {
                // Somebody has deallocated what was prepared; that connection is closed by now.
                Err(error) if error.is_of_lost_statement() => {}
                Err(error) if is_of_input(&error) => return Ok(Vec::new()),
                read => return read,
            }
        }
    }

    /// Reads at most one row.
    pub(super) async fn read_one(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Option<Row>, ddp_server::Error> {
        Ok(self.read(sql, params).await?.into_iter().next())
    }

    /// Begins to write. The method of this fence tells its client that it is done when the client has
    /// the changes.
    pub(super) async fn write(&self, fence: &WriteFence) -> Result<Writing<'_>, WriteError> {
        let transaction = Transaction::begin(self.inner.clone(), fence).await?;
        if self.accounts.sets_isolation() {
            let sql = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";
            transaction.client().batch_execute(sql).await.map_err(Error::from)?;
        }
        Ok(Writing { store: self, transaction })
    }

    /// The same for what no client's documents show.
    pub(super) async fn write_aside(&self) -> Result<Writing<'_>, WriteError> {
        self.write(&WriteFence::detached()).await
    }
}

impl Writing<'_> {
    /// Locks a user until the end, so that whatever is done to one user is done in turn. False if there
    /// is none.
    pub(super) async fn lock_user(&self, user_id: &str) -> Result<bool, WriteError> {
        let sql = "SELECT FROM accounts.users WHERE id = $1 FOR NO KEY UPDATE";
        Ok(!self.query(sql, &[&user_id]).await?.is_empty())
    }

    /// Runs a statement; returns how many rows it touched.
    pub(super) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, WriteError> {
        let sql = self.store.accounts.tables.sql(sql);
        self.transaction
            .execute(&sql, &as_params(&hide(params)))
            .await
            .map_err(|error| self.refusal(error))
    }

    /// Runs a statement; returns its rows.
    pub(super) async fn query(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, WriteError> {
        let sql = self.store.accounts.tables.sql(sql);
        self.transaction
            .query(&sql, &as_params(&hide(params)))
            .await
            .map_err(|error| self.refusal(error))
    }

    fn refusal(&self, error: Error) -> WriteError {
        refusal(error, self.store.accounts.tables.existing.is_some())
    }

    /// Ends it, if something was to be done; otherwise nothing has happened.
    pub(super) async fn commit(self, is_done: bool) -> Result<bool, WriteError> {
        if is_done {
            let is_mapped = self.store.accounts.tables.existing.is_some();
            self.transaction.commit().await.map_err(|error| refusal(error, is_mapped))?;
        }
        Ok(is_done)
    }
}

pub(super) fn hide<'a>(params: Params<'a>) -> Vec<Hidden<'a>> {
    params.iter().map(|param| Hidden(*param)).collect()
}

pub(super) fn as_params<'a>(hidden: &'a [Hidden<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    hidden.iter().map(|param| param as _).collect()
}
