//! What a database's feed and live queries have done.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what has happened since the [`Db`](crate::Db) connected. Counters only rise.
        ///
        /// ```
        /// use ddp_postgres::Stats;
        ///
        /// /// How many times the feed lost something, for a monitor.
        /// fn gaps(stats: &Stats) -> u64 {
        ///     stats.gaps_connection + stats.gaps_sequence + stats.gaps_part
        /// }
        /// assert_eq!(gaps(&Stats::default()), 0);
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn stats(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections of the feed that were made. All but the first made live queries read again.
    feed_connections,
    /// Connections of the feed that were lost, or given up since they said nothing any more. Each is
    /// a gap: all live queries read again when there is another connection.
    gaps_connection,
    /// Gaps in what one collection was told: an operation of a transaction is missing. Its live
    /// queries read again, as for the other gaps of one collection.
    gaps_sequence,
    /// Gaps in what one collection was told: a part of an operation is missing.
    gaps_part,
    /// Payloads that no trigger sends.
    gaps_malformed,
    /// Times that more changes waited for rows to be read (see
    /// [`Table::keys_only`](crate::Table::keys_only)) than may wait. All live queries read again.
    gaps_overflow,
    /// Transactions' changes to a collection that were handed to live queries.
    batches,
    /// Rows in them.
    changes,
    /// Batches that told no rows, but that their collection must be read again: a statement beyond
    /// [`Table::rows_max`](crate::Table::rows_max), a transaction beyond what is kept of one, rows that
    /// could not be read by their keys, or a TRUNCATE and writes in one transaction of a table that
    /// tells keys only.
    requeries,
    /// Times that a live query read its documents: when it began, after a gap, and after changes that
    /// cannot be decided outside of PostgreSQL.
    loads,
    /// SELECTs for rows that were told only by their keys.
    key_reads,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
