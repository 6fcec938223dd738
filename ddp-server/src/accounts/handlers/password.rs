//! `{user, password}`: a password, or its digest.

use crate::accounts::core::Core;
use crate::accounts::delays::Target;
use crate::accounts::handler::{Login, LoginRequest};
use crate::accounts::input::{self, Password, match_failed};
use crate::accounts::password::Verdict;
use crate::accounts::second_factor;
use crate::accounts::store::{LoginUser, PasswordHash, Selector, TokenGuard, User};
use crate::ejson::Ejson;
use crate::error::Error;
use crate::extract::Connection;

/// What a client is told whose digest cannot be compared with what another system has stored.
const NEEDS_PLAIN: &str = "This password was set by another system: log in once with a client that \
    sends the password itself over TLS, or reset the password";

pub(super) async fn handle(core: &Core, request: &LoginRequest) -> Result<Option<Login>, Error> {
    if request.options.get("password").is_none_or(input::is_falsy) {
        return Ok(None);
    }
    let mut options = (*request.options).clone();
    let user = input::selector(options.shift_remove("user").unwrap_or(Ejson::Null))?;
    let password = input::password(options.shift_remove("password").unwrap_or(Ejson::Null))?;
    let code = input::optional(&mut options, "code", input::token)?;
    if !options.is_empty() {
        return Err(match_failed());
    }
    Core::check_secure(&password, request.connection.as_ref())?;
    let (found, checked) =
        find_and_check(core, &user, password, request.connection.as_ref()).await?;
    let (hash, found) = match (checked, found) {
        (PasswordCheck::Right(hash), Some(found)) => (hash, found),
        (PasswordCheck::Wrong(error), found) => {
            return Ok(Some(Login::failed(found.map(|found| found.user), error)));
        }
        (PasswordCheck::Right(_), None) => {
            return Ok(Some(Login::failed(None, core.refusal("User not found"))));
        }
    };
    let refused = second_factor::refuses(core, &found, code.as_deref()).await?;
    Ok(Some(match refused {
        Some(error) => Login::failed(Some(found.user), error),
        None => Login::known(found.user, TokenGuard::Password(hash)),
    }))
}

const UNREADABLE: &str = "what is stored has no form that is known, or asks for too much work: have \
    the user reset the password";

/// Whether a password was right.
pub(in crate::accounts) enum PasswordCheck {
    /// It was; this is stored for it now.
    Right(PasswordHash),
    Wrong(Error),
}

/// Finds a user, who may not exist, and compares a password with that of the user: it takes as long.
/// What is stored in an old form is replaced.
pub(in crate::accounts) async fn find_and_check(
    core: &Core,
    by: &Selector,
    password: Password,
    connection: Option<&Connection>,
) -> Result<(Option<LoginUser>, PasswordCheck), Error> {
    // By what was sent, whoever that is, so that waiting tells nothing. Nothing is held meanwhile.
    let target = core.delays.target(by);
    core.delays.wait(target).await;
    let found = core.store.find_login_user(by).await?;
    let checked = check(core, target, found.as_ref(), (password, connection)).await?;
    Ok((found, checked))
}

async fn check(
    core: &Core,
    target: Target,
    found: Option<&LoginUser>,
    (password, connection): (Password, Option<&Connection>),
) -> Result<PasswordCheck, Error> {
    let stored = found.and_then(|found| found.password.as_ref());
    let verdict = core.passwords.check(stored, password.clone(), connection).await?;
    let wrong = |reason: &str| {
        core.delays.failed(target);
        Ok(PasswordCheck::Wrong(core.refusal(reason)))
    };
    let (Some(LoginUser { user, .. }), Some(stored)) = (found, stored) else {
        let is_known = found.is_some();
        return wrong(if is_known { "User has no password set" } else { "User not found" });
    };
    let hash = match verdict {
        Verdict::Wrong => return wrong("Incorrect password"),
        Verdict::NeedsPlain => {
            warn(core, user, NEEDS_PLAIN);
            return wrong(NEEDS_PLAIN);
        }
        Verdict::Unreadable => {
            warn(core, user, UNREADABLE);
            return wrong("Incorrect password");
        }
        Verdict::Right(None) => stored.clone(),
        Verdict::Right(Some(new)) => {
            match replace(core, user, (stored, new), (password, connection)).await? {
                Some(hash) => hash,
                None => return wrong("Incorrect password"),
            }
        }
    };
    core.delays.passed(target);
    Ok(PasswordCheck::Right(hash))
}

/// Stores a right password in its new form, and says what is stored now: another login may have done
/// the same, or have changed the password.
async fn replace(
    core: &Core,
    user: &User,
    (old, new): (&PasswordHash, PasswordHash),
    (password, connection): (Password, Option<&Connection>),
) -> Result<Option<PasswordHash>, Error> {
    if core.store.rehash_password(&user.id, old, &new).await? {
        return Ok(Some(new));
    }
    let found = core.store.find_login_user(&Selector::Id(user.id.clone())).await?;
    let Some(stored) = found.and_then(|found| found.password) else { return Ok(None) };
    let verdict = core.passwords.check(Some(&stored), password, connection).await?;
    Ok(matches!(verdict, Verdict::Right(_)).then_some(stored))
}

/// Says in the log why a user cannot log in, which clients may cause as often as they like.
fn warn(core: &Core, user: &User, why: &str) {
    core.log.line("a password cannot be compared", &user.id, why, |user, why, count| {
        tracing::warn!(user, why, count, "a password cannot be compared");
    });
}
