//! Errors in full: their own words and those of their causes.

use std::error::Error;

use deadpool_postgres::PoolError;

/// An error and its causes in one line. Most errors repeat their cause in their own text.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let database = database_error(cause);
        let cause_text = database.map_or_else(|| cause.to_string(), of_database);
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        // What the server said has no cause but what it was said by.
        source = if database.is_some() { None } else { cause.source() };
    }
    text
}

/// The error of `tokio_postgres` that this is, or that the pool has wrapped.
fn database_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a tokio_postgres::Error> {
    match error.downcast_ref() {
        Some(PoolError::Backend(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// The server's own words, which `tokio_postgres` leaves to the cause.
pub(crate) fn of_database(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => format!("{} ({})", server.message(), server.code().code()),
        None => with_causes(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Nested {
        #[error("outer")]
        Silent(#[source] Box<Self>),
        #[error("outer: {0}")]
        Telling(#[source] Box<Self>),
        #[error("inner")]
        Inner,
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = || Box::new(Nested::Inner);
        assert_eq!(with_causes(&Nested::Silent(inner())), "outer: inner");
        assert_eq!(with_causes(&Nested::Telling(inner())), "outer: inner");
        let deep = Nested::Silent(Box::new(Nested::Silent(inner())));
        assert_eq!(with_causes(&deep), "outer: inner");
    }
}
