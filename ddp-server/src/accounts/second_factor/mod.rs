//! A second factor beside the password: codes of an authenticator app, as Meteor's `accounts-2fa` has
//! them.

mod picture;
mod record;
mod recovery;
mod totp;

use self::record::{Record, Spent};
use super::core::{Core, now};
use super::delays::too_many;
use super::store::{LoginUser, User};
use super::{input, kept};
use crate::ejson::Ejson;
use crate::error::Error;

pub(super) use picture::NAME_BYTES_MAX;

/// What Meteor keeps it under, in `services`.
const SERVICE: &str = "twoFactorAuthentication";

/// What a user is given to set up an authenticator app.
pub(super) struct Activation {
    pub(super) svg: String,
    pub(super) secret: String,
    pub(super) uri: String,
}

/// Gives a user a new secret, which waits for its first code. `None` if one is active already.
pub(super) async fn generate(
    core: &Core,
    user: &User,
    app: &str,
) -> Result<Option<Activation>, Error> {
    let secret = totp::new_secret();
    let address = user.emails.first().map(|email| &email.address);
    let account = user.username.as_ref().or(address).unwrap_or(&user.id);
    let uri = picture::uri(app, account, &secret);
    let svg = picture::svg(&uri)?;
    let sealed = core.sealer.seal(&secret, SERVICE, &user.id);
    let is_kept = kept::change(core, &user.id, SERVICE, |record: &mut Option<Record>| {
        let is_active = record.as_ref().is_some_and(Record::is_active);
        if !is_active {
            *record = Some(Record::new(sealed.clone()));
        }
        !is_active
    });
    Ok(is_kept.await?.then_some(Activation { svg, secret, uri }))
}

/// Activates the secret by one of its codes, which is used with it, and returns recovery codes, which
/// nobody can get to see again. `None` if there is no secret.
///
/// If it is active already, another code brings new recovery codes.
pub(super) async fn enable(
    core: &Core,
    user_id: &str,
    code: &str,
) -> Result<Option<Result<Vec<String>, Error>>, Error> {
    let recovery = recovery::new_codes();
    let spent = kept::change(core, user_id, SERVICE, |record: &mut Option<Record>| {
        let record = record.as_mut()?;
        let spent = spend(core, record, user_id, code);
        if spent == Spent::Right {
            record.activate(&recovery, user_id);
        }
        Some(spent)
    });
    Ok(spent.await?.map(|spent| refusal(core, user_id, spent).map_or(Ok(recovery), Err)))
}

/// Removes a second factor. False if there was none.
pub(super) async fn disable(core: &Core, user_id: &str) -> Result<bool, Error> {
    let take = |record: &mut Option<Record>| record.take().is_some();
    kept::change(core, user_id, SERVICE, take).await
}

/// Why somebody whose password, or mailed token, was right does not get in by this code. `None` if
/// nothing is in the way; then the code has been used.
pub(super) async fn refuses(
    core: &Core,
    found: &LoginUser,
    code: Option<&str>,
) -> Result<Option<Error>, Error> {
    if !found.has_2fa {
        return Ok(None);
    }
    let Some(code) = code else {
        return Ok(Some(core.refusal_with("no-2fa-code", "2FA code must be informed")));
    };
    let user_id = &found.user.id;
    let spent = kept::change(core, user_id, SERVICE, |record: &mut Option<Record>| {
        // It may have been replaced since, by one that nobody has activated.
        let record = record.as_mut().filter(|record| record.is_active());
        record.map_or(Spent::Wrong, |record| spend(core, record, user_id, code))
    });
    Ok(refusal(core, user_id, spent.await?))
}

/// Whether a user has an active one.
pub(super) async fn is_enabled(core: &Core, user_id: &str) -> Result<bool, Error> {
    let look = |record: &mut Option<Record>| record.as_ref().is_some_and(Record::is_active);
    kept::change(core, user_id, SERVICE, look).await
}

fn spend(core: &Core, record: &mut Record, user_id: &str, code: &str) -> Spent {
    let secret = core.sealer.open(&record.secret, SERVICE, user_id);
    let secret = secret.as_deref().and_then(totp::decode);
    record.spend(code, user_id, secret.as_deref(), now())
}

/// What a client is told of a code.
fn refusal(core: &Core, user_id: &str, spent: Spent) -> Option<Error> {
    match spent {
        Spent::Right => return None,
        Spent::Wrong => {}
        Spent::Wait(wait) => {
            let seconds = wait.as_millis().div_ceil(1000);
            return Some(too_many(u32::try_from(seconds).unwrap_or(u32::MAX)));
        }
        Spent::Unreadable => {
            let why = "its secret is no base32, or was sealed with another oauth_secret_key: set that \
                key, or disable the second factor for the user to set up another one";
            core.log.line("a second factor cannot be read", user_id, why, |user, why, count| {
                tracing::error!(user, why, count, "a second factor cannot be read");
            });
        }
    }
    Some(core.refusal_with("invalid-2fa-code", "Invalid 2FA code"))
}

/// The name of an application.
pub(super) fn app_name(value: &Ejson) -> Result<String, Error> {
    match value {
        Ejson::String(name)
            if name.trim().len() <= NAME_BYTES_MAX && !name.contains(char::is_control) =>
        {
            Ok(name.trim().to_owned())
        }
        _ => Err(input::match_failed()),
    }
}

/// Whether codes can be made of this secret: base32 of at least one byte, in upper or lower case, with
/// spaces and hyphens anywhere.
#[must_use]
pub fn is_totp_secret(secret: &str) -> bool {
    totp::decode(secret).is_some()
}

/// The code that an app which was given this secret shows now, for tests that log in with a second
/// factor. `None` if it is no secret.
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
#[must_use]
pub fn totp_code(secret: &str) -> Option<String> {
    Some(totp::code(&totp::decode(secret)?, totp::step_at(now())))
}

/// The same, so many steps later.
#[cfg(all(test, feature = "testing"))]
pub(super) fn code_of(secret: &str, steps: u64) -> String {
    totp::code(&totp::decode(secret).expect("a secret"), totp::step_at(now()) + steps)
}
