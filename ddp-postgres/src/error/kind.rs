//! What can go wrong, in words.

use ddp_server::query::Value;
use deadpool_postgres::{PoolError, TimeoutType};

#[cfg(feature = "accounts")]
use crate::accounts::AccountsError;
use crate::causes::{of_database, with_causes};
use crate::row::RowError;
use crate::schema;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Kind {
    #[error("{}", of_database(.0))]
    Url(#[source] tokio_postgres::Error),
    #[error("invalid connection string: {0}")]
    ConnectionString(String),
    #[error("{}", of_database(.0))]
    Postgres(#[source] tokio_postgres::Error),
    #[error(
        "{}: nothing that notifies can commit until the session ends that listens and stays in a transaction, \
         which the log names if this role may see it",
        of_database(.0)
    )]
    QueueFull(#[source] tokio_postgres::Error),
    #[error("cannot connect to {to}: {}{}", describe_pool(error), hint(error))]
    Connect {
        to: String,
        #[source]
        error: PoolError,
    },
    #[error("PostgreSQL {0} is too old: 14 or later is needed")]
    TooOld(String),
    #[error(
        "{0} is a read-only standby, which can neither notify nor be listened to: connect to the primary; with \
         several hosts in the URL, target_session_attrs=read-write finds it"
    )]
    Standby(String),
    #[error(
        "{0} is a pooler in transaction mode, in which settings and prepared statements get lost: use its session \
         mode, or a direct connection"
    )]
    Pooler(String),
    #[error(
        "notifications do not arrive from {0}: is it a pooler in transaction mode? LISTEN needs session mode, or a \
         direct connection for the feed: DbBuilder::feed_url"
    )]
    Unheard(String),
    #[error("no connection: {}", describe_pool(.0))]
    Pool(#[source] PoolError),
    #[error("connection pool: {0}")]
    Build(#[source] deadpool_postgres::BuildError),
    #[cfg(feature = "tls")]
    #[error("TLS: {0}")]
    Tls(#[source] rustls::Error),
    #[cfg(not(feature = "tls"))]
    #[error(
        "the connection string's sslmode demands TLS, but this program was built without it: enable the feature \
         \"tls\" of ddp-postgres, or remove sslmode"
    )]
    NoTls,
    #[error(
        "{}: table {relation}, or the query, contains text that cannot be both in UTF-8 and in the database's \
         encoding: put it right, or leave its column out by .columns(…)",
        of_database(error)
    )]
    NotText { relation: String, error: tokio_postgres::Error },
    #[error(transparent)]
    Schema(schema::Error),
    #[cfg(feature = "accounts")]
    #[error(transparent)]
    Accounts(AccountsError),
    #[error(transparent)]
    Row(RowError),
    #[error("the connection is closed")]
    Closed,
    #[error("the database does not answer")]
    Silent,
    #[error("replication connection: {0}")]
    Replication(#[source] pgwire_replication::PgWireError),
    #[error("replication connection: {message} ({code})")]
    ReplicationRefused { message: String, code: String },
    #[error(
        "the wal feed needs the setting wal_level = logical, but the server has {0}: change it and \
         restart PostgreSQL, or use the notify feed"
    )]
    WalLevel(String),
    #[error(
        "the wal feed needs a role that may replicate: ALTER ROLE … REPLICATION, or use the notify \
         feed: {0}"
    )]
    MayNotReplicate(String),
    #[error(
        "the wal feed needs a free replication slot and WAL sender: raise max_replication_slots and \
         max_wal_senders, or use the notify feed: {0}"
    )]
    NoSlot(String),
    #[error(
        "the host is {0}, which target_session_attrs rules out: add the other hosts to the URL, or \
         change target_session_attrs"
    )]
    SessionAttributes(&'static str),
    #[error("too many keys for one SELECT")]
    TooManyKeys,
    #[error("committed changes are not visible yet")]
    TooEarly,
    #[error("a bug in this library made a task panic")]
    Panicked,
    #[error("the change feed was interrupted")]
    Interrupted,
    #[error("unexpected answer: {0}")]
    Malformed(String),
    #[error("no table is registered for collection {0:?}: add it with DbBuilder::table")]
    NoSuchCollection(String),
    #[error(
        "two tables are registered for collection {0:?}: give one another name with .collection(…)"
    )]
    DuplicateCollection(String),
    #[error("collection {collection:?} has no published field {field:?}{meant}; it has {fields}")]
    NoSuchField { collection: String, field: String, meant: String, fields: String },
    #[error(
        "the _id of collection {collection:?} is made up of the fields {fields}: filter on them instead"
    )]
    CompositeKey { collection: String, fields: String },
    #[error("field {field:?} of collection {collection:?} does not compare with {value:?}")]
    WrongType { collection: String, field: String, value: Value },
    #[error("field {field:?} of collection {collection:?} {why}")]
    Unsuited { collection: String, field: String, why: &'static str },
}

fn describe_pool(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => of_database(error),
        PoolError::Timeout(TimeoutType::Wait) => {
            "all were in use for too long: keep transactions short, or raise \
             DbBuilder::connections_max"
                .to_owned()
        }
        error => error.to_string(),
    }
}

/// What to do about a connection that cannot be made, as far as that is known.
fn hint(error: &PoolError) -> &'static str {
    let PoolError::Backend(error) = error else { return "" };
    if with_causes(error).contains("certificate") {
        ": name its authority by sslrootcert=FILE in the URL, or verify less with another sslmode"
    } else {
        ""
    }
}
