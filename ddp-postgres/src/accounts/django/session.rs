//! Whose a session of Django's is: what `django.contrib.auth` keeps in one.

use data_encoding::HEXLOWER;
use serde::Deserialize;

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
}

impl SessionUser {
    /// The user of a session that is signed for this, and when it was signed.
    pub(super) fn read(
        session: &str,
        salt: &str,
        keys: &SecretKeys,
    ) -> Result<(Self, i64), Refusal> {
        let signed = signing::loads(session, salt, keys)?;
        if signed.data.first() == Some(&PICKLE) {
            return Err(Unreadable::Pickle.into());
        }
        let session: Session =
            serde_json::from_slice(&signed.data).map_err(|_| Unreadable::NoJson)?;
        let (Some(id), Some(hash)) = (session.id, session.hash) else {
            return Err(Refusal::Nobody);
        };
        Ok((Self { id, hash }, signed.when))
    }

    /// Whether the user had this password, as Django stores it, when the session began.
    pub(super) fn had_password(&self, stored: &str, keys: &SecretKeys) -> bool {
        let hash = HEXLOWER.decode(self.hash.as_bytes());
        hash.is_ok_and(|hash| keys.have_signed(PASSWORD_SALT, stored, &hash))
    }
}
