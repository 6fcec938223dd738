//! What a line gives: a user, or a reason why not.

use ddp_server::accounts::{LoginToken, NewUser, OneTimeToken};

use super::losses::Losses;

/// A user who may be imported.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) line: u64,
    pub(super) new: NewUser,
    pub(super) login_tokens: Vec<LoginToken>,
    pub(super) one_time_tokens: Vec<OneTimeToken>,
    /// What is not kept of the document.
    pub(super) losses: Losses,
}

/// A line that gives no user.
#[derive(Debug)]
pub(super) struct Refused {
    /// The user's id, if it is known.
    pub(super) user: Option<String>,
    /// It shows nothing of the line but its form.
    pub(super) why: String,
}

impl Refused {
    pub(super) fn new(user: Option<&str>, why: impl Into<String>) -> Self {
        Self { user: user.map(str::to_owned), why: why.into() }
    }
}
