//! The database as a data source.

pub(crate) mod busy;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod transaction;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ddp_server::live_query::{Driver, Load};
use ddp_server::{Collection, Cursor, Write, WriteFence};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use futures::channel::oneshot;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::db::tokens::Tokens;
use crate::db::transaction::Transaction;
use crate::error::Error;
use crate::feed::{Command, Feed, Task};
use crate::intake::assembler::Assembler;
use crate::intake::pipeline::Pipeline;
use crate::read::snapshot::TransactionSnapshot;
use crate::read::visibility::Visibility;
use crate::schema;
use crate::stats::{Counters, Stats};
use crate::table::Table;
use crate::table::collection::TableCollection;
use crate::table::watch;

/// What a transaction may tell of a collection before the collection is read again instead.
const TRANSACTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long to wait for a connection when all are in use.
const POOL_TIMEOUT: Duration = Duration::from_secs(30);

/// How many commands may wait for the feed; those who send more wait themselves.
const COMMANDS_MAX: usize = 64;

/// How long the `wal` feed may take to begin before that is left to a time when nobody waits.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often to look whether tables or triggers were altered.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// How long to wait before trying again to reach a database that is out of reach.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(250);

/// A PostgreSQL database whose tables are live collections. Cheap to clone: clones are the same
/// database.
///
/// Dropping the last clone ends the feed.
#[derive(Clone)]
pub struct Db(pub(crate) Arc<Inner>);

/// Says which database, and which of its tables.
pub struct DbBuilder {
    url: String,
    pub(crate) tables: Vec<Table>,
    tls: Option<rustls::ClientConfig>,
    connections_max: usize,
    pub(crate) feed: Feed,
    pub(crate) install: bool,
    check_every: Duration,
}

pub(crate) struct Inner {
    pub(crate) pool: Pool,
    /// Bounds how many connections live queries may take at once, so that after a gap with many of
    /// them methods still get theirs.
    pub(crate) loads: Semaphore,
    pub(crate) tokens: Tokens,
    pub(crate) collections: HashMap<String, Arc<TableCollection>>,
    commands: mpsc::Sender<Command>,
    pub(crate) assembler: Mutex<Assembler>,
    pub(crate) pipeline: Mutex<Pipeline>,
    pub(crate) visibility: Visibility,
    pub(crate) counters: Counters,
    /// Whether triggers may be installed while the server runs.
    pub(crate) install: bool,
    /// Held by whoever compares the tables with what they were.
    pub(crate) checking: tokio::sync::Mutex<()>,
    /// Told when the tables are to be looked at.
    pub(crate) must_check: Arc<Notify>,
    is_closed: AtomicBool,
    weak: Weak<Self>,
}

impl Db {
    /// The database at a `postgres://` URL or a libpq connection string. TLS is used if the server
    /// offers it, as with libpq's `sslmode=prefer`; `sslmode=require` demands it.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> DbBuilder {
        DbBuilder {
            url: url.into(),
            tables: Vec::new(),
            tls: None,
            connections_max: 16,
            feed: Feed::default(),
            install: true,
            check_every: CHECK_EVERY,
        }
    }

    /// A cursor over all rows of a registered table, to be narrowed and returned by a publication.
    /// That the collection is registered is checked when the cursor is run.
    #[must_use]
    pub fn find<T>(&self, collection: &Collection<T>) -> Cursor<T> {
        let driver: Arc<dyn Driver> = Arc::clone(&self.0) as Arc<dyn Driver>;
        Cursor::new(driver, collection)
    }

    /// Begins a transaction that a method's `updated` waits for.
    ///
    /// # Errors
    /// A database that is out of reach.
    pub async fn begin(&self, fence: &WriteFence) -> Result<Transaction, Error> {
        Transaction::begin(Arc::clone(&self.0), fence).await
    }

    /// Ends the feed and closes all connections. Subscriptions stay, and see no more changes;
    /// transactions and new subscriptions fail. For a clean end of a program: dropping the last
    /// clone does the same.
    pub async fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
        // A feed that is about to connect again looks at the flag.
        let _ = self.0.commands.send(Command::Close).await;
        self.0.pool.close();
        self.0.tokens.clear();
    }

    /// What the feed and the live queries have done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.counters.stats()
    }

    /// The pool of connections, for reads and for writes that no client waits for. Its sessions, as
    /// those of transactions, run with `TimeZone` UTC, `DateStyle` ISO and `IntervalStyle`
    /// iso_8601, unless they are told otherwise for a transaction (`SET LOCAL`).
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }
}

impl DbBuilder {
    /// Registers a table as a collection.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.tables.push(table);
        self
    }

    /// How many connections there may be besides the one that listens; 16. Live queries take at
    /// most half of them at once.
    #[must_use]
    pub fn connections_max(mut self, connections_max: usize) -> Self {
        self.connections_max = connections_max.max(1);
        self
    }

    /// TLS by this configuration, rather than by the operating system's authorities.
    #[must_use]
    pub fn tls(mut self, config: rustls::ClientConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// How changes come from the database; [`Feed::Notify`] unless set. All servers of a table must
    /// be told the same: one that is told otherwise installs triggers that the others do not hear.
    #[must_use]
    pub fn feed(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    /// Leaves the triggers alone: another role installs them, by
    /// [`install_sql`](Self::install_sql) for example. [`connect`](Self::connect) fails if they are
    /// not there, and so do queries when they disappear.
    #[must_use]
    pub fn without_install(mut self) -> Self {
        self.install = false;
        self
    }

    /// How often to look whether tables or triggers were altered; 2 seconds. One query over the
    /// catalogs answers for all tables.
    #[must_use]
    pub fn check_every(mut self, check_every: Duration) -> Self {
        self.check_every = check_every.max(Duration::from_millis(10));
        self
    }

    /// Connects, installs the triggers of the registered tables if they are not there yet, and
    /// begins to listen.
    ///
    /// # Errors
    /// A database that is out of reach, a table that is not there or has no usable key, a role that
    /// may not install triggers or may not see all rows of a table, two tables for one collection;
    /// triggers of a newer version of this library, or installed by others for another feed; with [`Feed::Wal`], a server or a role without what that needs.
    pub async fn connect(self) -> Result<Db, Error> {
        let (config, tls, pool) = self.pool()?;
        let mut client = pool.get().await?;
        if self.feed == Feed::Wal {
            check_wal_level(&client).await?;
        }
        let collections = self.collections(&mut client).await?;
        drop(client);
        let feed = self.feed;
        let (db, begun) = self.start(config, tls, pool, collections)?;
        if feed == Feed::Wal {
            // PostgreSQL may wait for others, who may take their time.
            let begun = tokio::time::timeout(BEGIN_TIMEOUT, begun).await;
            begun.unwrap_or(Ok(Ok(()))).unwrap_or_else(|_| Err(Error::closed()))?;
        }
        Ok(db)
    }

    /// How to connect, and a pool that does.
    pub(crate) fn pool(&self) -> Result<(tokio_postgres::Config, MakeRustlsConnect, Pool), Error> {
        let mut config: tokio_postgres::Config = self.url.parse().map_err(Error::url)?;
        if config.get_application_name().is_none() {
            config.application_name("ddp");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        // So that a row reads the same in a SELECT as in a trigger's message.
        let options = config.get_options().unwrap_or_default();
        config.options(format!("{options} {}", schema::SESSION_OPTIONS));
        // A connection that died silently must not leave clients stale for long.
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(25));
        let tls = match &self.tls {
            Some(config) => MakeRustlsConnect::new(config.clone()),
            None => tls::system()?,
        };
        let recycling_method = RecyclingMethod::Fast;
        let manager =
            Manager::from_config(config.clone(), tls.clone(), ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .wait_timeout(Some(POOL_TIMEOUT))
            .max_size(self.connections_max)
            .build()
            .map_err(Error::build)?;
        Ok((config, tls, pool))
    }

    fn start(
        self,
        mut config: tokio_postgres::Config,
        tls: MakeRustlsConnect,
        pool: Pool,
        found: Vec<TableCollection>,
    ) -> Result<(Db, oneshot::Receiver<Result<(), Error>>), Error> {
        let feed = self.feed;
        let mut collections = HashMap::new();
        let mut assembler = Assembler::new(TRANSACTION_BYTES_MAX);
        for collection in found {
            let name = collection.table.collection_name().to_owned();
            assembler.listen(collection.layout());
            if collections.insert(name.clone(), Arc::new(collection)).is_some() {
                return Err(Error::duplicate_collection(&name));
            }
        }
        // So that whoever looks at the connections of the database knows the one that listens.
        let name = config.get_application_name().unwrap_or("ddp");
        config.application_name(format!("{name} feed"));
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        // What is notified is visible when it comes.
        let channels = collections.values().filter(|_| feed == Feed::Wal);
        let channels = channels.map(|collection| collection.channel.clone());
        let visibility = Visibility::new(channels);
        let inner = Arc::new_cyclic(|weak| Inner {
            pool,
            loads: Semaphore::new((self.connections_max / 2).max(1)),
            tokens: Tokens::new(feed),
            collections,
            commands,
            assembler: Mutex::new(assembler),
            pipeline: Mutex::default(),
            visibility,
            counters: Counters::default(),
            install: self.install,
            checking: tokio::sync::Mutex::default(),
            must_check: Arc::default(),
            is_closed: AtomicBool::new(false),
            weak: weak.clone(),
        });
        let (begun, has_begun) = oneshot::channel();
        let task = Task {
            feed,
            db: Arc::downgrade(&inner),
            config,
            tls,
            commands: receiver,
            channels: HashSet::new(),
            confirmed: HashSet::new(),
            unlistened: 0,
            is_first: true,
            // Listening is tried until it works.
            begun: (feed == Feed::Wal).then_some(begun),
        };
        tokio::spawn(task.run());
        tokio::spawn(watch::run(Arc::downgrade(&inner), self.check_every));
        Ok((Db(inner), has_begun))
    }
}

impl Inner {
    pub(crate) fn spawn_loads(&self, collection: &Arc<TableCollection>, loads: Vec<Load>) {
        for load in loads {
            self.spawn_load(collection, load);
        }
    }

    pub(crate) fn spawn_load(&self, collection: &Arc<TableCollection>, load: Load) {
        if let Some(db) = self.weak.upgrade() {
            tokio::spawn(crate::read::load::run(db, Arc::clone(collection), load));
        }
    }

    /// Sends another token for a write that has committed, since the first may have been lost.
    pub(crate) fn notify_again(&self, write: Arc<Write>) {
        let Some(db) = self.weak.upgrade() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            while !db.is_closed() {
                let token = db.tokens.write(Arc::clone(&write), true);
                match db.notify(token).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::debug!("a write's token could not be sent: {error}");
                        // After an interruption another task has taken it over: with both of them
                        // trying there would be twice as many after each.
                        if !db.tokens.cancel(token) {
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
        // What has not been written to disk is not streamed.
        let send = self.tokens.send_sql(token);
        let sql = format!("BEGIN; SET LOCAL synchronous_commit = local; {send}; COMMIT");
        Ok(client.batch_execute(&sql).await?)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.weak.clone()
    }

    /// Finds out what has become visible of what was streamed.
    pub(crate) fn look_around(&self) {
        let Some(db) = self.weak.upgrade() else { return };
        tokio::spawn(async move {
            while !db.is_closed() {
                let read = db.visibility.begin_read();
                match db.snapshot().await {
                    Ok(snapshot) => return read.forget(&snapshot),
                    Err(error) => {
                        tracing::debug!("what is visible could not be read: {error}");
                        drop(read);
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
        });
    }

    async fn snapshot(&self) -> Result<TransactionSnapshot, Error> {
        let client = self.pool.get().await?;
        let row = client.query_one("SELECT pg_catalog.pg_current_snapshot()::text", &[]).await?;
        TransactionSnapshot::parse(row.try_get(0)?)
    }

    /// Has the feed listen on a channel; done when it does. The answer is how far the feed has come.
    pub(crate) async fn listen(&self, channel: &str) -> Result<u64, Error> {
        let (done, is_listening) = oneshot::channel();
        let command = Command::Listen(channel.to_owned(), done);
        self.commands.send(command).await.map_err(|_| Error::closed())?;
        is_listening.await.map_err(|_| Error::closed())
    }

    /// Has the feed stop listening on a channel that nobody needs any more.
    pub(crate) fn unlisten_if_idle(&self, channel: &str) {
        if self.is_idle(channel) {
            // With the queue full the channel stays; the next one to go tries again.
            let _ = self.commands.try_send(Command::Unlisten(channel.to_owned()));
        }
    }

    pub(crate) fn is_idle(&self, channel: &str) -> bool {
        let mut collections = self.collections.values();
        let collection = collections.find(|collection| collection.channel == channel);
        collection.is_none_or(|collection| collection.multiplexer.is_idle())
    }
}

/// Says so early if the server has not been set up for the `wal` feed.
async fn check_wal_level(client: &tokio_postgres::Client) -> Result<(), Error> {
    let row = client.query_one("SELECT pg_catalog.current_setting('wal_level')", &[]).await?;
    let level: String = row.try_get(0)?;
    if level == "logical" { Ok(()) } else { Err(Error::wal_level(level)) }
}

/// Runs SQL commands in a database, before there is a [`Db`]: to make its tables, for example.
///
/// # Errors
/// A database that is out of reach, or PostgreSQL's.
pub async fn execute(url: &str, sql: &str) -> Result<(), Error> {
    let config: tokio_postgres::Config = url.parse().map_err(Error::url)?;
    let (client, connection) = config.connect(tls::system()?).await?;
    let connection = tokio::spawn(connection);
    let result = client.batch_execute(sql).await;
    drop(client);
    // Ends with its client; how is told by the result.
    let _ = connection.await;
    Ok(result?)
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("collections", &self.0.collections.keys()).finish()
    }
}

impl fmt::Debug for DbBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL: it may hold a password.
        f.debug_struct("DbBuilder").field("tables", &self.tables).finish_non_exhaustive()
    }
}
