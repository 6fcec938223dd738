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

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use ddp_cluster::{Cluster, ClusterOptions};
    use deadpool_postgres::Manager;
    use futures::TryStreamExt;
    use futures::future::select;
    use tokio_postgres::NoTls;

    use super::*;

    /// Has a connection read rows up to the end of a transaction, and loses interest after the first.
    async fn read_one(client: &Busy, sql: &str) {
        client.batch_execute("BEGIN").await.expect("a transaction");
        let statement = client.prepare(sql).await.expect("a statement");
        let params: [&(dyn ToSql + Sync); 0] = [];
        let mut rows = pin!(client.query_raw(&statement, params).await.expect("rows"));
        // The end is asked for before the first row is looked at.
        select(pin!(client.batch_execute("SELECT 1; COMMIT")), rows.try_next()).await;
    }

    #[tokio::test]
    async fn what_nobody_waits_for_leaves_no_transaction_to_others() {
        let options = ClusterOptions::temporary().without_durability();
        let cluster = Cluster::start(options).expect("PostgreSQL is installed and starts");
        let config = cluster.url().parse().expect("its URL");
        // Whoever comes next waits for this connection, or for its end.
        let pool = Pool::builder(Manager::new(config, NoTls)).max_size(1).build().expect("a pool");
        // The last row fails, and with it what was asked after the rows.
        for (divisor, fails) in [("1001 - n", false), ("1000 - n", true)] {
            let client = Busy::get(&pool).await.expect("a connection");
            let sql = format!("SELECT 1 / ({divisor}) FROM generate_series(1, 1000) AS n");
            read_one(&client, &sql).await;
            client.end(Rest::Ended, ());
            let client = Busy::get(&pool).await.expect("a connection");
            let outcome = client.query("BEGIN", "SELECT 1", &[]).await;
            assert!(outcome.is_ok(), "{outcome:?} with a failure: {fails}");
        }
        let log = std::fs::read_to_string(cluster.log_path()).expect("its log");
        assert!(log.contains("division by zero"), "{log}");
        assert!(!log.contains("no transaction in progress"), "{log}");
    }
}
