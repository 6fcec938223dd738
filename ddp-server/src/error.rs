//! Errors of handlers: what the client may see, and what only the log may.

use std::fmt;

use ddp_core::DdpError;
use ddp_core::ejson::{self, Ejson};
use ddp_core::error::ErrorCode;
use serde::Serialize;

/// The error of a method or a publication.
///
/// Made with [`client`](Self::client) it reaches the client as it is, like a `Meteor.Error`. Made
/// from any other error, as `?` does, it is logged in full and the client gets
/// `Internal server error [500]`.
pub struct Error(Kind);

enum Kind {
    Client(DdpError),
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error for the client: a code for programs, a reason for people.
    pub fn client(error: impl Into<ErrorCode>, reason: impl Into<String>) -> Self {
        Self(Kind::Client(DdpError::new(error, reason)))
    }

    /// Adds `details` to an error for the client; others are left alone. As with Meteor they travel as
    /// plain JSON, see [`Ejson::into_json_text`]: a date arrives as its ISO text.
    #[must_use]
    pub fn details(mut self, details: &impl Serialize) -> Self {
        if let Kind::Client(error) = &mut self.0 {
            error.details = ejson::to_value(details).ok().map(Ejson::into_json_text);
        }
        self
    }

    /// An error that only the log shows.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Kind::Internal(error.into()))
    }

    /// What the client gets. Anything else is logged, with `context` saying what was going on.
    pub(crate) fn into_ddp(self, context: &str) -> DdpError {
        match self.0 {
            Kind::Client(error) => error,
            Kind::Internal(error) => {
                tracing::error!("exception {context}: {}", chain(&*error));
                DdpError::internal()
            }
        }
    }
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    /// A [`DdpError`] is for the client, every other error is internal.
    fn from(error: E) -> Self {
        let error: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        Self(match error.downcast::<DdpError>() {
            Ok(error) => Kind::Client(*error),
            Err(error) => Kind::Internal(error),
        })
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Client(error) => error.fmt(f),
            Kind::Internal(error) => write!(f, "{error:?}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Client(error) => error.fmt(f),
            Kind::Internal(error) => f.write_str(&chain(&**error)),
        }
    }
}
