//! Sessions of Django, told from forged ones.
//!
//! Nothing here reads the database: what is stored is given, and what is true of it is returned.

mod refusal;
mod session;
mod signing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ddp_server::ejson::Date;

pub(super) use self::refusal::Refusal;
use self::refusal::Unreadable;
pub(super) use self::session::SessionUser;
use self::session::{COOKIE_SALT, TABLE_SALT};
use self::signing::{JSON_BYTES_MAX, SecretKeys};

/// The most bytes of a session in the table: base64 of the longest JSON, with time and signature.
pub(super) const STORED_BYTES_MAX: usize = JSON_BYTES_MAX.div_ceil(3) * 4 + 128;

/// How long a key of a session is: Django makes 32 letters and digits, and believes none of fewer than 8.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 8..=40;

/// The longest that a cookie lasts: a hundred years.
const AGE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Where a Django keeps its sessions, and how it signs them, for
/// [`PostgresAccounts::django_sessions`](super::PostgresAccounts::django_sessions). `Debug` does not show its
/// keys.
///
/// ```
/// use ddp_postgres::accounts::DjangoSessions;
///
/// // Django's settings.SECRET_KEY, and its settings.SECRET_KEY_FALLBACKS.
/// let sessions = DjangoSessions::database("the secret of now").secret_key_fallbacks(["one before it"]);
/// # let _ = sessions;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct DjangoSessions {
    keys: SecretKeys,
    is_in_table: bool,
    pub(super) cookie_name: String,
    cookie_age: Duration,
}

impl DjangoSessions {
    fn new(secret_key: &[u8], is_in_table: bool) -> Self {
        Self {
            keys: SecretKeys::new(secret_key),
            is_in_table,
            cookie_name: "sessionid".to_owned(),
            cookie_age: Duration::from_secs(14 * 24 * 60 * 60),
        }
    }

    /// Sessions in the table `django_session`: with Django's `SESSION_ENGINE` as it is by default, or
    /// `cached_db`.
    ///
    /// # Panics
    /// If the key is empty.
    pub fn database(secret_key: impl AsRef<[u8]>) -> Self {
        Self::new(secret_key.as_ref(), true)
    }

    /// Sessions that are a cookie as a whole: with Django's `SESSION_ENGINE` `signed_cookies`.
    ///
    /// # Panics
    /// If the key is empty.
    pub fn signed_cookies(secret_key: impl AsRef<[u8]>) -> Self {
        Self::new(secret_key.as_ref(), false)
    }

    /// Keys that Django still accepts: its `SECRET_KEY_FALLBACKS`.
    ///
    /// # Panics
    /// If one is empty.
    pub fn secret_key_fallbacks<K: AsRef<[u8]>>(
        mut self,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        for key in keys {
            self.keys = self.keys.with(key.as_ref());
        }
        self
    }

    /// The cookie's name, `sessionid`: Django's `SESSION_COOKIE_NAME`.
    pub fn cookie_name(mut self, name: impl Into<String>) -> Self {
        self.cookie_name = name.into();
        self
    }

    /// How long a signed cookie lasts, two weeks: Django's `SESSION_COOKIE_AGE`. One for which Django's
    /// `set_expiry` said less ends sooner. Of sessions in the table, the table says it.
    pub fn cookie_age(mut self, age: Duration) -> Self {
        self.cookie_age = age;
        self
    }

    /// The key of the table's row, if that is where sessions are.
    pub(super) fn row_key<'a>(&self, cookie: &'a str) -> Result<Option<&'a str>, Refusal> {
        if !self.is_in_table {
            return Ok(None);
        }
        let is_key = KEY_BYTES.contains(&cookie.len())
            && cookie.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_key { Ok(Some(cookie)) } else { Err(Refusal::Malformed) }
    }

    /// The user of a session from the table; `None` stands for one that is too long.
    pub(super) fn read_row(&self, session: Option<&str>) -> Result<SessionUser, Refusal> {
        let session = session.ok_or(Unreadable::TooLong)?;
        Ok(SessionUser::read(session, TABLE_SALT, &self.keys)?.0)
    }

    /// The user of a signed cookie, and when it ends.
    pub(super) fn read_cookie(
        &self,
        cookie: &str,
        now: Date,
    ) -> Result<(SessionUser, Date), Refusal> {
        let (user, life) = SessionUser::read(cookie, COOKIE_SALT, &self.keys)?;
        let expires = life.end(self.cookie_age.min(AGE_MAX).as_secs().cast_signed())?;
        if expires <= now {
            return Err(Refusal::Expired);
        }
        Ok((user, expires))
    }

    /// Nobody is logged in whose password has changed since. `stored` is the password as Django has it now.
    pub(super) fn check_password(
        &self,
        user: &SessionUser,
        stored: Option<&str>,
    ) -> Result<(), Refusal> {
        let is_same = stored.is_some_and(|stored| user.had_password(stored, &self.keys));
        if is_same { Ok(()) } else { Err(Refusal::OtherPassword(user.id.clone())) }
    }
}
