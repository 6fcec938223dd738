//! Where users, their passwords and their tokens are kept.
//!
//! An [`AccountsStore`] keeps records and is told what to do with them; what a password is, how long
//! a token lasts and who may log in is decided by [`Accounts`](super::Accounts). Secrets reach a
//! store only as hashes.

mod records;

use std::sync::Arc;

use futures::future::BoxFuture;

pub use self::records::{
    Conflict, Email, Expired, LoginToken, LoginUser, NewUser, OneTimeToken, PasswordChange,
    PasswordHash, Purpose, Revocation, Selector, Service, TokenGuard, TokenHash, Tokens, User,
    WriteError,
};
use crate::ejson::Object;
use crate::error::Error;
use crate::live_query::AnyCursor;
use crate::write_fence::WriteFence;

/// What is called for each [`Revocation`]. It does not block.
pub type OnRevocation = Arc<dyn Fn(Revocation) + Send + Sync>;

/// What a read gives.
pub type Read<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// What a write gives that can be refused as a [`Conflict`].
pub type Written<'a, T> = BoxFuture<'a, Result<T, WriteError>>;

/// Keeps users. Secrets reach a store only as hashes; what they mean is not its business.
///
/// # What every store must hold to
/// - **Case.** A username or an address is found by its exact spelling, else without regard to case
///   if exactly one user has it so. Two users cannot have names or addresses that differ in case only.
/// - **Conflicts** come from the write itself, by a constraint or under a lock, and never from a look
///   before it: of two creations that race, one is made and the other is a [`Conflict`].
/// - **One step.** Each function is one atomic step: it happens whole, or not at all.
/// - **Revocation.** Whatever makes a token unusable is [told](Self::on_revocation), whoever
///   did it: a call of this trait, another server, or a person at the database.
/// - A user who is not [active](User::is_active), or does not exist, has no login tokens.
///
/// Functions that take a [`WriteFence`] change what the user's own document shows: a store that is
/// asked by a method registers its write there, so that the client has the change before `updated`.
/// Those that return a `bool` say whether there was such a user, address or token.
///
/// # Errors
/// All functions fail if the store is out of reach or refuses; no error text has a hash in it.
pub trait AccountsStore: Send + Sync + 'static {
    /// The user's own document, live: of the collection `users`, filtered to this id, with these fields
    /// only. The usual fields are `username`, `emails` and `profile`, which are missing if there is
    /// nothing to show; `createdAt` is another one that a store has; it may have more. The document is
    /// there for as long as the user is, even without any field.
    fn users(&self, user_id: &str, fields: &[String]) -> AnyCursor;

    /// Who has this id, name or address, by the rule of case.
    fn find_user<'a>(&'a self, by: &'a Selector) -> Read<'a, Option<User>>;

    /// The same with all that a login needs, in one round trip.
    fn find_login_user<'a>(&'a self, by: &'a Selector) -> Read<'a, Option<LoginUser>>;

    /// Creates a user.
    fn create_user<'a>(&'a self, new: &'a NewUser, fence: &'a WriteFence) -> Written<'a, ()>;

    /// Gives a user another name.
    fn set_username<'a>(
        &'a self,
        user_id: &'a str,
        username: &'a str,
        fence: &'a WriteFence,
    ) -> Written<'a, bool>;

    /// Gives a user one more address, as the last. One that the user has already, perhaps in another
    /// case, is replaced in its place.
    fn add_email<'a>(
        &'a self,
        user_id: &'a str,
        email: &'a Email,
        fence: &'a WriteFence,
    ) -> Written<'a, bool>;

    /// Puts an address in the place of another, which is spelt as it is stored.
    fn replace_email<'a>(
        &'a self,
        user_id: &'a str,
        old: &'a str,
        new: &'a Email,
        fence: &'a WriteFence,
    ) -> Written<'a, bool>;

    /// Takes an address from a user, spelt as it is stored, with the one-time tokens that were mailed
    /// there.
    fn remove_email<'a>(
        &'a self,
        user_id: &'a str,
        address: &'a str,
        fence: &'a WriteFence,
    ) -> Read<'a, bool>;

    /// Notes that the user receives mail at this address, spelt as it is stored, and ends the
    /// [`Verify`](Purpose::Verify) tokens for it. False if the user has no such address.
    fn verify_email<'a>(
        &'a self,
        user_id: &'a str,
        address: &'a str,
        fence: &'a WriteFence,
    ) -> Read<'a, bool>;

    /// Replaces the profile.
    fn set_profile<'a>(
        &'a self,
        user_id: &'a str,
        profile: Option<&'a Object>,
        fence: &'a WriteFence,
    ) -> Read<'a, bool>;

    /// Replaces the profile if it is `old`. False, and nothing is changed, if it is another or there is no
    /// such user.
    fn replace_profile<'a>(
        &'a self,
        user_id: &'a str,
        old: Option<&'a Object>,
        new: Option<&'a Object>,
        fence: &'a WriteFence,
    ) -> Read<'a, bool>;

    /// Activates or deactivates a user. Who is deactivated loses all login tokens.
    fn set_active<'a>(&'a self, user_id: &'a str, is_active: bool) -> Read<'a, bool>;

    /// Removes a user with all that belongs to it.
    fn remove_user<'a>(&'a self, user_id: &'a str, fence: &'a WriteFence) -> Read<'a, bool>;

    /// Changes a password, and ends with it the login tokens that the change names and all
    /// that was mailed to the user. False, and nothing is changed, if there is no such user or the old
    /// hash is another.
    fn set_password<'a>(&'a self, user_id: &'a str, change: &'a PasswordChange) -> Read<'a, bool>;

    /// Stores the same password in another form, if it is still stored as `old`. It ends nothing.
    fn rehash_password<'a>(
        &'a self,
        user_id: &'a str,
        old: &'a PasswordHash,
        new: &'a PasswordHash,
    ) -> Read<'a, bool>;

    /// Adds a login token, if the guard still holds in the same step: no change of the password and no
    /// removal of tokens comes between. False if it does not.
    fn add_login_token<'a>(
        &'a self,
        user_id: &'a str,
        token: &'a LoginToken,
        guard: &'a TokenGuard,
    ) -> Read<'a, bool>;

    /// The user who has this login token, who is active, with the token, in one round trip. Whether it
    /// has expired is for others to say.
    fn find_login_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<(User, LoginToken)>>;

    /// Which of these login tokens are there, in one round trip: at most 1,000 at a time are asked for.
    fn stored_login_tokens<'a>(&'a self, hashes: &'a [TokenHash]) -> Read<'a, Vec<TokenHash>>;

    /// Removes login tokens of a user, and says how many.
    fn remove_login_tokens<'a>(&'a self, user_id: &'a str, which: &'a Tokens) -> Read<'a, u64>;

    /// Forgets what has expired, and says how many tokens that were.
    fn remove_expired<'a>(&'a self, expired: &'a Expired) -> Read<'a, u64>;

    /// Keeps a one-time token, in place of the user's last one if there can be only one. A store may
    /// forget all but the newest 16 of a user. False if there is no such user.
    fn put_one_time_token<'a>(&'a self, token: &'a OneTimeToken) -> Read<'a, bool>;

    /// A one-time token, which stays.
    fn find_one_time_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<OneTimeToken>>;

    /// Takes a one-time token away: of several who take the same one, one gets it.
    fn take_one_time_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<OneTimeToken>>;

    /// What a login service keeps about a user, with the version of the record, from 1.
    fn find_service<'a>(
        &'a self,
        user_id: &'a str,
        service: &'a str,
    ) -> Read<'a, Option<(Service, u64)>>;

    /// The user whom a login service knows by this id.
    fn find_user_by_service<'a>(
        &'a self,
        service: &'a str,
        service_id: &'a str,
    ) -> Read<'a, Option<User>>;

    /// Stores the record of a login service, or removes it with `None`, if its version is still this
    /// one; 0 if there is to be no record yet. False if it is another, or if there is no such user.
    fn put_service<'a>(
        &'a self,
        user_id: &'a str,
        service: &'a str,
        version: u64,
        record: Option<&'a Service>,
    ) -> Written<'a, bool>;

    /// Calls a function for every revocation from now on, wherever it was made. A store in memory
    /// calls it before the function that revoked returns; any other within a second, and with
    /// [`All`](Revocation::All) when it is back after it was out of reach. It is called outside of all
    /// locks of the store. The function is kept for as long as the store.
    fn on_revocation(&self, listener: OnRevocation);
}
