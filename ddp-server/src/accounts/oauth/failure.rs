//! Why a provider did not tell who a user is.

use std::error::Error as StdError;

use oauth2::{ErrorResponse, RequestTokenError};

use super::http::HttpError;
use crate::error::{Error, chain};

/// How much of a provider's own text clients get to see.
const TEXT_CHARS_MAX: usize = 200;

/// Why an exchange failed, with a text for the log.
#[derive(Debug)]
pub(super) enum Failure {
    /// The provider refused: in its words.
    Refused(String),
    /// There is no usable answer.
    Unreachable(String),
    /// What it answered is not to be trusted, or says too little.
    Untrusted(String),
    /// Too many others are at it.
    Busy,
}

impl Failure {
    pub(super) fn unreachable(error: &dyn StdError) -> Self {
        Self::Unreachable(chain(error))
    }

    pub(super) fn untrusted(error: &dyn StdError) -> Self {
        Self::Untrusted(chain(error))
    }

    /// From the answer to a code.
    pub(super) fn of_token<T: ErrorResponse>(error: RequestTokenError<HttpError, T>) -> Self {
        match error {
            RequestTokenError::ServerResponse(answer) => Self::Refused(shown(&answer.to_string())),
            // Some answer an error with the status of a success.
            RequestTokenError::Parse(error, body) => match refusal(&body) {
                Some(text) => Self::Refused(text),
                None => Self::untrusted(&error),
            },
            RequestTokenError::Request(error) => Self::unreachable(&error),
            error @ RequestTokenError::Other(_) => Self::Unreachable(error.to_string()),
        }
    }

    pub(super) fn why(&self) -> &str {
        match self {
            Self::Refused(why) | Self::Unreachable(why) | Self::Untrusted(why) => why,
            Self::Busy => "too many logins are under way: see whether the provider is slow",
        }
    }

    /// What the client is told.
    pub(super) fn for_client(&self, service: &str) -> Error {
        match self {
            Self::Refused(why) => {
                let reason = format!("Failed to complete OAuth handshake with {service}: {why}");
                Error::client(403, reason)
            }
            Self::Unreachable(_) => {
                Error::client(503, format!("{service} does not answer. Please try again later."))
            }
            Self::Untrusted(_) => {
                let reason = format!("The answer of {service} was refused: the server's log says why");
                Error::client(403, reason)
            }
            Self::Busy => Error::client(
                "too-many-requests",
                "Error, too many requests. Please slow down. You must wait 10 seconds before trying \
                 again.",
            )
            .with_details(&serde_json::json!({"timeToReset": 10_000})),
        }
    }
}

fn refusal(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = answer.get("error")?.as_str()?;
    let text = match answer.get("error_description").and_then(serde_json::Value::as_str) {
        Some(description) => format!("{error}: {description}"),
        None => error.to_owned(),
    };
    Some(shown(&text))
}

/// A stranger's text, on one line and not too long.
pub(super) fn shown(text: &str) -> String {
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(TEXT_CHARS_MAX).map(printable).collect()
}
