//! What the database refuses, as the store's callers want to know it.

use ddp_server::accounts::{Conflict, WriteError};
use tokio_postgres::error::SqlState;

use crate::error::Error;

/// What a write that cannot conflict gives.
pub(super) fn without_conflict<T>(written: Result<T, WriteError>) -> Result<T, ddp_server::Error> {
    written.map_err(|error| match error {
        WriteError::Failed(error) => error,
        WriteError::Conflict(_) => ddp_server::Error::internal("an unexpected conflict"),
    })
}

/// Why a write was refused, which may have been one to another program's table.
pub(super) fn refusal(error: Error, is_mapped: bool) -> WriteError {
    if is_of_input(&error) {
        return WriteError::Failed(ddp_server::Error::client(400, "Match failed"));
    }
    match conflict(&error, is_mapped) {
        Some(conflict) => WriteError::Conflict(conflict),
        None => WriteError::Failed(error.into()),
    }
}

/// What of another user's the database has found, by the name of the unique index.
fn conflict(error: &Error, is_mapped: bool) -> Option<Conflict> {
    let error = error.postgres()?;
    if error.code() != Some(&SqlState::UNIQUE_VIOLATION) {
        return None;
    }
    match error.as_db_error()?.constraint()? {
        "users_username_key" => Some(Conflict::Username),
        "emails_address_key" => Some(Conflict::Email),
        "services_service_id_key" => Some(Conflict::Service),
        // Another program's own: names and addresses are all that is written there.
        other if is_mapped && other.contains("email") => Some(Conflict::Email),
        _ if is_mapped => Some(Conflict::Username),
        _ => None,
    }
}

/// Whether a value is one that no row can have: a text with NUL or with letters that the database's encoding
/// does not have, an empty one, one that is too long for an index or a column, or a date out of range.
pub(super) fn is_of_input(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        matches!(code.code(), "22001" | "22021" | "22P05" | "22008" | "23514" | "54000")
    })
}
