//! Whose turn it is to install, and how long that may hold up others.
//!
//! What locks tables goes out together with the end of its transaction: PostgreSQL then goes on to
//! the end by itself if this process is stopped. If it is stopped before all of that is sent,
//! PostgreSQL ends its connection, and with it all locks.

use std::time::Duration;

use futures::TryFutureExt;
use futures::future::try_join_all;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::Error;

/// All servers take this lock before changing anything: the first 63 bits of a hash.
const ADVISORY_LOCK: i64 = 0x6464_7020_696e_7374;

/// For what follows: operators in a trigger's condition are resolved then, for good. Others wait for their
/// turn while this transaction is idle.
const BEGIN_SQL: &str = "SET LOCAL search_path = pg_catalog;
SET LOCAL client_min_messages = warning;
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = '10s';
";

/// Who holds the lock.
const HOLDER: &str = "
SELECT pg_catalog.format('process %s (application %L, role %s, %s)', l.pid, a.application_name,
    coalesce(a.usename::text, 'unknown'), coalesce(a.state, 'state unknown'))
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.classid::int8 = $1::int8 >> 32 AND l.objid::int8 = $1::int8 & 4294967295
LIMIT 1";

/// How hard to try to lock a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Several times, each as long as writers may be held up.
    Long,
    /// Once as long.
    Short,
    /// Only if it is free, so that writers notice nothing.
    None,
}

/// How long to wait for one's turn: others need milliseconds.
fn wait(patience: Patience) -> Duration {
    match patience {
        Patience::Long => Duration::from_secs(30),
        Patience::Short => Duration::from_secs(2),
        Patience::None => Duration::ZERO,
    }
}

/// The same for `psql`: waits for one's turn, and then has the limits of what locks tables.
pub(super) fn prepare_sql(lock_timeout: &str) -> String {
    format!(
        "{BEGIN_SQL}SET LOCAL lock_timeout = '{}ms';
{};
{}",
        wait(Patience::Long).as_millis(),
        turn_sql(),
        limits_sql(lock_timeout)
    )
}

/// Waits for one's turn, within a transaction of `psql`.
pub(crate) fn turn_sql() -> String {
    format!("SELECT pg_catalog.pg_advisory_xact_lock({ADVISORY_LOCK})")
}

/// What bounds how long writers wait: for each lock that we wait for and they queue behind, for each
/// statement, and for this process between statements.
fn limits_sql(lock_timeout: &str) -> String {
    format!(
        "SET LOCAL lock_timeout = '{lock_timeout}';
SET LOCAL statement_timeout = '3s';
SET LOCAL idle_in_transaction_session_timeout = '800ms';
"
    )
}

/// Begins a transaction during which nobody else installs.
///
/// # Errors
/// If it does not get its turn in time.
pub(crate) async fn begin(
    client: &mut Client,
    patience: Patience,
) -> Result<Transaction<'_>, Error> {
    let mut transaction = client.transaction().await?;
    transaction.batch_execute(BEGIN_SQL).await?;
    let tried = format!("SELECT pg_catalog.pg_try_advisory_xact_lock({ADVISORY_LOCK})");
    if !transaction.query_one(&tried, &[]).await?.try_get::<_, bool>(0)? {
        await_turn(&mut transaction, wait(patience)).await?;
    }
    Ok(transaction)
}

async fn await_turn(transaction: &mut Transaction<'_>, wait: Duration) -> Result<(), Error> {
    let holder = holder(transaction).await?;
    if wait.is_zero() {
        return Err(Error::Installing { holder, wait });
    }
    tracing::warn!(holder, "waiting for another session that is installing triggers");
    let waiting = transaction.transaction().await?;
    let sql = format!(
        "SET LOCAL lock_timeout = '{}ms'; SELECT pg_catalog.pg_advisory_xact_lock({ADVISORY_LOCK})",
        wait.as_millis()
    );
    match waiting.batch_execute(&sql).await {
        Ok(()) => Ok(waiting.commit().await?),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            waiting.rollback().await?;
            let holder = self::holder(transaction).await?;
            Err(Error::Installing { holder, wait })
        }
        Err(error) => Err(error.into()),
    }
}

async fn holder(transaction: &Transaction<'_>) -> Result<String, tokio_postgres::Error> {
    match transaction.query_opt(HOLDER, &[&ADVISORY_LOCK]).await? {
        Some(row) => row.try_get(0),
        None => Ok("a session that has just ended".to_owned()),
    }
}

/// Runs what locks tables, and ends the transaction, without waiting for any answer in between. An error
/// comes with the statement that failed.
pub(super) async fn finish(
    transaction: Transaction<'_>,
    lock_timeout: &str,
    statements: &[String],
) -> Result<(), (String, tokio_postgres::Error)> {
    let limits = limits_sql(lock_timeout);
    let run = |sql| transaction.batch_execute(sql).map_err(move |error| (sql.to_owned(), error));
    // The transaction that this one is chained to does nothing, and is what the client ends: without
    // it PostgreSQL would log that there is none.
    let all = std::iter::once(limits.as_str()).chain(statements.iter().map(String::as_str));
    // Polled in this order.
    try_join_all(all.chain(["COMMIT AND CHAIN"]).map(run)).await?;
    transaction.commit().await.map_err(|error| ("COMMIT".to_owned(), error))
}

#[cfg(test)]
mod tests {
    use ddp_cluster::{Cluster, ClusterOptions};
    use tokio_postgres::NoTls;

    use super::*;

    async fn connect(cluster: &Cluster, name: &str) -> Client {
        let mut config: tokio_postgres::Config = cluster.url().parse().unwrap();
        let (client, connection) = config.application_name(name).connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    #[tokio::test]
    async fn whoever_has_the_turn_is_named() {
        let options = ClusterOptions::temporary().without_durability();
        let cluster = Cluster::start(options).unwrap();
        let mut holder = connect(&cluster, "somebody").await;
        let pid = "SELECT pg_backend_pid()::text";
        let pid: String = holder.query_one(pid, &[]).await.unwrap().get(0);
        let held = begin(&mut holder, Patience::Long).await.unwrap();
        let mut other = connect(&cluster, "other").await;
        for patience in [Patience::None, Patience::Short] {
            let error = begin(&mut other, patience).await.map(drop).unwrap_err().to_string();
            let named = format!("process {pid} (application 'somebody', role postgres, idle in");
            assert!(error.contains(&named), "{error}");
        }
        held.rollback().await.unwrap();
        begin(&mut other, Patience::None).await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_is_stopped_lets_tables_go() {
        let options = ClusterOptions::temporary().without_durability();
        let cluster = Cluster::start(options).unwrap();
        let (mut stopped, writer) = (connect(&cluster, "a").await, connect(&cluster, "b").await);
        writer.batch_execute("CREATE TABLE t (id int)").await.unwrap();
        // All was sent: it ends without this process.
        let lock = ["LOCK TABLE public.t".to_owned(), "SELECT pg_sleep(0.2)".to_owned()];
        let transaction = begin(&mut stopped, Patience::Long).await.unwrap();
        let mut finished = std::pin::pin!(finish(transaction, "800ms", &lock));
        tokio::time::timeout(Duration::from_millis(100), &mut finished).await.unwrap_err();
        writer.batch_execute("SET lock_timeout = '5s'; INSERT INTO t VALUES (1)").await.unwrap();
        finished.await.unwrap();
        // Not all was: PostgreSQL ends it.
        let mut stopped = connect(&cluster, "c").await;
        let transaction = begin(&mut stopped, Patience::Long).await.unwrap();
        transaction.batch_execute(&limits_sql("800ms")).await.unwrap();
        transaction.batch_execute("LOCK TABLE public.t").await.unwrap();
        writer.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        transaction.batch_execute("SELECT 1").await.expect_err("its connection was closed");
    }
}
