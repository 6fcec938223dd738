//! Users as rows.

use std::time::{SystemTime, UNIX_EPOCH};

use ddp_server::accounts::{Email, User};
use ddp_server::ejson::{self, Date, Ejson, Object};
use tokio_postgres::Row;

/// What is selected of `accounts.users u`, in the order of [`user`].
///
/// Operators are named by their schema where `pg_catalog` has none of exactly these types: else one in any
/// other schema of the `search_path` would be taken.
pub(super) const COLUMNS: &str =
    "u.id, pg_catalog.floor(extract(epoch FROM u.created_at) OPERATOR(pg_catalog.*) 1000)::int8, u.username,
    u.profile::text, u.emails::text, u.is_active";

/// How many columns these are.
pub(super) const COLUMNS_COUNT: usize = 6;

/// A point in time in milliseconds.
pub(super) fn millis_sql(column: &str) -> String {
    format!("pg_catalog.floor(extract(epoch FROM {column}) OPERATOR(pg_catalog.*) 1000)::int8")
}

/// The user in a row that begins with [`COLUMNS`].
pub(super) fn user(row: &Row) -> Result<User, ddp_server::Error> {
    let mut user = User::new(row.try_get::<_, String>(0)?);
    user.created_at = row.try_get::<_, Option<i64>>(1)?.map(Date::from_millis);
    user.username = row.try_get(2)?;
    user.profile = row.try_get::<_, Option<&str>>(3)?.map(object).transpose()?;
    let emails: Option<&str> = row.try_get(4)?;
    user.emails = emails.map_or(Ok(Vec::new()), serde_json::from_str::<Vec<Email>>)?;
    user.is_active = row.try_get(5)?;
    Ok(user)
}

/// An object of EJSON, which no text but that of an object is.
pub(super) fn object(text: &str) -> Result<Object, ddp_server::Error> {
    match ejson::parse(text)? {
        Ejson::Object(object) => Ok(object),
        _ => Err(ddp_server::Error::internal("a record of accounts is not an object")),
    }
}

/// The text of an object.
pub(super) fn object_text(object: &Object) -> String {
    Ejson::Object(object.clone()).to_text()
}

/// A date for a column; what is no date is the beginning of time.
pub(super) fn time(date: Date) -> SystemTime {
    date.to_system_time().unwrap_or(UNIX_EPOCH)
}
