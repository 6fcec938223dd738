//! Which feed brings the changes.

/// How changes get from the database to its servers. All servers of a table must use the same feed,
/// because its triggers send through only one.
///
/// ```
/// use ddp_postgres::{Db, Feed, Table};
///
/// assert_eq!(Feed::default(), Feed::Notify);
/// let tasks = Table::new("tasks").columns(["text"]);
/// let builder = Db::builder("postgres://localhost/todos").table(tasks).feed(Feed::Wal);
/// # let _ = builder;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feed {
    /// `NOTIFY`. Needs no setting and no privilege, and reaches clients soonest. PostgreSQL
    /// serialises commits that notify, and any role that can connect can listen.
    #[default]
    Notify,
    /// Logical messages in the write-ahead log, read through a temporary replication slot. Commits
    /// do not wait for each other, and only roles with the `REPLICATION` attribute can read it.
    ///
    /// Needs `wal_level = logical`, a role with `REPLICATION`, and for each server a free slot
    /// (`max_replication_slots`) and a free sender (`max_wal_senders`). Installing the triggers
    /// needs the `CREATE` privilege on the database, for a publication without tables. The slot
    /// ends with its connection. A connecting server waits for the transactions that are writing at
    /// the time, however long they take.
    Wal,
}

impl Feed {
    /// Its name in comments and messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Wal => "wal",
        }
    }
}
