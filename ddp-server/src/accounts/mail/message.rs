//! A mail.

use std::fmt;

/// A mail to be sent. `Debug` does not show what it says, which has a token in it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// The one address that it goes to. It has no line breaks, nor have the others.
    pub to: String,
    /// The sender, such as `Accounts Example <no-reply@example.com>`.
    pub from: String,
    /// The subject.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML, if there is a template for it.
    pub html: Option<String>,
    /// Further lines of its head.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, from, subject, .. } = self;
        f.debug_struct("Mail")
            .field("to", to)
            .field("from", from)
            .field("subject", subject)
            .finish_non_exhaustive()
    }
}
