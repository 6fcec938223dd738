//! Transactions whose changes a method's `updated` waits for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ddp_server::{Write, WriteFence};
use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::inner::Inner;
use crate::error::Error;

/// How long a COMMIT or a statement that nobody waits for any more, and the ROLLBACK after it, may take
/// until the connection is closed instead: those of others must not be fewer for it.
const END_WITHIN: Duration = Duration::from_secs(60);

/// A transaction tied to a method's write fence: `updated` goes out when the changes that it
/// committed have been sent to the method's caller.
///
/// It waits for a connection, for locks and for each statement only so long
/// ([`pool_timeout`](crate::DbBuilder::pool_timeout), [`lock_timeout`](crate::DbBuilder::lock_timeout),
/// [`statement_timeout`](crate::DbBuilder::statement_timeout)); a method that passes on the [`Error`]
/// tells its client so.
///
/// Rolls back when dropped without [`commit`](Self::commit). Statements are prepared once for each
/// connection. For anything else, [`client`](Self::client) is the connection itself.
///
/// ```
/// use ddp_postgres::Db;
/// use ddp_server::extract::Params;
/// use ddp_server::{Error, State, WriteFence};
///
/// async fn rename(
///     State(db): State<Db>,
///     fence: WriteFence,
///     Params((id, text)): Params<(String, String)>,
/// ) -> Result<(), Error> {
///     let transaction = db.begin(&fence).await?;
///     let sql = "UPDATE tasks SET text = $2 WHERE id = $1";
///     if transaction.execute(sql, &[&id, &text]).await? == 0 {
///         // Dropped here, the transaction rolls back.
///         return Err(Error::client("not-found", "There is no such task"));
///     }
///     Ok(transaction.commit().await?)
/// }
///
/// let server = ddp_server::Server::builder().method("tasks.rename", rename);
/// // .with_state(db)
/// # let _ = server;
/// ```
pub struct Transaction {
    inner: Arc<Inner>,
    client: Option<Object>,
    write: Option<Arc<Write>>,
    /// The token and the write of a commit that may or may not have taken place.
    in_doubt: Option<(u64, Arc<Write>)>,
}

impl Transaction {
    pub(crate) async fn begin(inner: Arc<Inner>, fence: &WriteFence) -> Result<Self, Error> {
        let write = Arc::new(fence.begin_write());
        let client = inner.methods.pool.get().await?;
        // Before the statement is sent, so that a drop while it runs rolls back.
        let transaction = Self { inner, client: Some(client), write: Some(write), in_doubt: None };
        if let Some(client) = &transaction.client {
            transaction.inner.methods.begin(client).await?;
        }
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

    /// Runs a statement; returns how many rows it touched.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let statement = self.prepare(sql).await?;
        Ok(self.client().execute(&statement, params).await?)
    }

    /// Runs a statement and returns its rows.
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

    /// Runs a statement that returns at most one row.
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
    /// PostgreSQL's own. If the connection broke, the transaction may or may not have been
    /// committed.
    pub async fn commit(mut self) -> Result<(), Error> {
        let Some(write) = self.write.take() else { return Ok(()) };
        let token = self.inner.reader.tokens.write(Arc::clone(&write), false);
        self.in_doubt = Some((token, write));
        let send = self.inner.reader.tokens.send_sql(token);
        // One round trip. What deferred triggers change must come before the token. In a transaction
        // that has failed the first statement fails, so that PostgreSQL can't turn the COMMIT into
        // a ROLLBACK unnoticed.
        let sql = format!("SET CONSTRAINTS ALL IMMEDIATE; {send}; COMMIT");
        match self.client().batch_execute(&sql).await {
            Ok(()) => {
                self.in_doubt = None;
                // Back to the pool without the rollback.
                drop(self.client.take());
                if let Some(write) = self.inner.reader.tokens.committed(token) {
                    self.inner.reader.notify_again(write);
                }
                Ok(())
            }
            Err(error) => {
                let error = Error::from(error);
                if !error.is_transient() {
                    // PostgreSQL said no, and nothing was committed.
                    self.in_doubt = None;
                    self.inner.reader.tokens.cancel(token);
                }
                Err(error)
            }
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let (inner, in_doubt) = (Arc::clone(&self.inner), self.in_doubt.take());
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    // Runs only after a COMMIT that may be in progress.
                    let rolled_back = client.batch_execute("ROLLBACK");
                    let ended = tokio::time::timeout(END_WITHIN, rolled_back).await;
                    if !matches!(ended, Ok(Ok(()))) {
                        drop(Object::take(client));
                    }
                    if let Some((token, write)) = in_doubt {
                        // If it was committed, the new token follows its changes.
                        inner.reader.tokens.cancel(token);
                        inner.reader.notify_again(write);
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
