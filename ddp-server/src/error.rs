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
///
/// ```
/// use ddp_server::{Error, ErrorCode};
///
/// let refused = Error::client("empty-text", "a task needs text");
/// assert!(refused.is_client());
/// assert_eq!(refused.code(), Some(&ErrorCode::from("empty-text")));
/// assert_eq!(refused.to_string(), "a task needs text [empty-text]");
///
/// let failed = Error::from("x".parse::<u8>().unwrap_err());
/// assert!(!failed.is_client());
/// assert_eq!(failed.code(), None);
/// ```
///
/// A method that calls another one can handle the errors it knows and pass on the rest:
///
/// ```
/// use ddp_server::extract::{Invocation, Params};
/// use ddp_server::{Error, ErrorCode, Server};
///
/// async fn find_or_add(invocation: Invocation, Params((name,)): Params<(String,)>) -> Result<u32, Error> {
///     match invocation.call("lists.find", (&name,)).await {
///         Err(error) if error.is_client() => match error.code().and_then(ErrorCode::as_text) {
///             Some("not-found") => invocation.call("lists.add", (&name,)).await,
///             _ => Err(error),
///         },
///         found => found,
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let server = Server::builder()
///     .method("lists.find", async || Err::<u32, _>(Error::client("not-found", "There is no such list")))
///     .method("lists.add", async || Ok::<_, Error>(7))
///     .method("lists.findOrAdd", find_or_add)
///     .build();
/// assert_eq!(server.call::<u32>("lists.findOrAdd", ("home",)).await?, 7);
///
/// // So can a program that calls a method by itself.
/// let error = server.call::<u32>("lists.find", ("home",)).await.unwrap_err();
/// assert_eq!(error.reason(), Some("There is no such list"));
/// # Ok(())
/// # }
/// ```
///
/// `Debug` shows the same as `Display`, the text with all its causes, so that a `main` that returns
/// an error prints what went wrong.
pub struct Error(Kind);

enum Kind {
    Client(DdpError),
    Internal(Box<dyn std::error::Error + Send + Sync>),
    /// Logged, and this much of it is for the client.
    Told(DdpError, Box<dyn std::error::Error + Send + Sync>),
}

/// As the [source](std::error::Error::source) of an error: what the client gets, when the error
/// itself is only for the log.
///
/// ```
/// use ddp_server::{Error, ForClient};
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("no printer at 10.0.0.7")]
/// struct CannotPrint(#[source] ForClient);
///
/// let error = Error::from(CannotPrint(ForClient::new("printer-busy", "The printer is busy")));
/// assert_eq!(error.reason(), Some("The printer is busy"));
/// assert_eq!(error.to_string(), "no printer at 10.0.0.7");
/// ```
#[derive(Clone)]
pub struct ForClient(DdpError);

impl ForClient {
    /// A code for programs, a reason for people.
    pub fn new(error: impl Into<ErrorCode>, reason: impl Into<String>) -> Self {
        Self(DdpError::new(error, reason))
    }
}

impl fmt::Debug for ForClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ForClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ForClient {}

impl Error {
    /// An error for the client: a code for programs, a reason for people.
    pub fn client(error: impl Into<ErrorCode>, reason: impl Into<String>) -> Self {
        Self(Kind::Client(DdpError::new(error, reason)))
    }

    /// Adds `details` to an error for the client; other errors stay unchanged. As in Meteor, details
    /// travel as plain JSON, see [`Ejson::into_json_text`]: a date arrives as its ISO text.
    ///
    /// ```
    /// use ddp_server::Error;
    ///
    /// let error = Error::client("too-long", "a task has 80 letters").with_details(&[80, 97]);
    /// assert_eq!(error.details(), Some("[80,97]"));
    /// ```
    #[must_use]
    pub fn with_details(mut self, details: &impl Serialize) -> Self {
        if let Kind::Client(error) = &mut self.0 {
            error.details = ejson::to_value(details).ok().map(Ejson::into_json_text);
        }
        self
    }

    /// An error that only the log shows.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Kind::Internal(error.into()))
    }

    /// Whether the client gets this error. For any other error it gets only `Internal server error
    /// [500]`.
    #[must_use]
    pub const fn is_client(&self) -> bool {
        matches!(self.0, Kind::Client(_) | Kind::Told(..))
    }

    /// The code of an error for the client, Meteor's `error.error`: a text that the application
    /// chose, or one of DDP's own numbers such as 404. `None` for any other error.
    #[must_use]
    pub const fn code(&self) -> Option<&ErrorCode> {
        match &self.0 {
            Kind::Client(error) | Kind::Told(error, _) => Some(&error.error),
            Kind::Internal(_) => None,
        }
    }

    /// The reason of an error for the client, Meteor's `error.reason`, if it has one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.0 {
            Kind::Client(error) | Kind::Told(error, _) => error.reason.as_deref(),
            Kind::Internal(_) => None,
        }
    }

    /// The details of an error for the client as JSON text, Meteor's `error.details`, if it has any.
    #[must_use]
    pub fn details(&self) -> Option<&str> {
        match &self.0 {
            Kind::Client(error) | Kind::Told(error, _) => error.details.as_deref(),
            Kind::Internal(_) => None,
        }
    }

    /// What the client gets. Any other error is first handed to `log`, with its causes.
    pub(crate) fn into_ddp(self, log: impl FnOnce(&str)) -> DdpError {
        match self.0 {
            Kind::Client(error) => error,
            Kind::Internal(error) => {
                log(&chain(&*error));
                DdpError::internal()
            }
            Kind::Told(error, cause) => {
                log(&chain(&*cause));
                error
            }
        }
    }
}

/// What an error has for the client.
fn told(error: &(dyn std::error::Error + 'static)) -> Option<DdpError> {
    let mut sources = std::iter::successors(error.source(), |error| error.source());
    sources.find_map(|source| source.downcast_ref()).map(|ForClient(told)| told.clone())
}

/// The error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source.filter(|cause| !cause.is::<ForClient>()) {
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
    /// A [`DdpError`] is for the client, every other error is internal, except for a [`ForClient`]
    /// among its sources.
    fn from(error: E) -> Self {
        let error: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        Self(match error.downcast::<DdpError>() {
            Ok(error) => Kind::Client(*error),
            Err(error) => match told(&*error) {
                Some(told) => Kind::Told(told, error),
                None => Kind::Internal(error),
            },
        })
    }
}

/// So that `?` works in a `main` that returns any error.
impl From<Error> for Box<dyn std::error::Error + Send + Sync> {
    fn from(error: Error) -> Self {
        match error.0 {
            Kind::Client(error) => Box::new(error),
            Kind::Internal(error) | Kind::Told(_, error) => error,
        }
    }
}

impl From<Error> for Box<dyn std::error::Error> {
    fn from(error: Error) -> Self {
        Box::<dyn std::error::Error + Send + Sync>::from(error)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Client(error) => error.fmt(f),
            Kind::Internal(error) | Kind::Told(_, error) => f.write_str(&chain(&**error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot save the task")]
    struct CannotSave(#[source] std::io::Error);

    #[test]
    fn debug_shows_the_text_and_its_causes() {
        let internal = Error::from(CannotSave(std::io::Error::other("the disk is full")));
        assert_eq!(format!("{internal:?}"), "cannot save the task: the disk is full");
        assert_eq!(internal.to_string(), format!("{internal:?}"));
        assert_eq!((internal.reason(), internal.details()), (None, None));
        assert_eq!(format!("{:?}", Error::client("no", "Not now")), "Not now [no]");
        assert_eq!(format!("{:?}", ForClient::new("no", "Not now")), "Not now [no]");
        let decoded = ejson::from_text::<Vec<String>>("[1]").unwrap_err();
        assert_eq!(format!("{decoded:?}"), decoded.to_string());
    }

    #[test]
    fn an_error_of_ddp_is_for_the_client() {
        let error = Error::from(DdpError::method_not_found("x"));
        assert!(error.is_client());
        assert_eq!(error.code(), Some(&404.into()));
        assert_eq!(error.reason(), Some("Method 'x' not found"));
        let details = error.with_details(&["a"]);
        assert_eq!(details.details(), Some(r#"["a"]"#));
        assert!(Error::internal("a bug").with_details(&["a"]).details().is_none());
    }
}
