//! Watches the queue in which PostgreSQL keeps notifications until all who listen have taken them.
//!
//! One session that listens and stays in a transaction keeps everything that others notify, for the
//! whole cluster. When the queue is full, nothing that notifies can commit.

use tokio_postgres::Client;

/// From here on it is worth a warning.
const WARN_ABOVE: f64 = 0.1;

/// Asking also has PostgreSQL drop what all have taken.
const USAGE: &str = "SELECT pg_catalog.pg_notification_queue_usage()";

/// The oldest transaction of another session. Who listens is known to each session alone, and when a
/// transaction began only to its role and to those that may read all statistics.
const OLDEST: &str = "
SELECT a.pid, COALESCE(a.application_name, ''), COALESCE(a.usename::text, ''),
    COALESCE(a.datname::text, ''), COALESCE(a.state, ''),
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8
FROM pg_catalog.pg_stat_activity a
WHERE a.backend_type = 'client backend' AND a.xact_start IS NOT NULL
    AND a.pid <> pg_catalog.pg_backend_pid()
ORDER BY a.xact_start LIMIT 1";

/// What was last said about the queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    warned_at: f64,
}

impl Queue {
    /// Warns if the queue fills up, and again each time it is fuller by a tenth.
    pub(super) async fn look(&mut self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let usage: f64 = client.query_one(USAGE, &[]).await?.try_get(0)?;
        if !self.is_news(usage) {
            return Ok(());
        }
        let percent = (usage * 100.0).round();
        let Some(row) = client.query_opt(OLDEST, &[]).await? else {
            tracing::warn!(
                percent,
                remedy = "GRANT pg_read_all_stats to this server's role, so that it can name the session",
                "the NOTIFY queue fills up, since some session that listens stays in a transaction; \
                 when it is full, nothing that notifies can commit"
            );
            return Ok(());
        };
        let pid: i32 = row.try_get(0)?;
        let (application_name, role): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
        let (database, state): (&str, &str) = (row.try_get(3)?, row.try_get(4)?);
        let seconds: i64 = row.try_get(5)?;
        tracing::warn!(
            percent,
            pid,
            application_name,
            role,
            database,
            state,
            seconds,
            "the NOTIFY queue fills up, since some session that listens stays in a transaction, probably \
             this one: end it; when the queue is full, nothing that notifies can commit"
        );
        Ok(())
    }

    fn is_news(&mut self, usage: f64) -> bool {
        if usage <= WARN_ABOVE {
            self.warned_at = 0.0;
            return false;
        }
        let is_news = self.warned_at == 0.0 || usage >= self.warned_at + WARN_ABOVE;
        if is_news {
            self.warned_at = usage;
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_again_when_it_is_worse_and_when_it_comes_back() {
        let mut queue = Queue::default();
        let news = [0.0, 0.1, 0.15, 0.2, 0.24, 0.26, 0.26, 1.0, 0.2, 0.05, 0.11];
        let news = news.map(|usage| queue.is_news(usage));
        let expected = [false, false, true, false, false, true, false, true, false, false, true];
        assert_eq!(news, expected);
    }
}
