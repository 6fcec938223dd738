//! Errors of the database and of queries on it.

mod codes;
mod kind;

use std::fmt;
use std::str::Utf8Error;
use std::sync::LazyLock;

use ddp_server::ForClient;
use ddp_server::query::Value;
use deadpool_postgres::PoolError;
use pgwire_replication::protocol::ErrorFields;
use tokio_postgres::types::WrongType;

use self::kind::Kind;
use crate::causes::{of_database, with_causes};
use crate::nearest::did_you_mean;
use crate::row::RowError;
use crate::schema::{self, Layout};

/// An error of the database, or of a query on it.
///
/// If a method passes it on, it is logged, and the client gets 500; or `database-busy` if there was
/// no connection or no lock to be had in time or NOTIFY's queue is full, and `database-timeout` if a statement took too long.
///
/// ```
/// use ddp_postgres::{Db, Table};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let twice = Db::builder("postgres://localhost/todos")
///     .table(Table::new("tasks").all_columns())
///     .table(Table::new("old_tasks").collection("tasks").all_columns());
/// let error = twice.connect().await.err().expect("names are checked before connecting");
/// assert_eq!(
///     error.to_string(),
///     "two tables are registered for collection \"tasks\": give one another name with .collection(…)"
/// );
/// # }
/// ```
pub struct Error(Box<Kind>);

impl Error {
    pub(crate) fn url(error: tokio_postgres::Error) -> Self {
        Kind::Url(error).into()
    }

    /// The text names no password.
    pub(crate) fn connection_string(why: impl Into<String>) -> Self {
        Kind::ConnectionString(why.into()).into()
    }

    /// None could be had, for the first time. `to` is a host with port and database.
    pub(crate) fn connect(to: String, error: PoolError) -> Self {
        Kind::Connect { to, error }.into()
    }

    pub(crate) fn too_old(version: String) -> Self {
        Kind::TooOld(version).into()
    }

    pub(crate) fn standby(host: String) -> Self {
        Kind::Standby(host).into()
    }

    pub(crate) fn unheard(host: String) -> Self {
        Kind::Unheard(host).into()
    }

    pub(crate) fn pooler(host: String) -> Self {
        Kind::Pooler(host).into()
    }

    /// Whether a pooler refused the options that a connection starts with.
    pub(crate) fn is_of_options(&self) -> bool {
        self.postgres()
            .is_some_and(|error| of_database(error).contains("unsupported startup parameter"))
    }

    pub(crate) fn build(error: deadpool_postgres::BuildError) -> Self {
        Kind::Build(error).into()
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn no_tls() -> Self {
        Kind::NoTls.into()
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(error: rustls::Error) -> Self {
        Kind::Tls(error).into()
    }

    /// What went wrong when rows of a table were read.
    pub(crate) fn of_reading(self, layout: &Layout) -> Self {
        use tokio_postgres::error::SqlState;

        let is_of_text = |code: &SqlState| {
            [SqlState::CHARACTER_NOT_IN_REPERTOIRE, SqlState::UNTRANSLATABLE_CHARACTER]
                .contains(code)
        };
        match *self.0 {
            Kind::Postgres(error) if error.code().is_some_and(is_of_text) => {
                Kind::NotText { relation: layout.relation().to_owned(), error }.into()
            }
            other => other.into(),
        }
    }

    pub(crate) fn closed() -> Self {
        Kind::Closed.into()
    }

    pub(crate) fn silent() -> Self {
        Kind::Silent.into()
    }

    pub(crate) fn panicked() -> Self {
        Kind::Panicked.into()
    }

    pub(crate) fn interrupted() -> Self {
        Kind::Interrupted.into()
    }

    pub(crate) fn malformed(text: &str) -> Self {
        Kind::Malformed(text.chars().take(100).collect()).into()
    }

    pub(crate) fn replication(error: pgwire_replication::PgWireError) -> Self {
        Kind::Replication(error).into()
    }

    pub(crate) fn replication_refused(fields: &ErrorFields) -> Self {
        let message = fields.message.clone().unwrap_or_default();
        let code = fields.code.clone().unwrap_or_default();
        match code.as_str() {
            // Insufficient privilege.
            "42501" => Kind::MayNotReplicate(message),
            // Configuration limit exceeded, too many connections.
            "53400" | "53300" => Kind::NoSlot(message),
            _ => Kind::ReplicationRefused { message, code },
        }
        .into()
    }

    /// What a server says to one that connects in order to replicate.
    pub(crate) fn replication_handshake(error: tokio_postgres::Error) -> Self {
        let text = of_database(&error);
        match error.code().map(tokio_postgres::error::SqlState::code) {
            Some("42501") => Kind::MayNotReplicate(text).into(),
            Some("53300") => Kind::NoSlot(text).into(),
            _ => error.into(),
        }
    }

    pub(crate) fn wal_level(level: String) -> Self {
        Kind::WalLevel(level).into()
    }

    pub(crate) fn wrong_session_attributes(is_read_only: bool) -> Self {
        Kind::SessionAttributes(if is_read_only { "read-only" } else { "writable" }).into()
    }

    pub(crate) fn too_many_keys() -> Self {
        Kind::TooManyKeys.into()
    }

    pub(crate) fn too_early() -> Self {
        Kind::TooEarly.into()
    }

    /// Whether reading again soon will do.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(&*self.0, Kind::Interrupted)
    }

    pub(crate) fn is_too_early(&self) -> bool {
        matches!(&*self.0, Kind::TooEarly)
    }

    pub(crate) fn no_such_collection(collection: &str) -> Self {
        Kind::NoSuchCollection(collection.to_owned()).into()
    }

    pub(crate) fn duplicate_collection(collection: &str) -> Self {
        Kind::DuplicateCollection(collection.to_owned()).into()
    }

    pub(crate) fn no_such_field(layout: &Layout, field: &str) -> Self {
        let (collection, field) = (layout.collection().to_string(), field.to_owned());
        let fields: Vec<&str> = layout.columns().iter().map(|column| &**column.field()).collect();
        let meant = did_you_mean(&field, fields.iter().copied());
        Kind::NoSuchField { collection, field, meant, fields: fields.join(", ") }.into()
    }

    pub(crate) fn composite_key(layout: &Layout) -> Self {
        let fields: Vec<&str> = layout.key_columns().map(|column| &**column.field()).collect();
        let (collection, fields) = (layout.collection().to_string(), fields.join(", "));
        Kind::CompositeKey { collection, fields }.into()
    }

    pub(crate) fn wrong_type(layout: &Layout, field: &str, value: &Value) -> Self {
        let (collection, field) = (layout.collection().to_string(), field.to_owned());
        Kind::WrongType { collection, field, value: value.clone() }.into()
    }

    /// The field does not support the query's test; `why` follows the field's name.
    pub(crate) fn unsuited(layout: &Layout, field: &str, why: &'static str) -> Self {
        let (collection, field) = (layout.collection().to_string(), field.to_owned());
        Kind::Unsuited { collection, field, why }.into()
    }

    /// The text for clients, which need not know of other fields.
    pub(crate) fn text_for_clients(&self) -> String {
        match &*self.0 {
            Kind::NoSuchField { collection, field, .. } => {
                format!("collection {collection:?} has no published field {field:?}")
            }
            _ => self.to_string(),
        }
    }

    /// PostgreSQL's error code, if the error is PostgreSQL's.
    ///
    /// ```
    /// use ddp_postgres::tokio_postgres::error::SqlState;
    ///
    /// fn is_taken(error: &ddp_postgres::Error) -> bool {
    ///     error.code() == Some(&SqlState::UNIQUE_VIOLATION)
    /// }
    /// # let _ = is_taken;
    /// ```
    #[must_use]
    pub fn code(&self) -> Option<&tokio_postgres::error::SqlState> {
        self.postgres().and_then(tokio_postgres::Error::code)
    }

    /// Whether the database is, or was for a moment, out of reach, so that trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &*self.0 {
            Kind::Closed
            | Kind::Silent
            | Kind::Interrupted
            | Kind::TooEarly
            | Kind::Connect { error: PoolError::Timeout(_), .. }
            | Kind::Pool(PoolError::Timeout(_)) => true,
            Kind::Replication(error) => error.is_transient(),
            _ => self.postgres().is_some_and(is_transient),
        }
    }

    /// Whether somebody held a lock for longer than the statement waits for it.
    pub(crate) fn is_of_lock(&self) -> bool {
        self.code() == Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether PostgreSQL refused no more than this request: values, what they would take, or waiting any
    /// longer. Statements that its connection has prepared are as good as before.
    pub(crate) fn leaves_connection(&self) -> bool {
        self.code().is_some_and(|code| {
            let code = code.code();
            matches!(code, "55P03" | "57014" | "P0001")
                || code.starts_with("22")
                || code.starts_with("54")
        })
    }

    /// Whether nothing that notifies can commit for now.
    pub(crate) fn is_of_full_queue(&self) -> bool {
        matches!(&*self.0, Kind::QueueFull(_))
    }

    /// Whether somebody has deallocated the statement that was prepared.
    pub(crate) fn is_of_lost_statement(&self) -> bool {
        self.code() == Some(&tokio_postgres::error::SqlState::INVALID_SQL_STATEMENT_NAME)
    }

    /// What a method's client is told, if it is of use to it.
    fn for_client(&self) -> Option<&'static ForClient> {
        let is_busy = match &*self.0 {
            Kind::Pool(PoolError::Timeout(_)) | Kind::QueueFull(_) => true,
            Kind::Pool(PoolError::Backend(error)) => is_late(error),
            _ => self.is_of_lock(),
        };
        if is_busy {
            return Some(&BUSY);
        }
        let is_timeout = self.code() == Some(&tokio_postgres::error::SqlState::QUERY_CANCELED);
        is_timeout.then_some(&*TIMEOUT)
    }

    /// Whether the same read may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_transient() || self.code().is_some_and(|code| codes::may_pass(code.code()))
    }

    /// What to do about a load that fails with it again and again.
    pub(crate) fn remedy_of_load(&self) -> Option<&'static str> {
        self.code().and_then(|code| codes::remedy_of_load(code.code()))
    }

    /// Whether the connection was lost, or none could be made.
    pub(crate) fn is_of_connection(&self) -> bool {
        let is_io = |error: &tokio_postgres::Error| {
            let source = std::error::Error::source(error);
            source.is_some_and(|source| source.is::<std::io::Error>())
        };
        self.postgres().is_some_and(|error| match error.code() {
            Some(code) => ["08", "57P", "25P03"].iter().any(|class| code.code().starts_with(class)),
            None => error.is_closed() || is_io(error),
        })
    }

    /// Whether a statement or a row did not fit the table (class 42 of PostgreSQL's codes, a schema that
    /// is gone, or a plan that has become invalid).
    pub(crate) fn is_of_schema(&self) -> bool {
        let is_of_schema = |code: &str| code.starts_with("42") || matches!(code, "3F000" | "0A000");
        matches!(&*self.0, Kind::Row(_))
            || self.code().is_some_and(|code| is_of_schema(code.code()))
    }

    /// The error as `tokio_postgres` tells it: its
    /// [`as_db_error`](tokio_postgres::Error::as_db_error) names the constraint, for example.
    #[must_use]
    pub fn postgres(&self) -> Option<&tokio_postgres::Error> {
        match &*self.0 {
            Kind::Postgres(error)
            | Kind::NotText { error, .. }
            | Kind::QueueFull(error)
            | Kind::Pool(PoolError::Backend(error))
            | Kind::Connect { error: PoolError::Backend(error), .. }
            | Kind::Schema(
                schema::Error::Database(error)
                | schema::Error::MayNotCreate { error, .. }
                | schema::Error::MayNotInstall { error, .. }
                | schema::Error::MayNotStop { error, .. }
                | schema::Error::MayNotUninstall { error, .. }
                | schema::Error::Refused { error, .. },
            ) => Some(error),
            #[cfg(feature = "accounts")]
            Kind::Accounts(error) => error.postgres(),
            _ => None,
        }
    }
}

/// Whether no connection could be made in time.
fn is_late(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &std::io::Error| cause.kind() == std::io::ErrorKind::TimedOut)
}

/// Whether an error comes from elsewhere than the statement.
fn is_transient(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => codes::is_transient(code.code()),
        // A value that is not text in UTF-8, or not of the type that was asked for, stays so.
        None if std::error::Error::source(error)
            .is_some_and(|cause| cause.is::<Utf8Error>() || cause.is::<WrongType>()) =>
        {
            false
        }
        // The server did not answer at all: the socket failed, or was never there.
        None => true,
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let server = error.as_db_error();
        let is_limit =
            error.code() == Some(&tokio_postgres::error::SqlState::PROGRAM_LIMIT_EXCEEDED);
        // PostgreSQL's text in any language: the command is not translated.
        if is_limit && server.is_some_and(|server| server.message().contains("NOTIFY")) {
            return Kind::QueueFull(error).into();
        }
        Kind::Postgres(error).into()
    }
}

/// Implements the conversions of errors that are a kind of their own.
macro_rules! from {
    ($($kind:ident: $error:ty),*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Kind::$kind(error).into()
            }
        }
    )*};
}

#[cfg(feature = "accounts")]
from!(Accounts: crate::accounts::AccountsError);
from!(Pool: PoolError, Schema: schema::Error, Row: RowError);

impl fmt::Debug for Error {
    /// The same text, since a program whose `main` fails prints this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_causes(&*self.0))
    }
}

/// The text includes the causes, and whoever tells them too would repeat it. The only source is what
/// a method's client may know.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.for_client().map(|error| error as _)
    }
}

/// All connections are in use, somebody holds a lock, or the queue of notifications is full.
static BUSY: LazyLock<ForClient> =
    LazyLock::new(|| ForClient::new("database-busy", "The database is busy. Please try again."));

/// A statement took too long.
static TIMEOUT: LazyLock<ForClient> = LazyLock::new(|| {
    ForClient::new("database-timeout", "The database took too long. Please try again.")
});

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn config(text: &str) -> Result<tokio_postgres::Config, tokio_postgres::Error> {
        text.parse()
    }

    #[test]
    fn nothing_is_told_twice() {
        let unknown = || config("postgres://localhost/app?sslrootcert=a.pem").unwrap_err();
        let text = "invalid connection string: unknown option `sslrootcert`";
        let url = Error::url(unknown());
        assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (text, text));
        let pool = Error::from(PoolError::Backend(unknown()));
        assert_eq!(pool.to_string(), format!("no connection: {text}"));
        // Whoever tells the causes of an error, as the log of a handler's errors does.
        assert!(url.source().is_none() && pool.source().is_none());
    }
}
