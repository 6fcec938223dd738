//! Whose a session of Django's is: what `django.contrib.auth` keeps in one.

use data_encoding::HEXLOWER;
use ddp_server::ejson::Date;
use serde::Deserialize;
use serde_json::Value;

use super::refusal::{Refusal, Unreadable};
use super::signing::{self, SecretKeys};

/// What sessions of the table `django_session` are signed for.
pub(super) const TABLE_SALT: &str = "django.contrib.sessions.SessionStore";

/// What sessions are signed for that are a cookie as a whole.
pub(super) const COOKIE_SALT: &str = "django.contrib.sessions.backends.signed_cookies";

/// What the hash of a user's password is signed for.
const PASSWORD_SALT: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";

/// What every pickle of Python 3 begins with.
const PICKLE: u8 = 0x80;

/// A user who logged in at Django, and is logged in if the password is still that of then.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::accounts) struct SessionUser {
    pub(in crate::accounts) id: String,
    hash: String,
}

/// All that is read of a session.
#[derive(Deserialize)]
struct Session {
    #[serde(rename = "_auth_user_id")]
    id: Option<String>,
    #[serde(rename = "_auth_user_hash")]
    hash: Option<String>,
    #[serde(rename = "_session_expiry")]
    expiry: Option<Value>,
}

/// When a session was signed, and what Django's `set_expiry` has said of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// In seconds since 1970.
    when: i64,
    expiry: Option<Value>,
}

impl Life {
    /// When it ends, if no session is older than so many seconds. Zero stands for the browser's end, which
    /// nobody tells.
    pub(super) fn end(&self, age_max: i64) -> Result<Date, Unreadable> {
        let after = |seconds: i64| {
            Date::from_millis(self.when.saturating_add(seconds).saturating_mul(1000))
        };
        let own = match &self.expiry {
            None => None,
            Some(Value::Number(seconds)) if seconds.as_f64() == Some(0.0) => None,
            Some(Value::Number(seconds)) => Some(after(whole_seconds(seconds).min(age_max))),
            // As Python's `isoformat` writes it; without a zone it is taken for UTC.
            Some(Value::String(date)) => Some(Date::from_iso(date).ok_or(Unreadable::NoJson)?),
            Some(_) => return Err(Unreadable::NoJson),
        };
        let last = after(age_max);
        Ok(own.map_or(last, |own| own.min(last)))
    }
}

/// A number of JSON without its fraction; what is too large is the largest.
fn whole_seconds(number: &serde_json::Number) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let cut = |number: f64| number as i64;
    number.as_i64().or_else(|| number.as_f64().map(cut)).unwrap_or(0)
}

impl SessionUser {
    /// The user of a session that is signed for this, and how long it lives.
    pub(super) fn read(
        session: &str,
        salt: &str,
        keys: &SecretKeys,
    ) -> Result<(Self, Life), Refusal> {
        let signed = signing::loads(session, salt, keys)?;
        if signed.data.first() == Some(&PICKLE) {
            return Err(Unreadable::Pickle.into());
        }
        let session: Session =
            serde_json::from_slice(&signed.data).map_err(|_| Unreadable::NoJson)?;
        let (Some(id), Some(hash)) = (session.id, session.hash) else {
            return Err(Refusal::Nobody);
        };
        Ok((Self { id, hash }, Life { when: signed.when, expiry: session.expiry }))
    }

    /// Whether the user had this password, as Django stores it, when the session began.
    pub(super) fn had_password(&self, stored: &str, keys: &SecretKeys) -> bool {
        let hash = HEXLOWER.decode(self.hash.as_bytes());
        hash.is_ok_and(|hash| keys.have_signed(PASSWORD_SALT, stored, &hash))
    }
}
