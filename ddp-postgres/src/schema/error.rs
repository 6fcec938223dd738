//! Why a table cannot be published.

use crate::causes::of_database;
use crate::feed::Feed;

/// Why a table could not be described, or its triggers not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database did not answer, or reported an error.
    #[error("database: {}", of_database(.0))]
    Database(#[from] tokio_postgres::Error),
    /// The schema `ddp` or the publication is not there, and the role may not create it.
    #[error(
        "cannot create the {what} ddp: {}: GRANT CREATE ON DATABASE {database} TO {role}, or have \
         another role run the SQL of DbBuilder::install_sql and connect with .without_install()",
        of_database(error)
    )]
    MayNotCreate {
        /// A schema or a publication.
        what: &'static str,
        /// The database's quoted name.
        database: String,
        /// The role's quoted name.
        role: String,
        /// What the database said.
        error: tokio_postgres::Error,
    },
    /// The role may not install the triggers.
    #[error(
        "cannot install the triggers of table {relation}: {}: {}have another role run the SQL of \
         DbBuilder::install_sql and connect with .without_install()",
        of_database(error),
        grants(error, relation, role)
    )]
    MayNotInstall {
        /// The table's quoted name.
        relation: String,
        /// The role's quoted name.
        role: String,
        /// What the database said.
        error: tokio_postgres::Error,
    },
    /// The role may not call what its server needs.
    #[error(
        "role {role} may not execute some functions that this server calls: GRANT EXECUTE ON FUNCTION {functions} \
         TO {role}"
    )]
    MayNotExecute {
        /// The role's quoted name.
        role: String,
        /// The functions with their arguments.
        functions: String,
    },
    /// The role may not read the table, or some of the published columns.
    #[error("role {role} may not read table {relation} as it is published: {grants}")]
    MayNotRead {
        /// The table's quoted name.
        relation: String,
        /// The role's quoted name.
        role: String,
        /// The commands that mend it.
        grants: String,
    },
    /// The role may not drop the triggers of a table that cannot be published any more.
    #[error(
        "the triggers 0_ddp_… of table {relation} could not be dropped, so its statements may fail: {}: have \
         the owner of the table drop them, or DROP SCHEMA ddp CASCADE",
        of_database(error)
    )]
    MayNotStop {
        /// The table's quoted name.
        relation: String,
        /// What the database said.
        error: tokio_postgres::Error,
    },
    /// The role may not remove what another one installed.
    #[error(
        "what is installed for table {relation} could not be removed: {}: let the role {owner} do it, or a superuser",
        of_database(error)
    )]
    MayNotUninstall {
        /// The table's quoted name.
        relation: String,
        /// The role that owns the functions.
        owner: String,
        /// What the database said.
        error: tokio_postgres::Error,
    },
    /// There is no such table.
    #[error("there is no table {relation}: {remedy}")]
    NoTable {
        /// The table's quoted name.
        relation: String,
        /// What to do.
        remedy: String,
    },
    /// Something else than a privilege forbids the installation, such as an event trigger.
    #[error(
        "cannot install the triggers of table {relation}: {statement}: {}: {}",
        of_database(error),
        refusal_remedy(error)
    )]
    Refused {
        /// The table's quoted name.
        relation: String,
        /// The beginning of what was refused.
        statement: String,
        /// What the database said.
        error: tokio_postgres::Error,
    },
    /// Rows come by logical replication, for which PostgreSQL fires no statement triggers.
    #[error(
        "the subscription {subscription:?} applies rows to {member}, for which PostgreSQL fires none of the triggers \
         of table {relation}: publish the table from the database that it is replicated from, or take it out of \
         the subscription"
    )]
    Subscribed {
        /// The table's quoted name.
        relation: String,
        /// The table, or its partition or child, that the subscription writes to.
        member: String,
        /// The subscription's name, or its number if this role may not see that.
        subscription: String,
    },
    /// It is a view or something else that cannot have triggers with transition tables.
    #[error(
        "{relation} is not a table, so its changes cannot be seen: publish ordinary tables instead"
    )]
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
    /// The table does not say which of its columns are published.
    #[error(
        "table {relation} does not say which columns to publish: name those that clients may see, \
         .columns({columns}){left_out}, or publish all of them, now and later, by .all_columns()"
    )]
    NoChoice {
        /// The table's quoted name.
        relation: String,
        /// Its columns besides the key, as an array in Rust.
        columns: String,
        /// A remark about others, or nothing.
        left_out: String,
    },
    /// There is no column of this name.
    #[error(
        "table {relation} has no column {column:?}{meant}: columns are named as in the database"
    )]
    NoColumn {
        /// The table's quoted name.
        relation: String,
        /// The missing column.
        column: String,
        /// What may have been meant, or nothing.
        meant: String,
    },
    /// It is a temporary table, visible only to its own session.
    #[error("{relation} is a temporary table, visible only to its own session")]
    Temporary {
        /// The table's quoted name.
        relation: String,
    },
    /// A partition or child is a foreign table, whose changes go unnoticed.
    #[error("{member}, a part of table {relation}, is a foreign table: its changes cannot be seen")]
    ForeignPart {
        /// The table's quoted name.
        relation: String,
        /// The partition's or child's quoted name.
        member: String,
    },
    /// The current role may see only some of the rows.
    #[error(
        "row-level security hides rows of table {relation} from this server's role, but broadcasts \
         carry all rows: exempt the role from the table's policies, or broadcast only keys with \
         .keys_only() and the notify feed"
    )]
    RowSecurity {
        /// The table's quoted name.
        relation: String,
    },
    /// There is no primary key, and `Table::key` names none.
    #[error("table {relation} has no primary key; name unique columns with .key(…)")]
    NoKey {
        /// The table's quoted name.
        relation: String,
    },
    /// The key may be null, or may not be unique.
    #[error(
        "table {relation} cannot have the key {key}: its columns must be NOT NULL, must not be arrays \
         or JSON, and need a unique index of their own"
    )]
    UnsuitableKey {
        /// The table's quoted name.
        relation: String,
        /// The columns.
        key: String,
    },
    /// A column's values contain names of objects, which are written as the session's `search_path`
    /// finds them.
    #[error(
        "column {column:?} of {relation} contains names whose text depends on each session's search_path: \
         leave it out with .columns(…)"
    )]
    Names {
        /// The table's quoted name.
        relation: String,
        /// The column.
        column: String,
    },
    /// A published column is a virtual generated column.
    #[error(
        "column {column:?} of table {relation} is a virtual generated column, which triggers do not \
         see: leave it out with .columns(…), or make it STORED"
    )]
    VirtualColumn {
        /// The table's quoted name.
        relation: String,
        /// The column.
        column: String,
    },
    /// A newer version of this library installed triggers whose messages this one cannot read.
    #[error(
        "a newer version of this library (format {format}) installed the triggers of table {relation}: \
         upgrade this server"
    )]
    NewerFormat {
        /// The table's quoted name.
        relation: String,
        /// The format of the newer version's messages.
        format: u32,
    },
    /// Triggers are missing, disabled or wrong.
    #[error(
        "table {relation} lacks the right triggers: have a role that may install them run the SQL of \
         DbBuilder::install_sql"
    )]
    NotInstalled {
        /// The table's quoted name.
        relation: String,
    },
    /// A column marked as EJSON does not hold JSON.
    #[error("column {column:?} of table {relation} is marked as EJSON, but is not json or jsonb")]
    NotJson {
        /// The table's quoted name.
        relation: String,
        /// The column.
        column: String,
    },
    /// A column of ids as strings holds something else than integers.
    #[error(
        "column {column:?} of table {relation} is named in .string_id_columns(…), but holds no integers: what it \
         holds is a string already, or no id"
    )]
    NotInteger {
        /// The table's quoted name.
        relation: String,
        /// The column.
        column: String,
    },
    /// Two columns would become the same field. The key becomes `_id`.
    #[error("two columns of table {relation} become the field {field:?}; .rename(…) one of them")]
    DuplicateField {
        /// The table's quoted name.
        relation: String,
        /// The field.
        field: String,
    },
    /// Meteor's collections do not allow this field name.
    #[error("a field cannot be named {field:?}; .rename(…) the column of table {relation}")]
    FieldName {
        /// The table's quoted name.
        relation: String,
        /// The field.
        field: String,
    },
    /// The table's triggers use another feed than this server.
    #[error(
        "the triggers of table {relation} send through the {} feed, but this server listens to \
         the {} feed: configure the same feed, or reinstall the triggers",
        installed.name(),
        configured.name()
    )]
    OtherFeed {
        /// The table's quoted name.
        relation: String,
        /// The feed that the triggers use.
        installed: Feed,
        /// The feed that this server is configured for.
        configured: Feed,
    },
    /// A server that runs has installed something again.
    #[error(
        "what was uninstalled has been installed again by a server that runs: stop it first, or have it connect with \
         .without_install()"
    )]
    Reinstalled,
    /// Long transactions have the table locked.
    #[error(
        "table {relation} is locked by other transactions, so its triggers cannot be installed: try \
         again when they have ended"
    )]
    Busy {
        /// The table's quoted name.
        relation: String,
    },
    /// Another session has had its turn to install for too long.
    #[error(
        "no triggers can be installed, as another session is about to install, and was not done in {wait:?}: \
         {holder}: wait for it, or end it by SELECT pg_terminate_backend(…) with its number"
    )]
    Installing {
        /// Its process, application and state.
        holder: String,
        /// How long it was waited for.
        wait: std::time::Duration,
    },
    /// What the triggers were made for is not what is there.
    #[error(
        "table {relation} was altered while its triggers were looked at or installed: try again"
    )]
    Changed {
        /// The table's quoted name.
        relation: String,
    },
}

impl Error {
    /// Whether it is of the table itself, so that no server can publish it.
    pub(crate) fn is_of_table(&self) -> bool {
        matches!(
            self,
            Self::ForeignPart { .. }
                | Self::Partition { .. }
                | Self::NotATable { .. }
                | Self::Subscribed { .. }
        )
    }

    /// Whether the connection is gone, as when PostgreSQL ends one that was idle with locks (25P03).
    pub(crate) fn is_of_connection(&self) -> bool {
        let is_so =
            |code: &str| code.starts_with("08") || code.starts_with("57P") || code == "25P03";
        match self {
            Self::Database(error) => error.code().is_none_or(|code| is_so(code.code())),
            _ => false,
        }
    }

    /// Whether it comes from other transactions or from a lack of resources, which pass: classes 40,
    /// 53, 55 and 57 of PostgreSQL's codes.
    pub(crate) fn is_passing(&self) -> bool {
        let is_passing = |code: &str| ["40", "53", "55", "57"].iter().any(|c| code.starts_with(c));
        match self {
            Self::Busy { .. } | Self::Installing { .. } | Self::Changed { .. } => true,
            Self::Database(error) => error.code().is_some_and(|code| is_passing(code.code())),
            _ => false,
        }
    }
}

/// What to do about an installation that is refused for another reason than a privilege.
fn refusal_remedy(error: &tokio_postgres::Error) -> &'static str {
    let read_only = tokio_postgres::error::SqlState::READ_ONLY_SQL_TRANSACTION;
    if error.code() == Some(&read_only) {
        "default_transaction_read_only is set for this role, this database or in the connection string: let another role \
         run the SQL of DbBuilder::install_sql and connect with .without_install(), or set it off"
    } else {
        "lift what forbids it, or let another role run the SQL of DbBuilder::install_sql and connect \
         with .without_install()"
    }
}

/// What to grant, if that helps: what another role owns only that role may replace.
fn grants(error: &tokio_postgres::Error, relation: &str, role: &str) -> String {
    let text = of_database(error);
    if text.contains("must be owner") {
        return String::new();
    }
    if text.contains("pg_notify") {
        return format!("GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO {role}, or ");
    }
    format!(
        "GRANT TRIGGER ON {relation} TO {role} (and on each of its partitions and children) and GRANT \
         CREATE, USAGE ON SCHEMA ddp TO {role}, or "
    )
}
