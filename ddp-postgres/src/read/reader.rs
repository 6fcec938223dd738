//! What a read needs: connections, permits for loads, tokens, visibility, and the feed to listen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ddp_server::Write;
use ddp_server::log::Log;
use deadpool_postgres::Pool;
use futures::channel::oneshot;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::doubt::ASKABLE;
use super::snapshot::TransactionSnapshot;
use super::visibility::Visibility;
use crate::db::tokens::Tokens;
use crate::error::Error;
use crate::feed::command::Command;
use crate::stats::Counters;

/// The delay between attempts to reach an unreachable database.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(250);

/// How long a read waits for a table's lock before it makes room for other tables, as SQL has it.
pub(crate) const LOCK_TIMEOUT: &str = "500ms";

/// How many commands may wait for the feed, and how many checks for the task that watches the
/// tables; further senders wait.
const WAITING_MAX: usize = 64;

/// A request to compare the tables with their last known state, and where to report the outcome.
pub(crate) type Check = Option<oneshot::Sender<Result<(), Error>>>;

/// What all reads share.
pub(crate) struct Reader {
    pub(crate) pool: Pool,
    /// Whether PostgreSQL can be asked which constants it would refuse.
    pub(crate) is_askable: bool,
    /// The connections of methods, which no read here takes.
    methods: Pool,
    /// Limits how many connections live queries take at once, so that some remain for methods when
    /// many queries read again after a gap.
    permits: Arc<Semaphore>,
    pub(crate) tokens: Tokens,
    pub(crate) visibility: Visibility,
    pub(crate) counters: Counters,
    /// For lines that clients or writers can cause.
    pub(crate) log: Log,
    /// How long rows may be read by their keys, while all changes wait behind that. After it the live
    /// queries of the collection read again by themselves.
    pub(crate) key_read_within: Duration,
    /// Notified when something tells that triggers were installed, which anybody can: the tables are
    /// checked then, but not more than once in a while.
    pub(crate) announced: Arc<Notify>,
    commands: mpsc::Sender<Command>,
    checks: mpsc::Sender<Check>,
    /// Signals interruptions of the feed.
    interruptions: watch::Sender<()>,
    is_closed: AtomicBool,
}

/// The requests of a [`Reader`] to others.
pub(crate) struct Requests {
    /// For the feed.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// For the task that watches the tables.
    pub(crate) checks: mpsc::Receiver<Check>,
}

impl Reader {
    /// A reader of a server of this version with at most this many loads at once.
    pub(crate) fn new(
        (pool, methods): (Pool, Pool),
        version: i32,
        loads_max: usize,
        tokens: Tokens,
        visibility: Visibility,
        key_read_within: Duration,
    ) -> (Self, Requests) {
        let (commands, receiver) = mpsc::channel(WAITING_MAX);
        let (checks, checker) = mpsc::channel(WAITING_MAX);
        let reader = Self {
            pool,
            is_askable: version >= ASKABLE,
            methods,
            permits: Arc::new(Semaphore::new(loads_max)),
            tokens,
            visibility,
            counters: Counters::default(),
            log: Log::default(),
            key_read_within,
            announced: Arc::default(),
            commands,
            checks,
            interruptions: watch::Sender::default(),
            is_closed: AtomicBool::new(false),
        };
        (reader, Requests { commands: receiver, checks: checker })
    }

    /// Waits for one of the connections that live queries may take.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::closed())
    }

    /// Has the feed listen on a channel, and waits until it does. Returns the feed's position.
    pub(crate) async fn listen(&self, channel: &str) -> Result<u64, Error> {
        let (done, is_listening) = oneshot::channel();
        let command = Command::Listen(channel.to_owned(), done);
        self.commands.send(command).await.map_err(|_| Error::closed())?;
        is_listening.await.map_err(|_| Error::closed())
    }

    /// Has the feed stop listening on a channel, if it is unused by then.
    pub(crate) fn unlisten(&self, channel: &str) {
        // If the queue is full, the channel stays until somebody else stops using it.
        let _ = self.commands.try_send(Command::Unlisten(channel.to_owned()));
    }

    /// Has all connections prepare their statements again: PostgreSQL keeps the plan of one when the
    /// memberships of a role change.
    pub(crate) fn forget_statements(&self) {
        for pool in [&self.pool, &self.methods] {
            pool.manager().statement_caches.clear();
        }
    }

    /// Closes the connections that nobody uses: what the feed has lost they may have lost as well, and not
    /// every such connection says so.
    pub(crate) fn forget_idle(&self) {
        for pool in [&self.pool, &self.methods] {
            pool.retain(|_, _| false);
        }
    }

    /// Signals interruptions of the feed to those who subscribe.
    pub(crate) fn interruptions(&self) -> &watch::Sender<()> {
        &self.interruptions
    }

    /// Has the tables compared with their last known state, and waits until changes were handled.
    pub(crate) async fn check_tables(&self) -> Result<(), Error> {
        let (done, is_checked) = oneshot::channel();
        self.checks.send(Some(done)).await.map_err(|_| Error::closed())?;
        is_checked.await.map_err(|_| Error::closed())?
    }

    /// Has the tables checked soon.
    pub(crate) fn check_soon(&self) {
        // If the queue is full, a check is due anyway.
        let _ = self.checks.try_send(None);
    }

    /// Sends another token for a committed write, since the first may have been lost.
    pub(crate) fn notify_again(self: &Arc<Self>, write: Arc<Write>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let reader = Arc::clone(self);
        runtime.spawn(async move {
            while !reader.is_closed() {
                let token = reader.tokens.write(Arc::clone(&write), true);
                match reader.notify(token).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::debug!(%error, "a write's token could not be sent");
                        // After an interruption another task has taken over: if both kept trying,
                        // their number would double each time.
                        if !reader.tokens.cancel(token) {
                            return;
                        }
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
        });
    }

    async fn notify(&self, token: u64) -> Result<(), Error> {
        let client = self.pool.get().await?;
        // A transaction without WAL would not be streamed.
        let send = self.tokens.send_sql(token);
        let sql = format!("BEGIN; SET LOCAL synchronous_commit = local; {send}; COMMIT");
        Ok(client.batch_execute(&sql).await?)
    }

    /// Waits for a token of its own to come back through the feed.
    pub(crate) async fn hears_itself(&self) -> Result<(), Error> {
        let token = self.tokens.position();
        self.notify(token.id).await?;
        token.wait().await
    }

    /// Finds out which streamed transactions have become visible.
    pub(crate) fn look_around(self: &Arc<Self>) {
        let reader = Arc::clone(self);
        tokio::spawn(async move {
            while !reader.is_closed() {
                let read = reader.visibility.begin_read();
                match reader.snapshot().await {
                    Ok(snapshot) => return read.forget(&snapshot),
                    Err(error) => {
                        tracing::debug!(%error, "could not read which transactions are visible");
                        drop(read);
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
        });
    }

    pub(crate) async fn snapshot(&self) -> Result<TransactionSnapshot, Error> {
        let client = self.pool.get().await?;
        let row = client.query_one("SELECT pg_catalog.pg_current_snapshot()::text", &[]).await?;
        TransactionSnapshot::parse(row.try_get(0)?)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Ends the feed and the checks, and closes all connections.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // The flag stops a feed that is about to reconnect.
        let _ = self.commands.send(Command::Close).await;
        self.check_soon();
        self.pool.close();
        self.methods.close();
        self.tokens.clear();
    }
}
