//! Connections that return to the pool only once they have answered.

use std::any::Any;

use std::ops::Deref;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::Error;

/// How long a connection may take to come to the end of what it was asked. A new one takes some
/// milliseconds, and what is sent until then is for nobody.
const END_WITHIN: Duration = Duration::from_millis(250);

/// A connection of the pool with a request in progress. If that is cancelled, the connection is closed, so
/// nobody else gets it.
pub(crate) struct Busy(Option<Object>);

impl Busy {
    pub(crate) async fn get(pool: &Pool) -> Result<Self, Error> {
        Ok(Self(Some(pool.get().await?)))
    }

    /// It has answered everything: others may use it.
    pub(crate) fn done(mut self) {
        self.0 = None;
    }

    /// Runs a query in a transaction of its own, and is done.
    pub(crate) async fn query(
        self,
        begin: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        match self.query_within(begin, sql, params).await {
            Ok(rows) => {
                self.done();
                Ok(rows)
            }
            Err((error, rest)) => Err(self.fail(error, rest, ())),
        }
    }

    /// Runs a query in a transaction of its own, in two round trips. An error comes with what has become
    /// of the transaction.
    pub(crate) async fn query_within(
        &self,
        begin: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, (Error, Rest)> {
        // Preparing waits for locks as well.
        let prepared = futures::try_join!(self.batch_execute(begin), self.prepare_cached(sql));
        let ((), statement) = prepared.map_err(|error| (error.into(), Rest::Open))?;
        let queried =
            futures::try_join!((**self).query(&statement, params), self.batch_execute("COMMIT"));
        let (rows, ()) = queried.map_err(|error| (error.into(), Rest::Ended))?;
        Ok(rows)
    }

    /// A request has failed. Others may use the connection soon, if it is none the worse for that.
    pub(crate) fn fail(self, error: Error, rest: Rest, permit: impl Any + Send) -> Error {
        if error.leaves_connection() {
            self.end(rest, permit);
        }
        error
    }

    /// Nobody waits any more for what was asked. Others may use the connection if that ends soon.
    pub(crate) fn end(self, rest: Rest, permit: impl Any + Send) {
        tokio::spawn(async move {
            // Answered after everything that was asked before.
            let last = match rest {
                Rest::Open => "ROLLBACK",
                // Refused if it has not, after all.
                Rest::Ended => "SELECT 1",
            };
            let ended = tokio::time::timeout(END_WITHIN, self.batch_execute(last)).await;
            if matches!(ended, Ok(Ok(()))) {
                self.done();
            }
            drop(permit);
        });
    }
}

/// What becomes of a connection's transaction when everything that was asked has been answered.
#[derive(Clone, Copy)]
pub(crate) enum Rest {
    /// It is still open, or failed. PostgreSQL would log a warning if one ended what has ended.
    Open,
    /// It has ended, as a `COMMIT` of its own was sent.
    Ended,
}

impl Deref for Busy {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.0.as_ref().expect("it is there until it is done")
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}
