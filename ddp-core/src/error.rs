//! Errors that clients see, and the ways in which a peer can misbehave.
//!
//! ```
//! use ddp_core::DdpError;
//!
//! let error = DdpError::new("not-allowed", "Only the owner may do this");
//! assert_eq!(error.message(), "Only the owner may do this [not-allowed]");
//!
//! let mut json = String::new();
//! error.encode(&mut json);
//! assert!(json.starts_with(r#"{"isClientSafe":true,"error":"not-allowed","reason":"#));
//! ```

use std::fmt;

use crate::message::encode::push_string;

/// Gives errors the same `Debug` as `Display`: a `main` that returns one prints it by `Debug`.
macro_rules! debug_as_display {
    ($($error:ty),+) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}
pub(crate) use debug_as_display;

/// The `error` field of a Meteor error: applications use strings, DDP itself numbers as in HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// A number such as 404.
    Number(i32),
    /// A string such as `"not-found"`.
    Text(String),
}

impl ErrorCode {
    /// The string, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(code) => Some(code),
            Self::Number(_) => None,
        }
    }
}

impl From<i32> for ErrorCode {
    fn from(code: i32) -> Self {
        Self::Number(code)
    }
}

impl From<&str> for ErrorCode {
    fn from(code: &str) -> Self {
        Self::Text(code.to_owned())
    }
}

impl From<String> for ErrorCode {
    fn from(code: String) -> Self {
        Self::Text(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(code) => write!(f, "{code}"),
            Self::Text(code) => f.write_str(code),
        }
    }
}

/// A `Meteor.Error` as sent in `result` and `nosub`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct DdpError {
    /// The code for programs.
    pub error: ErrorCode,
    /// The text for people.
    pub reason: Option<String>,
    /// Anything else that the client should know, as JSON text.
    pub details: Option<String>,
}

debug_as_display!(DdpError);

impl DdpError {
    /// An error with a code and a reason.
    #[must_use]
    pub fn new(error: impl Into<ErrorCode>, reason: impl Into<String>) -> Self {
        Self { error: error.into(), reason: Some(reason.into()), details: None }
    }

    /// Meteor's answer to a `sub` for a publication that does not exist.
    #[must_use]
    pub fn subscription_not_found(name: &str) -> Self {
        Self::new(404, format!("Subscription '{name}' not found"))
    }

    /// Meteor's answer to a call of a method that does not exist.
    #[must_use]
    pub fn method_not_found(name: &str) -> Self {
        Self::new(404, format!("Method '{name}' not found"))
    }

    /// What a client sees of an internal error.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(500, "Internal server error")
    }

    /// What Meteor's `check` answers if arguments are of a different type than the handler takes.
    #[must_use]
    pub fn match_failed() -> Self {
        Self::new(400, "Match failed")
    }

    /// The `message` of the error at the client: `reason [error]`, or `[error]` without a reason.
    #[must_use]
    pub fn message(&self) -> String {
        match self.reason.as_deref() {
            Some("") | None => format!("[{}]", self.error),
            Some(reason) => format!("{reason} [{}]", self.error),
        }
    }

    /// Writes the error as clients expect it in an `error` field.
    pub fn encode(&self, out: &mut String) {
        out.push_str(r#"{"isClientSafe":true,"error":"#);
        match &self.error {
            ErrorCode::Number(code) => out.push_str(&code.to_string()),
            ErrorCode::Text(code) => push_string(out, code),
        }
        if let Some(reason) = &self.reason {
            out.push_str(r#","reason":"#);
            push_string(out, reason);
        }
        if let Some(details) = &self.details {
            out.push_str(r#","details":"#);
            out.push_str(details);
        }
        out.push_str(r#","message":"#);
        push_string(out, &self.message());
        out.push_str(r#","errorType":"Meteor.Error"}"#);
    }
}

/// How a peer broke the protocol. `Display` gives the `reason` in Meteor's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Not JSON, not an object, or without a `msg`.
    #[error("Bad request")]
    BadRequest,
    /// Arguments are not EJSON, or are nested too deeply.
    #[error("Parse error")]
    ParseError,
    /// A `msg` that clients do not send, or not in the agreed version.
    #[error("Bad request")]
    UnknownMessage,
    /// The first message was not `connect`.
    #[error("Must connect first")]
    MustConnectFirst,
    /// A second `connect`.
    #[error("Already connected")]
    AlreadyConnected,
    /// A `sub` without string `id` and `name`, or whose `params` are not an array.
    #[error("Malformed subscription")]
    MalformedSubscription,
    /// A `method` without string `id` and `method`, with a `randomSeed` that is not a string, or
    /// whose `params` are not an array.
    #[error("Malformed method invocation")]
    MalformedMethod,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_look_as_meteor_errors() {
        let mut out = String::new();
        DdpError::method_not_found("x").encode(&mut out);
        assert_eq!(
            out,
            r#"{"isClientSafe":true,"error":404,"reason":"Method 'x' not found","message":"Method 'x' not found [404]","errorType":"Meteor.Error"}"#
        );
        out.clear();
        let error = DdpError {
            error: "too-many".into(),
            reason: None,
            details: Some(r#"{"wait":5}"#.to_owned()),
        };
        error.encode(&mut out);
        assert_eq!(
            out,
            r#"{"isClientSafe":true,"error":"too-many","details":{"wait":5},"message":"[too-many]","errorType":"Meteor.Error"}"#
        );
    }
}
