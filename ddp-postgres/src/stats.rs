//! Counters of a database's feed and live queries.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of what happened since the [`Db`](crate::Db) connected. Counters only rise.
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
    /// Connections of the feed that were lost, or given up because they went silent. Each is a gap:
    /// all live queries read again on the next connection.
    gaps_connection,
    /// Gaps in the changes of one collection: an operation of a transaction is missing. As with
    /// every gap of one collection, its live queries read again.
    gaps_sequence,
    /// Gaps in the changes of one collection: a part of an operation is missing.
    gaps_part,
    /// Malformed payloads, which no trigger sends.
    gaps_malformed,
    /// Times that too many changes waited for their rows to be read (see
    /// [`Table::keys_only`](crate::Table::keys_only)). All live queries read again.
    gaps_overflow,
    /// Batches handed to live queries: one transaction's changes to one collection.
    batches,
    /// Rows in them.
    changes,
    /// Batches without rows, which make their collection read again: a statement beyond
    /// [`Table::rows_max`](crate::Table::rows_max), a transaction beyond what is kept of one, rows that
    /// could not be read by their keys, or a TRUNCATE and writes in one transaction of a `keys_only`
    /// table.
    requeries,
    /// Times that a live query read its documents: when it began, after a gap, and after changes that
    /// cannot be decided outside of PostgreSQL.
    loads,
    /// SELECTs that did so: one for all queries that waited at the same time and differ only in the
    /// value that a field equals.
    load_statements,
    /// Loads that failed and are tried again after 250 ms, with a line in the log each or a count of such
    /// lines. Locked tables and interruptions of the feed do not count.
    loads_failed,
    /// SELECTs for rows by their keys: the broadcasts held no more, or came in an uncertain order. Rows of
    /// several transactions that wait are read by one.
    key_reads,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
