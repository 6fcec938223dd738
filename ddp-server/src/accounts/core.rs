//! What all parts of accounts share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::delays::Delays;
use super::handler::LoginHandler;
use super::held::HeldTokens;
use super::hooks::Hooks;
use super::http::Cookies;
use super::input::Password;
#[cfg(feature = "jwt")]
use super::jwt::Jwt;
use super::mail::Mails;
use super::options::{AMBIGUOUS, FOR_EVER, Options};
use super::password::Passwords;
use super::sealed::Sealer;
use super::store::{AccountsStore, LoginToken, TokenHash};
use super::watch::Watch;
use crate::ejson::{Date, Ejson};
use crate::error::Error;
use crate::extract::Connection;
use crate::log::Log;
use crate::memory::MemoryCollection;

/// What all parts of accounts share.
pub(super) struct Core {
    pub(super) store: Arc<dyn AccountsStore>,
    pub(super) options: Options,
    pub(super) hooks: Hooks,
    /// The application's, in their order.
    pub(super) handlers: Vec<LoginHandler>,
    /// The tokens of other backends that log in.
    #[cfg(feature = "jwt")]
    pub(super) jwts: Vec<Jwt>,
    pub(super) passwords: Passwords,
    pub(super) sealer: Sealer,
    pub(super) held: Arc<HeldTokens>,
    pub(super) delays: Delays,
    pub(super) mails: Mails,
    /// If browsers may keep their tokens in a cookie.
    pub(super) cookies: Option<Cookies>,
    /// What clients see of login services.
    pub(super) services: MemoryCollection<Ejson>,
    #[cfg(feature = "oauth")]
    pub(super) oauth: super::oauth::Logins,
    pub(super) watch: Watch,
    /// For what clients cause.
    pub(super) log: Log,
}

impl Core {
    /// A refusal that says no more than it must, unless it may: Meteor's `ambiguousErrorMessages`.
    pub(super) fn refusal(&self, reason: &str) -> Error {
        self.refusal_with(403, reason)
    }

    pub(super) fn refusal_with(
        &self,
        code: impl Into<ddp_core::error::ErrorCode>,
        reason: &str,
    ) -> Error {
        let reason = if self.options.ambiguous_error_messages { AMBIGUOUS } else { reason };
        Error::client(code, reason)
    }

    /// A new login token, to be stored.
    pub(super) fn login_token(hash: TokenHash, expires: Option<Date>) -> LoginToken {
        LoginToken { hash, when: now(), expires }
    }

    /// When a login token ends.
    pub(super) fn token_expires(&self, token: &LoginToken) -> Date {
        let lifetime = self.options.login_expiration.unwrap_or(FOR_EVER);
        let by_age = later(token.when, lifetime);
        token.expires.map_or(by_age, |expires| expires.min(by_age))
    }

    /// A password itself is taken only where nobody can listen.
    pub(super) fn check_secure(
        password: &Password,
        connection: Option<&Connection>,
    ) -> Result<(), Error> {
        let is_secure = |connection: &Connection| connection.is_secure() || connection.is_local();
        if password.plain().is_none() || connection.is_none_or(is_secure) {
            return Ok(());
        }
        Err(Error::client(403, "Authentication refused without SSL."))
    }
}

/// The time, in whole milliseconds.
pub(super) fn now() -> Date {
    SystemTime::now().into()
}

/// The date so much later.
pub(super) fn later(date: Date, by: Duration) -> Date {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Date::from_millis(date.millis().unwrap_or_default().saturating_add(by))
}

/// How long it is until a date, at most as long as anything lasts.
pub(super) fn until(date: Date) -> Duration {
    let millis = |date: Date| date.millis().unwrap_or_default();
    let left = millis(date).saturating_sub(millis(now()));
    Duration::from_millis(u64::try_from(left).unwrap_or_default()).min(FOR_EVER)
}

/// What Meteor tells a client whose token has ended.
pub(super) fn session_expired() -> Error {
    Error::client(403, "Your session has expired. Please log in again.")
}

/// The date so much before now.
pub(super) fn ago(by: Duration) -> Date {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Date::from_millis(now().millis().unwrap_or_default().saturating_sub(by))
}
