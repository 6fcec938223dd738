//! Creating users, and changing, resetting and verifying.

use std::sync::Arc;

use super::raw::Raw;
use crate::accounts::core::{Core, ago};
use crate::accounts::create::Wanted;
use crate::accounts::handle::AccountsHandle;
use crate::accounts::handler::Login;
use crate::accounts::handlers::{PasswordCheck, find_and_check};
use crate::accounts::held::Held;
use crate::accounts::input::{self, ARGUMENTS_BYTES_MAX};
use crate::accounts::login::{Call, connection_of};
use crate::accounts::passwordless;
use crate::accounts::store::{
    LoginUser, NewUser, OneTimeToken, PasswordChange, Purpose, Selector, TokenGuard, Tokens,
};
use crate::accounts::token::Token;
use crate::ejson::{Ejson, RawParams};
use crate::error::Error;
use crate::extract::{Invocation, State};

/// Ends an attempt of this service.
async fn end(
    core: &Core,
    invocation: &Invocation,
    name: &'static str,
    arguments: &RawParams,
    found: Result<Login, Error>,
) -> Result<Ejson, Error> {
    let call = Call { invocation, name, arguments };
    Box::pin(core.end_attempt(call, "password".into(), found)).await
}

pub(super) async fn create_user(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<Ejson, Error> {
    let created = Box::pin(create(&accounts, &invocation, &arguments)).await;
    end(&accounts.core, &invocation, "createUser", &arguments, created).await
}

async fn create(
    accounts: &AccountsHandle,
    invocation: &Invocation,
    arguments: &RawParams,
) -> Result<Login, Error> {
    let core = &accounts.core;
    if core.options.forbid_client_account_creation {
        return Err(Error::client(403, "Signups forbidden"));
    }
    // All that a stranger can have stored, and read again at each login.
    let [options] = input::arguments(arguments, input::CREATION_BYTES_MAX)?;
    let wanted = Wanted::read(options)?;
    if let Some(password) = &wanted.password {
        Core::check_secure(password, invocation.connection())?;
    }
    let NewUser { user, password, .. } =
        core.create_user(wanted, invocation.connection(), invocation.fence()).await?;
    let address = user.emails.first().map(|email| email.address.clone());
    if let Some(address) = address.filter(|_| core.options.send_verification_email) {
        core.mail_behind(Core::welcome(password.is_some()), user.clone(), address);
    }
    let guard = password.map_or(TokenGuard::Active, TokenGuard::Password);
    Ok(Login::known(user, guard))
}

pub(super) async fn change_password(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<Ejson, Error> {
    let core = &*accounts.core;
    let [old, new] = input::arguments(&arguments, ARGUMENTS_BYTES_MAX)?;
    let (old, new) = (input::password(old)?, input::new_password(new)?);
    let user = invocation.user_id().ok_or_else(|| Error::client(401, "Must be logged in"))?;
    let held = core.held.of(connection_of(&invocation)?);
    held.as_ref().map_or(Ok(()), Held::check_own)?;
    for password in [&old, &new] {
        Core::check_secure(password, invocation.connection())?;
    }
    let by = Selector::Id(user.as_str().to_owned());
    let (_, checked) = Box::pin(find_and_check(core, &by, old, invocation.connection())).await?;
    let only_if = match checked {
        PasswordCheck::Right(hash) => Some(hash),
        PasswordCheck::Wrong(error) => return Err(error),
    };
    let hash = core.passwords.hash(new, invocation.connection()).await?;
    let held = core.held.of(connection_of(&invocation)?);
    passwordless::forget(core, &user).await?;
    let ends = match held.filter(|held| *held.user_id == *user) {
        Some(held) => Tokens::AllBut(held.hash),
        None => Tokens::All,
    };
    let change = PasswordChange { hash, only_if, ends };
    if !core.store.set_password(&user, &change).await? {
        // Somebody else has changed it meanwhile.
        return Err(core.refusal("Incorrect password"));
    }
    Ok(Ejson::object([("passwordChanged", true)]))
}

pub(super) async fn forgot_password(
    State(accounts): State<AccountsHandle>,
    Raw(arguments): Raw,
) -> Result<(), Error> {
    let core = &accounts.core;
    let [options] = input::arguments(&arguments, ARGUMENTS_BYTES_MAX)?;
    let mut options = input::object(options)?;
    let address = input::address(options.shift_remove("email").unwrap_or(Ejson::Null))?;
    if !options.is_empty() {
        return Err(input::match_failed());
    }
    if core.options.ambiguous_error_messages {
        // Neither the answer nor its time tells whether there is such a user.
        let core_behind = Arc::clone(core);
        core.mails.behind("reset", &core.log, async move {
            mail_reset(&core_behind, &address).await.map(drop)
        });
        return Ok(());
    }
    if mail_reset(core, &address).await? { Ok(()) } else { Err(core.refusal("User not found")) }
}

/// Mails a token to the stored spelling of an address. False if nobody has it.
async fn mail_reset(core: &Core, address: &str) -> Result<bool, Error> {
    let found = core.store.find_user(&Selector::Email(address.to_owned())).await?;
    let Some(user) = found.filter(|user| user.is_active) else { return Ok(false) };
    core.mail_token(Purpose::Reset, user, Some(address)).await?;
    Ok(true)
}

pub(super) async fn reset_password(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<Ejson, Error> {
    let core = &*accounts.core;
    let connection = connection_of(&invocation)?;
    let before = core.held.of(connection);
    let found = Box::pin(reset(core, &invocation, &arguments)).await;
    let ended = end(core, &invocation, "resetPassword", &arguments, found).await;
    if ended.is_err() && before.is_some() && core.held.of(connection).is_none() {
        // Its token went with the old password, and nothing has taken its place.
        connection.close();
    }
    ended
}

async fn reset(
    core: &Core,
    invocation: &Invocation,
    arguments: &RawParams,
) -> Result<Login, Error> {
    let [token, password] = input::arguments(arguments, ARGUMENTS_BYTES_MAX)?;
    let (token, password) = (input::token(token)?, input::new_password(password)?);
    Core::check_secure(&password, invocation.connection())?;
    let token = Token::sent(token).hash();
    let expired = || Error::client(403, "Token expired");
    let stored = core.store.find_one_time_token(&token).await?;
    let stored = stored.filter(|stored| is_fresh(core, stored)).ok_or_else(expired)?;
    let LoginUser { user, has_2fa, .. } = user_of(core, &stored).await?.ok_or_else(expired)?;
    if !user.emails.iter().any(|email| email.address == stored.address) {
        return Ok(Login::failed(
            Some(user),
            Error::client(403, "Token has invalid email address"),
        ));
    }
    let hash = core.passwords.hash(password, invocation.connection()).await?;
    passwordless::forget(core, &user.id).await?;
    if core.store.take_one_time_token(&token).await?.is_none() {
        return Err(expired());
    }
    let connection = connection_of(invocation)?;
    if core.held.of(connection).is_some_and(|held| *held.user_id == *user.id) {
        // All tokens go, and this connection gets another one.
        core.held.take(connection);
    }
    let change = PasswordChange { hash: hash.clone(), only_if: None, ends: Tokens::All };
    if !core.store.set_password(&user.id, &change).await? {
        return Err(expired());
    }
    if !core.store.verify_email(&user.id, &stored.address, invocation.fence()).await? {
        return Ok(Login::failed(Some(user), Error::client(403, "Invalid email")));
    }
    if has_2fa {
        let reason = "Changed password, but user not logged in because 2FA is enabled";
        return Ok(Login::failed(Some(user), core.refusal_with("2fa-enabled", reason)));
    }
    Ok(Login::known(user, TokenGuard::Password(hash)))
}

/// Whether a token is for passwords, and not too old.
fn is_fresh(core: &Core, token: &OneTimeToken) -> bool {
    let lifetime = match token.purpose {
        Purpose::Reset => core.options.password_reset_token_expiration,
        Purpose::Enroll => core.options.password_enroll_token_expiration,
        Purpose::Verify => return false,
    };
    token.when > ago(lifetime)
}

async fn user_of(core: &Core, token: &OneTimeToken) -> Result<Option<LoginUser>, Error> {
    core.store.find_login_user(&Selector::Id(token.user_id.clone())).await
}

pub(super) async fn verify_email(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<Ejson, Error> {
    let core = &*accounts.core;
    let found = Box::pin(verify(core, &invocation, &arguments)).await;
    end(core, &invocation, "verifyEmail", &arguments, found).await
}

async fn verify(
    core: &Core,
    invocation: &Invocation,
    arguments: &RawParams,
) -> Result<Login, Error> {
    let [token] = input::arguments(arguments, ARGUMENTS_BYTES_MAX)?;
    let token = Token::sent(input::token(token)?).hash();
    let expired = || Error::client(403, "Verify email link expired");
    let stored = core.store.find_one_time_token(&token).await?;
    let oldest = ago(core.options.password_enroll_token_expiration);
    let is_good = |stored: &OneTimeToken| stored.purpose == Purpose::Verify && stored.when > oldest;
    let stored = stored.filter(is_good).ok_or_else(expired)?;
    let LoginUser { user, has_2fa, .. } = user_of(core, &stored).await?.ok_or_else(expired)?;
    let taken = core.store.take_one_time_token(&token).await?.ok_or_else(expired)?;
    if !core.store.verify_email(&user.id, &taken.address, invocation.fence()).await? {
        let error = Error::client(403, "Verify email link is for unknown address");
        return Ok(Login::failed(Some(user), error));
    }
    if has_2fa {
        let reason = "Email verified, but user not logged in because 2FA is enabled";
        return Ok(Login::failed(Some(user), core.refusal_with("2fa-enabled", reason)));
    }
    // The user as it is now, with its address verified.
    Ok(Login::user(user.id))
}
