//! What Meteor's own tests of accounts do to the users of their server.

use super::MemoryAccounts;
use crate::accounts::store::{Email, Purpose};
use crate::error::Error;

impl MemoryAccounts {
    /// Whether a user may have this name or address beside another that differs from it in case only:
    /// `Accounts._skipCaseInsensitiveChecksForTest` of Meteor.
    pub fn skip_case_insensitive_checks(&self, text: &str, is_skipped: bool) {
        self.change(|state, _| {
            state.names.skip(text, is_skipped);
            state.addresses.skip(text, is_skipped);
        });
    }

    /// Takes the name and the profile from a user. False if there is no such user.
    ///
    /// # Errors
    /// None that users of this crate can cause.
    pub fn clear_username_and_profile(&self, user_id: &str) -> Result<bool, Error> {
        self.change_shown(user_id, |state| {
            let Some(record) = state.users.get_mut(user_id) else { return Ok(false) };
            record.user.profile = None;
            if let Some(name) = record.user.username.take() {
                state.names.remove(&name, user_id);
            }
            Ok(true)
        })
    }

    /// Gives a user one more address, unverified, even beside another spelling of it. False if there is no
    /// such user.
    ///
    /// # Errors
    /// None that users of this crate can cause.
    pub fn push_email(&self, user_id: &str, address: &str) -> Result<bool, Error> {
        self.change_shown(user_id, |state| {
            let Some(record) = state.users.get_mut(user_id) else { return Ok(false) };
            record.user.emails.push(Email { address: address.to_owned(), verified: false });
            state.addresses.add(address, user_id);
            Ok(true)
        })
    }

    /// Whether a token for this purpose was mailed to a user, and still works.
    #[must_use]
    pub fn has_one_time_token(&self, user_id: &str, purpose: Purpose) -> bool {
        self.read(|state| {
            let record = state.users.get(user_id);
            record
                .is_some_and(|record| record.one_time.iter().any(|token| token.purpose == purpose))
        })
    }
}
