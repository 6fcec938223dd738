//! Why a table cannot be published.

use crate::feed::Feed;

/// Why a table could not be described, or its triggers not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database does not answer, or refuses.
    #[error("database: {}", message(.0))]
    Database(#[from] tokio_postgres::Error),
    /// There is no such table.
    #[error("there is no table {relation}")]
    NoTable {
        /// The table's quoted name.
        relation: String,
    },
    /// It is a view or something else that has no triggers with transition tables.
    #[error("{relation} is no table, so its changes cannot be seen")]
    NotATable {
        /// The relation's quoted name.
        relation: String,
    },
    /// It is a partition of another table.
    #[error("{relation} is a partition; publish the whole table")]
    Partition {
        /// The partition's quoted name.
        relation: String,
    },
    /// A column that was named does not exist.
    #[error("table {relation} has no column {column:?}")]
    NoColumn {
        /// The table's quoted name.
        relation: String,
        /// The missing column.
        column: String,
    },
    /// There is no primary key of one column, and no key was named.
    #[error("table {relation} has no primary key of a single column; name a unique one by .key(…)")]
    NoKey {
        /// The table's quoted name.
        relation: String,
    },
    /// The key may be null, or two rows may share one.
    #[error(
        "column {column:?} of table {relation} cannot be the key: it must be NOT NULL and have a \
         unique index of its own"
    )]
    UnsuitableKey {
        /// The table's quoted name.
        relation: String,
        /// The column.
        column: String,
    },
    /// A column was marked as EJSON that holds no JSON.
    #[error("column {column:?} of table {relation} is marked as EJSON, but is not json or jsonb")]
    NotJson {
        /// The table's quoted name.
        relation: String,
        /// The column.
        column: String,
    },
    /// Two columns become the same field. The key becomes `_id`.
    #[error("two columns of table {relation} become the field {field:?}; .rename(…) one of them")]
    DuplicateField {
        /// The table's quoted name.
        relation: String,
        /// The field.
        field: String,
    },
    /// Meteor's collections allow no such field name.
    #[error("a field cannot be named {field:?}; .rename(…) the column of table {relation}")]
    FieldName {
        /// The table's quoted name.
        relation: String,
        /// The field.
        field: String,
    },
    /// Nobody has installed the table's triggers.
    #[error("table {relation} has no triggers; install them by a role that may")]
    NotInstalled {
        /// The table's quoted name.
        relation: String,
    },
    /// The table's triggers send by another feed than this server hears.
    #[error(
        "the triggers of table {relation} send by the {} feed, and this server is to hear the {} \
         feed: choose the same, or install the triggers anew",
        installed.name(),
        configured.name()
    )]
    OtherFeed {
        /// The table's quoted name.
        relation: String,
        /// The feed that the triggers send by.
        installed: Feed,
        /// The feed that was asked for.
        configured: Feed,
    },
    /// Long transactions kept the table locked.
    #[error(
        "table {relation} is locked by other transactions, so its triggers cannot be installed"
    )]
    Busy {
        /// The table's quoted name.
        relation: String,
    },
}

/// The server's own words, which `tokio_postgres` leaves to the source.
fn message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => format!("{} ({})", server.message(), server.code().code()),
        None => error.to_string(),
    }
}
