//! Where users, their passwords and their tokens are kept.
//!
//! An [`AccountsStore`] keeps records and is told what to do with them; what a password is, how long
//! a token lasts and who may log in is decided by [`Accounts`](super::Accounts). Secrets reach a
//! store only as hashes.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::ejson::{Date, Object};
use crate::error::Error;
use crate::live_query::AnyCursor;
use crate::write_fence::WriteFence;

/// A user, as hooks and the server's own code see it: nothing in it is secret.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct User {
    /// The id, Meteor's `_id`: 17 characters of `Random.id()`, or whatever the store has.
    pub id: String,
    /// When the user was created; `None` if that is not known.
    pub created_at: Option<Date>,
    /// The unique name, at most 256 characters.
    pub username: Option<String>,
    /// The addresses, in the order in which they were added.
    pub emails: Vec<Email>,
    /// What the user and the application say about the user. Clients of this user see it.
    pub profile: Option<Object>,
    /// Whether the user may log in.
    pub is_active: bool,
}

impl User {
    /// An active user without anything but an id.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), is_active: true, ..Self::default() }
    }
}

/// An address of a user.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Email {
    /// The address as it was given, at most 256 characters.
    pub address: String,
    /// Whether the user has shown to receive mail there.
    pub verified: bool,
}

impl Email {
    /// An address that nobody has verified.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), verified: false }
    }
}

/// A user with all that a login needs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginUser {
    /// The user.
    pub user: User,
    /// The hash of the password, if there is one.
    pub password: Option<PasswordHash>,
    /// Whether a second factor is active: the service `twoFactorAuthentication` has a `type`.
    pub has_2fa: bool,
}

impl LoginUser {
    /// A user with a password, or without one.
    #[must_use]
    pub fn new(user: User, password: Option<PasswordHash>, has_2fa: bool) -> Self {
        Self { user, password, has_2fa }
    }
}

/// The stored form of a password, with the algorithm in front: `$2b$10$…`, `$argon2id$…`,
/// `pbkdf2_sha256$…`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<str>);

impl PasswordHash {
    /// The text that is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for PasswordHash {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for PasswordHash {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// The stored form of a token: standard base64 of its SHA-256, 44 characters, as in Meteor. `Debug`
/// does not show it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(Arc<str>);

impl TokenHash {
    /// The text that is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for TokenHash {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for TokenHash {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A login token, by which a client logs in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginToken {
    /// Its hash, unique among all users.
    pub hash: TokenHash,
    /// From when its life is counted: when the client logged in with something else than a token.
    pub when: Date,
    /// An end of its own, if it must not live as long as others: that of a JWT, say.
    pub expires: Option<Date>,
}

/// What must still be so when a login token is added. Otherwise a login that is under way while the
/// password is changed, or all are logged out, would survive it.
#[derive(Clone, Debug)]
pub enum TokenGuard {
    /// The user exists and is active, as in all other cases.
    Active,
    /// The user's password has this hash.
    Password(PasswordHash),
    /// The user has this other login token.
    Token(TokenHash),
}

/// Which login tokens of a user.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// All.
    All,
    /// All but this one.
    AllBut(TokenHash),
    /// This one.
    One(TokenHash),
    /// Not a single one.
    Nothing,
}

/// A new password.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// Its hash.
    pub hash: PasswordHash,
    /// What the old one must be for the change to happen, if that matters.
    pub only_if: Option<PasswordHash>,
    /// The login tokens that end with the old password.
    pub ends: Tokens,
}

/// What a one-time token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Setting another password: the user has at most one such token.
    Reset,
    /// Setting the first password: at most one.
    Enroll,
    /// Verifying an address: several at a time.
    Verify,
}

impl Purpose {
    /// `reset`, `enroll` or `verify`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Enroll => "enroll",
            Self::Verify => "verify",
        }
    }
}

/// A token that was mailed, and works once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimeToken {
    /// Its hash, unique.
    pub hash: TokenHash,
    /// What it is for.
    pub purpose: Purpose,
    /// Whose it is.
    pub user_id: String,
    /// The address it was mailed to, as the user has it.
    pub address: String,
    /// When it was made.
    pub when: Date,
}

/// What is to be forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Expired {
    /// Now: login tokens end whose own [`expires`](LoginToken::expires) is not after it.
    pub now: Date,
    /// Login tokens end whose `when` is before this; `None` if they last for ever.
    pub login_before: Option<Date>,
    /// The same for tokens that reset passwords.
    pub reset_before: Date,
    /// The same for enrolment.
    pub enroll_before: Date,
}

/// What a login service keeps about a user: `services.<name>` in Meteor. Clients never see it.
#[derive(Clone, PartialEq)]
pub struct Service {
    /// The user's id there, unique within the service; Meteor's `services.<name>.id`.
    pub service_id: Option<String>,
    /// All else.
    pub data: Object,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("service_id", &self.service_id).finish_non_exhaustive()
    }
}

/// A user to be created.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// The hash of the password, if there is one.
    pub password: Option<PasswordHash>,
    /// Records of login services, by their names.
    pub services: Vec<(String, Service)>,
}

/// What a user is looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The id, exactly.
    Id(String),
    /// The username, by the rule of case.
    Username(String),
    /// An address, by the rule of case.
    Email(String),
}

/// What another user has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The username.
    Username,
    /// An address.
    Email,
    /// The id at a login service.
    Service,
}

/// Why something was not written.
#[derive(Debug)]
pub enum WriteError {
    /// It would not be unique.
    Conflict(Conflict),
    /// The store failed.
    Failed(Error),
}

impl From<Conflict> for WriteError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl<E: Into<Error>> From<E> for WriteError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What is told of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// This login token is gone.
    Token(TokenHash),
    /// Login tokens of this user may be gone: it was deactivated or removed, or somebody changed its
    /// tokens. Those that are held are looked at again.
    User(String),
    /// Something may have been missed, because the store was out of reach: all tokens that are held
    /// are looked at again.
    All,
}

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
