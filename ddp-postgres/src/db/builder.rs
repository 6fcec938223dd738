//! Configures a database before connecting.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use futures::channel::oneshot;

use super::Db;
use super::inner::Inner;
use super::tls::{self, Tls};
use super::tokens::Tokens;
use crate::error::Error;
use crate::feed::Feed;
use crate::feed::task::{self, Link};
use crate::intake::dispatch::Intake;
use crate::read::reader::Reader;
use crate::read::visibility::Visibility;
use crate::schema;
use crate::table::collection::TableCollection;
use crate::table::watch::Watch;
use crate::table::{Table, installation};

/// How long to wait for a connection when all are in use.
const POOL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long connecting waits for the `wal` feed; after that, the feed starts in the background.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often to look whether tables or triggers were altered.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Configures a [`Db`]: the database, its tables and how to reach it.
///
/// ```
/// use ddp_postgres::{Db, Feed, Table};
///
/// let builder = Db::builder("postgres://localhost/todos")
///     .table(Table::new("tasks").camel_case())
///     .table(Table::new("auth_user").collection("users").columns(["username"]))
///     .feed(Feed::Notify)
///     .connections_max(8);
/// // let db = builder.connect().await?;
/// # let _ = builder;
/// ```
pub struct DbBuilder {
    url: String,
    tables: Vec<Table>,
    tls: Option<Tls>,
    connections_max: usize,
    feed: Feed,
    install: bool,
    check_every: Duration,
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

    /// Runs SQL commands without a [`Db`], to create its tables for example. TLS works as in
    /// [`builder`](Self::builder).
    ///
    /// # Errors
    /// A database that is out of reach, or PostgreSQL's own error.
    pub async fn run_script(url: &str, sql: &str) -> Result<(), Error> {
        let config: tokio_postgres::Config = url.parse().map_err(Error::url)?;
        let (client, connection) = config.connect(tls::system(&config)?).await?;
        let connection = tokio::spawn(connection);
        let result = client.batch_execute(sql).await;
        drop(client);
        // It ends with its client; the result shows any error.
        let _ = connection.await;
        Ok(result?)
    }
}

impl DbBuilder {
    /// Registers a table as a collection.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.tables.push(table);
        self
    }

    /// The largest number of connections besides the feed's; 16. Live queries use at most half of
    /// them at once.
    #[must_use]
    pub fn connections_max(mut self, connections_max: usize) -> Self {
        self.connections_max = connections_max.max(1);
        self
    }

    /// TLS with this configuration instead of the operating system's certificate authorities.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: rustls::ClientConfig) -> Self {
        self.tls = Some(Tls::new(config));
        self
    }

    /// How changes come from the database; [`Feed::Notify`] unless set. All servers of a table must
    /// use the same feed: a server with another one installs triggers that the others do not hear.
    #[must_use]
    pub fn feed(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    /// Never installs triggers: another role does, with [`install_sql`](Self::install_sql) for
    /// example. [`connect`](Self::connect) fails if they are missing, and queries fail if they
    /// disappear.
    #[must_use]
    pub fn without_install(mut self) -> Self {
        self.install = false;
        self
    }

    /// How often to check whether tables or triggers were altered; 2 seconds. One query over the
    /// catalogs covers all tables.
    #[must_use]
    pub fn check_every(mut self, check_every: Duration) -> Self {
        self.check_every = check_every.max(Duration::from_millis(10));
        self
    }

    /// Connects, installs missing triggers on the registered tables, and starts to listen.
    ///
    /// # Errors
    /// A database that is out of reach, a table that is not there or has no usable key, a role that
    /// may not install triggers or may not see all rows of a table, two tables for one collection;
    /// triggers of a newer version of this library, or installed by others for another feed; with
    /// [`Feed::Wal`], a server or a role that lacks what it needs.
    pub async fn connect(self) -> Result<Db, Error> {
        self.check_names()?;
        let (config, tls, pool) = self.pool()?;
        let mut client = pool.get().await?;
        if self.feed == Feed::Wal {
            check_wal_level(&client).await?;
        }
        let (tables, feed) = (&self.tables, self.feed);
        let collections =
            installation::collections(&mut client, tables, feed, self.install).await?;
        drop(client);
        let (db, begun) = self.start(config, tls, pool, collections);
        if feed == Feed::Wal {
            // PostgreSQL may wait for other transactions, for any length of time.
            let begun = tokio::time::timeout(BEGIN_TIMEOUT, begun).await;
            begun.unwrap_or(Ok(Ok(()))).unwrap_or_else(|_| Err(Error::closed()))?;
        }
        Ok(db)
    }

    /// The SQL that installs the registered tables' triggers, to review or to run with `psql` as a
    /// privileged role. This call changes nothing, and the SQL may be run any number of times.
    ///
    /// # Errors
    /// A database that is out of reach, a table that is not there or has no usable key, triggers of a
    /// newer version of this library.
    pub async fn install_sql(&self) -> Result<String, Error> {
        let (.., pool) = self.pool()?;
        installation::install_sql(&pool.get().await?, &self.tables, self.feed).await
    }

    /// Removes what was installed for the registered tables, whether or not they still exist, and
    /// the schema `ddp` once it is empty. Running servers install it again unless they use
    /// [`without_install`](Self::without_install).
    ///
    /// # Errors
    /// A database that is out of reach, a role that does not own what was installed, a table that
    /// long transactions keep locked.
    pub async fn uninstall(&self) -> Result<(), Error> {
        let (.., pool) = self.pool()?;
        installation::uninstall(&mut pool.get().await?, self.tables.iter()).await
    }

    fn check_names(&self) -> Result<(), Error> {
        let mut names = HashSet::new();
        for name in self.tables.iter().map(Table::collection_name) {
            if !names.insert(name) {
                return Err(Error::duplicate_collection(name));
            }
        }
        Ok(())
    }

    /// How to connect, and a pool that does.
    fn pool(&self) -> Result<(tokio_postgres::Config, Tls, Pool), Error> {
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
            Some(tls) => tls.clone(),
            None => tls::system(&config)?,
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

    /// Starts the feed and the task that watches the tables.
    fn start(
        self,
        mut config: tokio_postgres::Config,
        tls: Tls,
        pool: Pool,
        collections: Vec<TableCollection>,
    ) -> (Db, oneshot::Receiver<Result<(), Error>>) {
        let feed = self.feed;
        // Distinguishes the feed in pg_stat_activity.
        let name = config.get_application_name().unwrap_or("ddp");
        config.application_name(format!("{name} feed"));
        let channels = collections.iter().map(|collection| collection.channel.clone());
        let change_channels: HashSet<String> = channels.collect();
        // Whatever is notified is already visible when it arrives.
        let streamed = change_channels.iter().filter(|_| feed == Feed::Wal);
        let visibility = Visibility::new(streamed.cloned());
        let loads_max = (self.connections_max / 2).max(1);
        let (reader, requests) = Reader::new(pool, loads_max, Tokens::new(feed), visibility);
        let reader = Arc::new(reader);
        let intake = Arc::new(Intake::new(Arc::clone(&reader), collections));
        let (begun, has_begun) = oneshot::channel();
        let link = Link {
            feed,
            config,
            tls,
            sink: Box::new(Arc::downgrade(&intake)),
            commands: requests.commands,
            token_channel: reader.tokens.channel.clone(),
            change_channels,
            listened: HashSet::new(),
            is_first: true,
            // Listening is retried until it works.
            begun: (feed == Feed::Wal).then_some(begun),
        };
        tokio::spawn(task::run(link));
        let watch = Watch {
            intake: Arc::downgrade(&intake),
            checks: requests.checks,
            every: self.check_every,
            install: self.install,
        };
        tokio::spawn(watch.run());
        (Db(Arc::new(Inner { reader, intake })), has_begun)
    }
}

/// Fails early if the server is not set up for the `wal` feed.
async fn check_wal_level(client: &tokio_postgres::Client) -> Result<(), Error> {
    let row = client.query_one("SELECT pg_catalog.current_setting('wal_level')", &[]).await?;
    let level: String = row.try_get(0)?;
    if level == "logical" { Ok(()) } else { Err(Error::wal_level(level)) }
}

impl fmt::Debug for DbBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL, which may contain a password.
        f.debug_struct("DbBuilder").field("tables", &self.tables).finish_non_exhaustive()
    }
}
