//! Logging in and out, and the tokens of those who are.

use super::raw::Raw;
use crate::accounts::attempt::Logout;
use crate::accounts::core::Core;
use crate::accounts::handle::AccountsHandle;
use crate::accounts::handler::LoginRequest;
use crate::accounts::handlers;
use crate::accounts::held::Held;
use crate::accounts::input;
use crate::accounts::login::{Call, connection_of};
use crate::accounts::store::{LoginToken, Selector, TokenGuard, Tokens};
use crate::accounts::token::Token;
use crate::ejson::Ejson;
use crate::error::Error;
use crate::extract::{Invocation, State};

pub(super) async fn login(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<Ejson, Error> {
    let core = &*accounts.core;
    let [options] = input::arguments(&arguments, input::ARGUMENTS_BYTES_MAX)?;
    let options = input::object(options)?;
    let request = LoginRequest::new(options, &invocation, core.options.ambiguous_error_messages);
    let (kind, found) = Box::pin(handlers::run(core, &request)).await;
    let call = Call { invocation: &invocation, name: "login", arguments: &arguments };
    Box::pin(core.end_attempt(call, kind, found)).await
}

pub(super) async fn logout(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
) -> Result<(), Error> {
    let core = &*accounts.core;
    let connection = connection_of(&invocation)?;
    connection.forget_cookies();
    let held = core.held.take(connection);
    let removed = match held {
        Some(Held { hash, user_id, .. }) => {
            core.store.remove_login_tokens(&user_id, &Tokens::One(hash)).await
        }
        None => Ok(0),
    };
    // Whatever became of the token, this connection is logged out.
    log_out(core, &invocation).await?;
    removed.map(drop)
}

/// Tells the hooks, and takes the user from the connection.
async fn log_out(core: &Core, invocation: &Invocation) -> Result<(), Error> {
    let user = match invocation.user_id() {
        Some(id) if !core.hooks.on_logout.is_empty() => {
            core.store.find_user(&Selector::Id(id.into())).await.unwrap_or_default()
        }
        _ => None,
    };
    core.hooks.logout(Logout { user, connection: invocation.connection().cloned() }).await;
    invocation.set_user_id(None).await
}

/// Meteor gives a text as the code here, and no reason.
fn not_logged_in() -> Error {
    Error::client("You are not logged in.", "")
}

/// The token that the connection of a user holds. A connection that was logged in without one, by a
/// method of the application, has none.
fn held(core: &Core, invocation: &Invocation) -> Result<Held, Error> {
    let user = invocation.user_id().ok_or_else(not_logged_in)?;
    let held = core.held.of(connection_of(invocation)?);
    let held = held.filter(|held| *held.user_id == *user).ok_or_else(invalid_token)?;
    held.check_own()?;
    Ok(held)
}

fn invalid_token() -> Error {
    Error::client("Invalid login token", "")
}

/// Gives the connection a new token that ends when the old one does. The old one stays.
async fn renew(core: &Core, invocation: &Invocation) -> Result<(Held, Token, LoginToken), Error> {
    let old = held(core, invocation)?;
    let found = core.store.find_login_token(&old.hash).await?;
    let (_, stored) = found.ok_or_else(invalid_token)?;
    let token = Token::random();
    let new = LoginToken { hash: token.hash(), ..stored };
    let guard = TokenGuard::Token(old.hash.clone());
    let connection = connection_of(invocation)?;
    if !core.add_token(connection, &old.user_id, &new, &guard).await? {
        return Err(invalid_token());
    }
    Ok((old, token, new))
}

pub(super) async fn get_new_token(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
) -> Result<Ejson, Error> {
    let (held, token, stored) = renew(&accounts.core, &invocation).await?;
    Ok(Ejson::Object(accounts.core.token_result(&held.user_id, token, &stored)))
}

pub(super) async fn remove_other_tokens(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
) -> Result<(), Error> {
    let core = &*accounts.core;
    let Held { hash, user_id, .. } = held(core, &invocation)?;
    core.store.remove_login_tokens(&user_id, &Tokens::AllBut(hash)).await?;
    Ok(())
}

/// What Meteor's clients of old do by one call, and newer ones by `getNewToken` and
/// `removeOtherTokens`.
pub(super) async fn logout_other_clients(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
) -> Result<Ejson, Error> {
    let core = &*accounts.core;
    let (held, token, stored) = renew(core, &invocation).await?;
    let others = Tokens::AllBut(stored.hash.clone());
    core.store.remove_login_tokens(&held.user_id, &others).await?;
    let mut result = core.token_result(&held.user_id, token, &stored);
    result.shift_remove("id");
    Ok(Ejson::Object(result))
}

pub(super) async fn logout_all_clients(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
) -> Result<(), Error> {
    let core = &*accounts.core;
    let user = invocation.user_id().ok_or_else(not_logged_in)?;
    if let Some(held) = core.held.of(connection_of(&invocation)?) {
        held.check_own()?;
    }
    // So that this connection stays to get its result.
    core.held.take(connection_of(&invocation)?);
    let removed = core.store.remove_login_tokens(&user, &Tokens::All).await;
    log_out(core, &invocation).await?;
    removed.map(drop)
}
