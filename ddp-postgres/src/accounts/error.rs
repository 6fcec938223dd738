//! Why the tables of accounts cannot be used.

use crate::causes::of_database;

/// What keeps accounts from being installed or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountsError {
    #[error(
        "{0:?} cannot be the schema of accounts: name one by AccountsTables::schema with at most 63 ASCII letters, \
         digits and underscores"
    )]
    Name(String),
    #[error(
        "cannot install the accounts in schema {schema}: {statement}: {}: {grant}, or have another role run the SQL of \
         AccountsTables::install_sql",
        of_database(error)
    )]
    MayNotInstall { schema: String, statement: String, grant: String, error: tokio_postgres::Error },
    #[error(
        "cannot install the accounts in schema {schema}: {statement}: {}: if the schema is somebody else's, name \
         another one by AccountsTables::schema",
        of_database(error)
    )]
    Refused { schema: String, statement: String, error: tokio_postgres::Error },
    #[error(
        "the accounts in schema {schema} are of version {version}, and this server knows up to {known}: upgrade it"
    )]
    Newer { schema: String, version: i32, known: i32 },
    #[error(
        "the accounts in schema {schema} are {}: have a role that may install them run the SQL of \
         AccountsTables::install_sql",
        .version.map_or_else(|| "not installed".to_owned(), |version| format!("of version {version}, which is too old"))
    )]
    NotInstalled { schema: String, version: Option<i32> },
    #[error(
        "the accounts in schema {schema} {}: name another schema by AccountsTables::schema",
        if *is_mapped { "follow a table of users that AccountsTables::existing names" } else { "have users of their own" }
    )]
    OtherKind { schema: String, is_mapped: bool },
    #[error(
        "the accounts in schema {schema} do not follow the table {table} as it is named: have a role that may \
         install them connect, or run the SQL of AccountsTables::install_sql"
    )]
    NotFollowing { schema: String, table: String },
    #[error(
        "the accounts in schema {schema} cannot follow the table {table}: {}: see that it and the columns that \
         UsersTable names are there, and that this role has SELECT, UPDATE and TRIGGER on it",
        of_database(error)
    )]
    MayNotFollow { schema: String, table: String, error: tokio_postgres::Error },
    #[error("role {role} may not use the accounts in schema {schema}: {grants}")]
    MayNotUse { schema: String, role: String, grants: String },
}

impl AccountsError {
    /// What the database said.
    pub(crate) fn postgres(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::MayNotInstall { error, .. }
            | Self::Refused { error, .. }
            | Self::MayNotFollow { error, .. } => Some(error),
            _ => None,
        }
    }
}
