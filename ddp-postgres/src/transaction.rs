//! Transactions whose changes a method's `updated` waits for.

use std::fmt;
use std::sync::Arc;

use ddp_server::{Write, WriteFence};
use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::db::Inner;
use crate::error::Error;

/// A transaction tied to a method's write fence: `updated` goes out when the changes that it
/// committed have been sent to the method's caller.
///
/// Rolls back when dropped without [`commit`](Self::commit). Statements are prepared once for each
/// connection. For anything that the methods here don't cover, [`client`](Self::client) is the
/// connection itself.
pub struct Transaction {
    db: Arc<Inner>,
    client: Option<Object>,
    write: Option<Arc<Write>>,
}

impl Transaction {
    pub(crate) async fn begin(db: Arc<Inner>, fence: &WriteFence) -> Result<Self, Error> {
        let write = Arc::new(fence.begin_write());
        let client = db.pool.get().await?;
        // Before the statement is sent, so that a drop while it runs rolls back.
        let transaction = Self { db, client: Some(client), write: Some(write) };
        transaction.client().batch_execute("BEGIN").await?;
        Ok(transaction)
    }

    /// The connection in which the transaction runs. Leave `BEGIN` and `COMMIT` to this type.
    ///
    /// # Panics
    /// Never: the connection is there until `commit` takes the transaction.
    #[must_use]
    pub fn client(&self) -> &tokio_postgres::Client {
        self.client.as_ref().expect("a transaction has its connection until it is consumed")
    }

    /// Runs a statement; the answer is how many rows it touched.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let statement = self.prepare(sql).await?;
        Ok(self.client().execute(&statement, params).await?)
    }

    /// Runs a statement that gives rows.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(sql).await?;
        Ok(self.client().query(&statement, params).await?)
    }

    /// Runs a statement that gives one row, or none.
    ///
    /// # Errors
    /// PostgreSQL's, or more than one row.
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let statement = self.prepare(sql).await?;
        Ok(self.client().query_opt(&statement, params).await?)
    }

    async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        match &self.client {
            Some(client) => Ok(client.prepare_cached(sql).await?),
            None => Ok(self.client().prepare(sql).await?),
        }
    }

    /// Commits. The method may return at once: the fence, not this call, waits until the changes
    /// have been sent.
    ///
    /// # Errors
    /// PostgreSQL's. If the connection broke, the transaction may have been committed or not.
    pub async fn commit(mut self) -> Result<(), Error> {
        let Some(write) = self.write.take() else { return Ok(()) };
        let token = self.db.tokens.write(Arc::clone(&write), false);
        let commit = Commit { db: Arc::clone(&self.db), token, write };
        let channel = &self.db.tokens.channel;
        // One round trip. In a transaction that has failed the first statement fails, so that
        // PostgreSQL can't turn the COMMIT into a ROLLBACK unnoticed.
        let sql = format!("SELECT pg_catalog.pg_notify('{channel}', '{token}'); COMMIT");
        let result = self.client().batch_execute(&sql).await;
        match result {
            Ok(()) => {
                // Back to the pool without the rollback.
                drop(self.client.take());
                commit.done();
                Ok(())
            }
            Err(error) if error.as_db_error().is_some() => {
                commit.failed();
                Err(error.into())
            }
            // The connection broke: dropping `commit` takes it for committed.
            Err(error) => Err(error.into()),
        }
    }
}

/// A commit under way. If it is dropped, nobody knows whether it took place.
struct Commit {
    db: Arc<Inner>,
    token: u64,
    write: Arc<Write>,
}

impl Commit {
    fn done(self) {
        let lost = self.db.tokens.committed(self.token);
        if let Some(write) = lost {
            self.db.notify_again(write);
        }
        self.forget();
    }

    fn failed(self) {
        self.db.tokens.cancel(self.token);
        self.forget();
    }

    /// Ends without the doubt that `drop` would have.
    fn forget(mut self) {
        self.token = 0;
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        if self.token != 0 {
            self.db.tokens.cancel(self.token);
            self.db.notify_again(Arc::clone(&self.write));
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    if client.batch_execute("ROLLBACK").await.is_err() {
                        drop(Object::take(client));
                    }
                });
            }
            // Without a runtime nothing can be sent; closing the connection rolls back, too.
            Err(_) => drop(Object::take(client)),
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
