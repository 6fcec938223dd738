//! The end of a connection, as the client sees it.

use std::fmt;

/// How a connection was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// The WebSocket close code (RFC 6455 section 7.4), such as 1001 for a server that goes away. 1006
    /// means that the connection ended without a word.
    pub code: u16,
    /// The reason that came with it.
    pub reason: String,
}

impl Closed {
    /// A connection that ended without a word.
    pub(super) fn lost() -> Self {
        Self { code: 1006, reason: String::new() }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", self.code)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}
