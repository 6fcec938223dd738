//! What an [`AccountsStore`](super::AccountsStore) keeps and is told.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::ejson::{Date, Object};
use crate::error::Error;

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
    /// That of a token as its client, or a mail, has it.
    #[must_use]
    pub fn of(token: &str) -> Self {
        STANDARD.encode(Sha256::digest(token.as_bytes())).into()
    }

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
    /// The user has no password.
    NoPassword,
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
