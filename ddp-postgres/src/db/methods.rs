//! What methods have of the database: connections of their own, and limits for what they wait for.

use std::time::Duration;

use deadpool_postgres::{Object, Pool};

use crate::error::Error;

/// How long a transaction of a method waits for a lock if nothing else is said.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one of its statements may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of a session that somebody has set for its role, its database or in the connection
/// string, in milliseconds.
const SET: &str = "SELECT
    (SELECT s.setting::int8 FROM pg_catalog.pg_settings s WHERE s.name = 'lock_timeout'),
    (SELECT s.setting::int8 FROM pg_catalog.pg_settings s WHERE s.name = 'statement_timeout')";

/// How the connections are shared out, so that nobody waits for those of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// For methods; all others are for the server itself.
    pub(super) methods: usize,
    /// For the server's own reads, checks and tokens; none if there is but one for all.
    pub(super) own: usize,
    /// How many of those live queries may take at once.
    pub(super) loads: usize,
}

impl Shares {
    pub(super) fn of(connections_max: usize) -> Self {
        let methods = connections_max.div_ceil(2).max(1);
        let own = connections_max.saturating_sub(methods);
        // For the check of the tables, tokens, and rows that are read by their keys.
        let kept = match own {
            0 | 1 => 0,
            2 | 3 => 1,
            _ => 2,
        };
        Self { methods, own, loads: (own - kept).max(1) }
    }
}

/// How long methods wait. None: what is usual, unless the session has a setting of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) lock_timeout: Option<Duration>,
    pub(super) statement_timeout: Option<Duration>,
}

impl Limits {
    /// The statements that set them in a transaction.
    pub(super) async fn sql(self, client: &Object) -> Result<String, Error> {
        let row = client.query_one(SET, &[]).await?;
        let (lock, statement): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok([
            ("lock_timeout", self.lock_timeout, lock, LOCK_TIMEOUT),
            ("statement_timeout", self.statement_timeout, statement, STATEMENT_TIMEOUT),
        ]
        .into_iter()
        .filter_map(|(name, wanted, set, usual)| {
            let timeout = wanted.or_else(|| (set == 0).then_some(usual))?;
            // PostgreSQL takes a timeout of 0 for none, and more than an integer for an error.
            let at_least = u128::from(!timeout.is_zero());
            let millis = timeout.as_millis().clamp(at_least, i32::MAX as u128);
            Some(format!("SET LOCAL {name} = {millis};"))
        })
        .collect())
    }
}

/// The methods' share of the connections, and their limits.
pub(crate) struct Methods {
    pub(crate) pool: Pool,
    /// Sets the limits in a transaction.
    pub(crate) limits_sql: String,
}

impl Methods {
    /// Begins a transaction on one of their connections.
    ///
    /// `BEGIN` is a prepared statement like those that follow: if somebody has deallocated them all,
    /// this one tells, before there is a transaction that could fail.
    pub(super) async fn begin(&self, client: &Object) -> Result<(), Error> {
        let begin = client.prepare_cached("BEGIN").await?;
        // They go out together.
        let (begun, limited) =
            futures::join!(client.execute(&begin, &[]), client.batch_execute(&self.limits_sql));
        match begun.map_err(Error::from) {
            Err(error) if error.is_of_lost_statement() => {
                client.statement_cache.clear();
                Ok(client.batch_execute(&format!("BEGIN;{}", self.limits_sql)).await?)
            }
            begun => {
                begun?;
                Ok(limited?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_share() {
        for (connections_max, methods, own, loads) in
            [(1, 1, 0, 1), (2, 1, 1, 1), (3, 2, 1, 1), (4, 2, 2, 1), (8, 4, 4, 2), (16, 8, 8, 6)]
        {
            assert_eq!(Shares::of(connections_max), Shares { methods, own, loads });
        }
    }
}
