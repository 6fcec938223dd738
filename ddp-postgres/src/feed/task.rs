//! The change feed: one connection, which is made anew when it is lost.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Weak;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use tokio::sync::mpsc;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::db::Inner;
use crate::error::Error;

/// How long to wait before the first and, at most, before later attempts to connect again.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);
const RECONNECT_AFTER_MAX: Duration = Duration::from_secs(2);

/// How often the server at the other end is asked for a sign of life, and how long it may take.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(10);
pub(super) const ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// How changes come from the database to its servers. All servers of a table use the same: the
/// triggers send by one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Feed {
    /// `NOTIFY`. Needs no setting and no privilege, and reaches clients soonest. PostgreSQL commits
    /// what notifies one after the other, and any role that can connect can listen.
    #[default]
    Notify,
    /// Logical messages in the write-ahead log, read through a temporary replication slot. Commits
    /// do not wait for each other, and only roles with the `REPLICATION` attribute can read along.
    ///
    /// Needs `wal_level = logical`; a role with `REPLICATION`; a free slot
    /// (`max_replication_slots`) and a free sender (`max_wal_senders`) for each server; and for
    /// installing the triggers the `CREATE` privilege on the database, for a publication without
    /// tables. The slot ends with its connection. A server that connects waits for transactions
    /// that are writing at that time, however long they take.
    Wal,
}

impl Feed {
    /// As it is written in comments and messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Wal => "wal",
        }
    }
}

/// What others want of the feed.
#[derive(Debug)]
pub(crate) enum Command {
    /// Listen on a channel, and say when it is so, with the position of the feed.
    Listen(String, oneshot::Sender<u64>),
    /// Nobody needs this channel, unless somebody began to meanwhile.
    Unlisten(String),
    /// End the feed.
    Close,
}

/// The task of the feed. It ends when its [`Inner`] is gone.
pub(crate) struct Task {
    pub(crate) feed: Feed,
    pub(crate) db: Weak<Inner>,
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: MakeRustlsConnect,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// The channels of collections, to be listened on again after an interruption.
    pub(crate) channels: HashSet<String>,
    /// Those of them on which PostgreSQL has confirmed that the connection listens.
    pub(crate) confirmed: HashSet<String>,
    /// How many times this has stopped listening on a channel.
    pub(crate) unlistened: u64,
    /// Whether there was no connection yet.
    pub(crate) is_first: bool,
    /// Told of the first attempt. If that fails, the task ends.
    pub(crate) begun: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Task {
    pub(crate) async fn run(mut self) {
        let mut wait = RECONNECT_AFTER;
        while self.db.upgrade().is_some_and(|db| !db.is_closed()) {
            // A bug in here must not leave every client stale: it is an interruption like others.
            let connected = match self.feed {
                Feed::Notify => AssertUnwindSafe(self.listen()).catch_unwind().await,
                Feed::Wal => AssertUnwindSafe(self.replicate()).catch_unwind().await,
            };
            match connected.unwrap_or_else(|_| Err((false, Error::panicked()))) {
                Ok(()) => return,
                Err((was_connected, error)) => {
                    if let Some(begun) = self.begun.take() {
                        // Whoever connects may have given up.
                        let _ = begun.send(Err(error));
                        return;
                    }
                    tracing::warn!("change feed interrupted: {error}");
                    if was_connected {
                        if let Some(db) = self.db.upgrade() {
                            db.interrupt();
                        }
                        wait = RECONNECT_AFTER;
                    }
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RECONNECT_AFTER_MAX);
        }
    }

    /// The feed is there: whatever happened before may have been missed.
    pub(super) fn has_begun(&mut self, db: &Inner) {
        if let Some(begun) = self.begun.take() {
            // Whoever connects may have given up.
            let _ = begun.send(Ok(()));
        }
        db.counters.connections.add(1);
        if !std::mem::take(&mut self.is_first) {
            db.counters.gaps_connection.add(1);
            db.check_soon();
        }
        db.handle_gap();
    }
}
