//! Configures a database before connecting.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use futures::channel::oneshot;
use tokio_postgres::SimpleQueryMessage;

use super::Db;
use super::access::Access;
use super::dial::dial;
use super::inner::Inner;
use super::methods::{Limits, Methods, Shares};
use super::tls::{self, Tls};
use super::tokens::Tokens;
use super::url::Target;
#[cfg(feature = "accounts")]
use crate::accounts::{Accounts, AccountsTables};
use crate::error::Error;
use crate::feed::Feed;
use crate::feed::task::{self, Link};
use crate::intake::dispatch::Intake;
use crate::read::reader::Reader;
use crate::read::visibility::Visibility;
use crate::schema::Installed;
use crate::table::collection::TableCollection;
use crate::table::watch::Watch;
use crate::table::{Table, installation};

/// As `server_version_num` writes it.
const VERSION_MIN: i32 = 140_000;

/// How long connecting waits for a feed that has its connection; after that, the `wal` feed starts in the
/// background.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a lost connection is replaced while tables are described and triggers installed.
const INSTALL_ATTEMPTS: usize = 3;

/// How long a method waits for a connection when all of theirs are in use.
const POOL_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for the server itself, whose loads take turns.
const OWN_POOL_TIMEOUT: Duration = Duration::from_secs(30);

/// How often to look whether tables or triggers were altered.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// How long rows may be read by their keys while other changes wait.
const KEY_READ_WITHIN: Duration = Duration::from_secs(2);

/// Configures a [`Db`]: the database, its tables and how to reach it.
///
/// ```
/// use ddp_postgres::{Db, Feed, Table};
///
/// let builder = Db::builder("postgres://localhost/todos")
///     .table(Table::new("tasks").columns(["list_id", "text"]).camel_case())
///     .table(Table::new("auth_user").collection("users").columns(["username"]))
///     .feed(Feed::Notify)
///     .connections_max(8);
/// // let db = builder.connect().await?;
/// # let _ = builder;
/// ```
pub struct DbBuilder {
    url: String,
    feed_url: Option<String>,
    tables: Vec<Table>,
    #[cfg(feature = "accounts")]
    accounts: Option<Arc<Accounts>>,
    tls: Option<Tls>,
    connections_max: usize,
    pool_timeout: Duration,
    limits: Limits,
    feed: Feed,
    install: bool,
    check_every: Duration,
    key_read_within: Duration,
}

/// The connections, shared out.
struct Pools {
    own: Pool,
    methods: Pool,
}

impl Db {
    /// The database at a `postgres://` URL or a libpq connection string.
    ///
    /// `sslmode` is libpq's: TLS is used if the server offers it (`prefer`), `require` demands it,
    /// and only `verify-ca` and `verify-full` check who the server is, by the operating system's
    /// authorities or `sslrootcert`. Prisma's `schema` is a `search_path`. Without a host it is the
    /// server of this machine.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> DbBuilder {
        DbBuilder {
            url: url.into(),
            feed_url: None,
            tables: Vec::new(),
            #[cfg(feature = "accounts")]
            accounts: None,
            tls: None,
            connections_max: 16,
            pool_timeout: POOL_TIMEOUT,
            limits: Limits::default(),
            feed: Feed::default(),
            install: true,
            check_every: CHECK_EVERY,
            key_read_within: KEY_READ_WITHIN,
        }
    }

    /// Runs SQL commands without a [`Db`], to create its tables for example. TLS works as in
    /// [`builder`](Self::builder).
    ///
    /// # Errors
    /// A database that is out of reach, or PostgreSQL's own error.
    pub async fn run_script(url: &str, sql: &str) -> Result<(), Error> {
        let target = Target::parse(url)?;
        let (client, connection) = dial(&target.config, &tls::of(&target)?, "").await?;
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

    /// Keeps the accounts of Meteor's users in these tables, for [`Db::accounts`]. [`connect`](Self::connect)
    /// makes them if they are not there. The collection `users` is theirs.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn accounts(mut self, tables: AccountsTables) -> Self {
        self.tables.extend(tables.published());
        self.accounts = Some(Arc::new(Accounts::new(tables)));
        self
    }

    /// The largest number of connections besides the feed's; 16. Half of them are for methods and
    /// [`Db::pool`], the others for the server's own reads; live queries leave two of them for the
    /// check of the tables and for rows that are read by their keys. With fewer than four, some of
    /// these share one.
    #[must_use]
    pub fn connections_max(mut self, connections_max: usize) -> Self {
        self.connections_max = connections_max.max(1);
        self
    }

    /// How long a method waits for one of its connections when all are in use; 5 seconds. Then it
    /// fails, with the error `database-busy` for the client, as it does if a new one is not ready within
    /// the URL's `connect_timeout`.
    #[must_use]
    pub fn pool_timeout(mut self, timeout: Duration) -> Self {
        self.pool_timeout = timeout;
        self
    }

    /// PostgreSQL's `lock_timeout` in the transactions of methods and in `cursor.fetch()`: the
    /// client gets the error `database-busy`. Zero is no limit. Unless set, it is what the role, the
    /// database or the connection string says, or else 5 seconds.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.limits.lock_timeout = Some(timeout);
        self
    }

    /// PostgreSQL's `statement_timeout` in the same: the client gets the error `database-timeout`.
    /// Zero is no limit. Unless set, it is what the role, the database or the connection string
    /// says, or else 30 seconds.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.limits.statement_timeout = Some(timeout);
        self
    }

    /// The connection string for the feed, if it must be another one: `LISTEN` and replication need a
    /// direct connection, or a pooler in session mode.
    #[must_use]
    pub fn feed_url(mut self, url: impl Into<String>) -> Self {
        self.feed_url = Some(url.into());
        self
    }

    /// TLS with this configuration instead of the one that the connection strings describe.
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

    /// How long rows may be read by their keys while other changes wait; 2 seconds.
    #[cfg(feature = "__testing")]
    #[must_use]
    pub fn key_read_within(mut self, within: Duration) -> Self {
        self.key_read_within = within;
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
        let (link, pools, client) = self.open().await?;
        let feed_link = match &self.feed_url {
            Some(url) => self.link(url)?,
            None => link.clone(),
        };
        if link.is_without_options || self.feed_url.is_some() {
            // Of the only one there is, one more is needed for a moment.
            let other = match self.connections_max {
                1 => link.pool(1, self.pool_timeout)?,
                _ => pools.methods.clone(),
            };
            let limit = link.connect_within() + BEGIN_TIMEOUT;
            let checked = tokio::time::timeout(limit, keeps_sessions(&client, &other)).await;
            if !checked.unwrap_or(Ok(false))? {
                return Err(Error::pooler(link.name()));
            }
        }
        let version = check_server(&client, &link).await?;
        if self.feed == Feed::Wal {
            check_wal_level(&client).await?;
        }
        let feed = self.feed;
        let (collections, client) = self.collections(client, &pools.own).await?;
        let limits_sql = self.limits.sql(&client).await?;
        drop(client);
        let host = feed_link.name();
        let begin_within = feed_link.connect_within() + BEGIN_TIMEOUT;
        let methods = Methods { pool: pools.methods, limits_sql };
        let (db, begun) = self.start(feed_link, (pools.own, version), methods, collections);
        // PostgreSQL may wait for other transactions, for any length of time.
        let begun = tokio::time::timeout(begin_within, begun).await;
        begun.unwrap_or(Ok(Ok(()))).unwrap_or_else(|_| Err(Error::closed()))?;
        if feed == Feed::Notify {
            let heard = tokio::time::timeout(BEGIN_TIMEOUT, db.0.reader.hears_itself()).await;
            heard.unwrap_or_else(|_| Err(Error::unheard(host)))?;
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
        let (.., client) = self.open().await?;
        installation::install_sql(&client, &self.tables, self.feed).await
    }

    /// Removes what was installed for the registered tables, whether or not they still exist, and
    /// the schema `ddp` once it is empty. Running servers install it again unless they use
    /// [`without_install`](Self::without_install).
    ///
    /// # Errors
    /// A database that is out of reach, a role that does not own what was installed, a table that
    /// long transactions keep locked.
    pub async fn uninstall(&self) -> Result<(), Error> {
        let (.., mut client) = self.open().await?;
        installation::uninstall(&mut client, self.tables.iter()).await
    }

    /// What is installed in the database, for the registered tables and for all others, also by other
    /// programs with this library. This call changes nothing and needs no privilege.
    ///
    /// ```no_run
    /// # async fn list() -> Result<(), ddp_postgres::Error> {
    /// for installed in ddp_postgres::Db::builder("postgres://localhost/todos").installed().await? {
    ///     println!("{installed}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A database that is out of reach.
    pub async fn installed(&self) -> Result<Vec<Installed>, Error> {
        let (.., client) = self.open().await?;
        installation::installed(&client).await
    }

    /// Removes what was installed for any table, registered or not, and all that is in common: the
    /// schema `ddp`, the publication of the `wal` feed and the event trigger. Tells what it was.
    /// What others keep in the schema stays, and the schema with it. Stop the servers before.
    ///
    /// # Errors
    /// A database that is out of reach, something that another role owns, a table that long transactions
    /// keep locked, a server that installs its triggers again meanwhile. The tables before that one
    /// then have no triggers any more.
    pub async fn uninstall_all(&self) -> Result<Vec<Installed>, Error> {
        let (.., mut client) = self.open().await?;
        installation::uninstall_all(&mut client).await
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

    /// The pools, and the first of the server's own connections.
    async fn open(&self) -> Result<(Access, Pools, Object), Error> {
        let mut link = self.link(&self.url)?;
        let first = async |link: &Access| {
            let shares = Shares::of(self.connections_max);
            let methods = link.pool(shares.methods, self.pool_timeout)?;
            let own = match shares.own {
                0 => methods.clone(),
                own => link.pool(own, OWN_POOL_TIMEOUT)?,
            };
            let client = own.get().await.map_err(|error| Error::connect(link.name(), error))?;
            Ok::<_, Error>((Pools { own, methods }, client))
        };
        let (pools, client) = match first(&link).await {
            Err(error) if error.is_of_options() => {
                link.leave_options_out();
                first(&link).await?
            }
            opened => opened?,
        };
        Ok((link, pools, client))
    }

    /// Describes and installs. PostgreSQL ends the connection of a process that was stopped while it kept
    /// others waiting; then another one has to do.
    async fn collections(
        &self,
        mut client: Object,
        pool: &Pool,
    ) -> Result<(Vec<TableCollection>, Object), Error> {
        let mut attempts = 1..INSTALL_ATTEMPTS;
        loop {
            match self.prepare(&mut client).await {
                Err(error) if error.is_of_connection() && attempts.next().is_some() => {
                    tracing::warn!(%error, "the connection was lost while tables were looked at; trying again");
                    drop(Object::take(client));
                    client = pool.get().await?;
                }
                outcome => return Ok((outcome?, client)),
            }
        }
    }

    async fn prepare(&self, client: &mut Object) -> Result<Vec<TableCollection>, Error> {
        #[cfg(feature = "accounts")]
        if let Some(accounts) = &self.accounts {
            accounts.prepare(client, self.install).await?;
        }
        installation::collections(client, &self.tables, self.feed, self.install).await
    }

    fn link(&self, url: &str) -> Result<Access, Error> {
        Access::new(url, self.tls.as_ref())
    }

    /// Starts the feed and the task that watches the tables, of a server of this version.
    fn start(
        self,
        access: Access,
        (pool, version): (Pool, i32),
        methods: Methods,
        #[cfg_attr(not(feature = "accounts"), expect(unused_mut, reason = "accounts follow one"))]
        mut collections: Vec<TableCollection>,
    ) -> (Db, oneshot::Receiver<Result<(), Error>>) {
        let feed = self.feed;
        let Access { mut config, tls, .. } = access;
        // Distinguishes the feed in pg_stat_activity.
        let name = config.get_application_name().unwrap_or("ddp");
        config.application_name(format!("{name} feed"));
        let channels = collections.iter().map(|collection| collection.channel.clone());
        let change_channels: HashSet<String> = channels.collect();
        // Whatever is notified is already visible when it arrives.
        let streamed = change_channels.iter().filter(|_| feed == Feed::Wal);
        let visibility = Visibility::new(streamed.cloned());
        let loads_max = Shares::of(self.connections_max).loads;
        let pools = (pool, methods.pool.clone());
        let tokens = Tokens::new(feed);
        let (reader, requests) =
            Reader::new(pools, version, loads_max, tokens, visibility, self.key_read_within);
        let reader = Arc::new(reader);
        #[cfg(feature = "accounts")]
        if let Some(accounts) = &self.accounts {
            accounts.begin(&reader, feed, &mut collections);
        }
        let tapped = collections.iter().filter(|collection| collection.is_tapped());
        let listened = tapped.map(|collection| collection.channel.clone()).collect();
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
            listened,
            is_first: true,
            log: reader.log.clone(),
            begun: Some(begun),
        };
        tokio::spawn(task::run(link));
        let watch = Watch {
            intake: Arc::downgrade(&intake),
            every: self.check_every,
            install: self.install,
            notifies: feed == Feed::Notify,
        };
        tokio::spawn(watch.run(requests.checks));
        let inner = Inner {
            reader,
            intake,
            methods,
            #[cfg(feature = "accounts")]
            accounts: self.accounts,
        };
        (Db(Arc::new(inner)), has_begun)
    }
}

/// Whether a setting is still there in the next transaction, while another connection has one open.
async fn keeps_sessions(client: &tokio_postgres::Client, pool: &Pool) -> Result<bool, Error> {
    let other = pool.get().await?;
    client.batch_execute("SET ddp.probe = 'kept'").await?;
    other.batch_execute("BEGIN").await?;
    let found = client.simple_query("SELECT pg_catalog.current_setting('ddp.probe', true)").await?;
    other.batch_execute("ROLLBACK").await?;
    Ok(found.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("kept"),
        _ => false,
    }))
}

/// Fails early if no feed can come from the server. Returns its version.
async fn check_server(client: &tokio_postgres::Client, access: &Access) -> Result<i32, Error> {
    let sql = "SELECT pg_catalog.current_setting('server_version'),
        pg_catalog.current_setting('server_version_num')::pg_catalog.int4, pg_catalog.pg_is_in_recovery()";
    let row = client.query_one(sql, &[]).await?;
    let version = row.try_get(1)?;
    check_version(version, row.try_get(0)?)?;
    if row.try_get(2)? { Err(Error::standby(access.name())) } else { Ok(version) }
}

fn check_version(number: i32, version: String) -> Result<(), Error> {
    if number < VERSION_MIN { Err(Error::too_old(version)) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgresql_older_than_14_is_refused() {
        for (number, version) in [(90_624, "9.6.24"), (130_022, "13.22 (Debian 13.22-1)")] {
            let error = check_version(number, version.to_owned()).unwrap_err().to_string();
            assert_eq!(error, format!("PostgreSQL {version} is too old: 14 or later is needed"));
        }
        for number in [140_000, 150_018, 180_004] {
            assert!(check_version(number, String::new()).is_ok(), "{number}");
        }
    }
}
