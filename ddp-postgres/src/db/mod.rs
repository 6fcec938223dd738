//! The handle of a database, and its builder.
//!
//! What clones of the handle share is a [`Reader`](crate::read::reader::Reader) and an
//! [`Intake`](crate::intake::dispatch::Intake); [`inner`] makes a source of live queries of the two.

mod access;
pub(crate) mod builder;
pub(crate) mod busy;
pub(crate) mod dial;
pub(crate) mod inner;
pub(crate) mod methods;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod transaction;
pub(crate) mod url;
#[cfg(feature = "tls")]
mod verifier;

use std::fmt;
use std::sync::Arc;

use ddp_server::live_query::DataSource;
use ddp_server::{Collection, Cursor, WriteFence};
use deadpool_postgres::Pool;

#[cfg(feature = "accounts")]
use crate::accounts::PostgresAccounts;
use crate::error::Error;
use crate::stats::Stats;
use crate::table::installation;
use inner::Inner;
use transaction::Transaction;

/// A PostgreSQL database whose tables are live collections. Cheap to clone: clones are the same
/// database.
///
/// Dropping the last clone ends the feed.
///
/// ```
/// use ddp_postgres::Db;
/// use ddp_server::{Collection, Cursor, State, field};
///
/// const TASKS: Collection<()> = Collection::new("tasks");
///
/// async fn open_tasks(State(db): State<Db>) -> Cursor<()> {
///     db.find(&TASKS).filter(field("checked").eq(false))
/// }
///
/// let server = ddp_server::Server::builder().publish("tasks.open", open_tasks);
/// // .with_state(db)
/// # let _ = server;
/// ```
#[derive(Clone)]
pub struct Db(pub(crate) Arc<Inner>);

impl Db {
    /// A cursor over all rows of a registered table, for a publication to narrow and return.
    /// Running it fails if the collection is not registered.
    #[must_use]
    pub fn find<T>(&self, collection: &Collection<T>) -> Cursor<T> {
        let source: Arc<dyn DataSource> = Arc::clone(&self.0) as _;
        Cursor::new(source, collection)
    }

    /// Begins a transaction that a method's `updated` waits for.
    ///
    /// # Errors
    /// A database that is out of reach.
    pub async fn begin(&self, fence: &WriteFence) -> Result<Transaction, Error> {
        Transaction::begin(Arc::clone(&self.0), fence).await
    }

    /// Ends the feed and closes all connections, for a clean shutdown; dropping the last clone does
    /// the same. Subscriptions stay but see no more changes; transactions and new subscriptions
    /// fail.
    pub async fn close(&self) {
        self.0.reader.close().await;
    }

    /// Counters of the feed and the live queries so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.reader.counters.stats()
    }

    /// The connections of methods, for reads and for writes that no client waits for: half of
    /// [`connections_max`](crate::DbBuilder::connections_max). Its sessions,
    /// like those of transactions, run with `TimeZone` UTC, `DateStyle` ISO and `IntervalStyle`
    /// iso_8601; change these only within a transaction (`SET LOCAL`).
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.0.methods.pool
    }

    /// The accounts in the tables of [`DbBuilder::accounts`](crate::DbBuilder::accounts), for
    /// `ddp_server`'s plugin `Accounts`.
    ///
    /// # Panics
    /// If the builder was given none.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn accounts(&self) -> PostgresAccounts {
        let accounts = self.0.accounts.clone();
        let accounts = accounts.expect("name the tables of accounts by DbBuilder::accounts");
        PostgresAccounts::new(Arc::clone(&self.0), accounts)
    }

    /// Checks at once whether tables or triggers were altered; the server itself checks every few
    /// [seconds](crate::DbBuilder::check_every). Affected live queries then read again.
    ///
    /// # Errors
    /// A database that is out of reach.
    pub async fn check(&self) -> Result<(), Error> {
        self.0.reader.check_tables().await
    }

    /// [Closes](Self::close) the database and removes what was installed for its tables, like
    /// [`DbBuilder::uninstall`](crate::DbBuilder::uninstall).
    ///
    /// # Errors
    /// The same errors. The database is closed in any case.
    pub async fn uninstall(&self) -> Result<(), Error> {
        let client = self.0.reader.pool.get().await;
        self.close().await;
        // A check in progress might install it again; once this one is refused, that one is over.
        let _ = self.0.reader.check_tables().await;
        let tables = self.0.intake.collections().map(|collection| &collection.table);
        installation::uninstall(&mut client?, tables).await
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let collections = self.0.intake.collections();
        let collections: Vec<_> = collections.map(|c| c.table.collection_name()).collect();
        f.debug_struct("Db").field("collections", &collections).finish()
    }
}
