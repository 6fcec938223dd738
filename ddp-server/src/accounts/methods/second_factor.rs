//! Setting up a second factor: the methods of Meteor's `accounts-2fa`.

use super::raw::Raw;
use crate::accounts::core::Core;
use crate::accounts::handle::AccountsHandle;
use crate::accounts::input::{self, ARGUMENTS_BYTES_MAX};
use crate::accounts::second_factor;
use crate::accounts::store::{Selector, User};
use crate::ejson::Ejson;
use crate::error::Error;
use crate::extract::{Invocation, State};

/// The user of the connection.
async fn user_of(core: &Core, invocation: &Invocation) -> Result<Option<User>, Error> {
    let Some(id) = invocation.user_id() else { return Ok(None) };
    core.store.find_user(&Selector::Id(id.into())).await
}

/// Whether the user of the connection is who is there.
fn check_own(core: &Core, invocation: &Invocation) -> Result<(), Error> {
    let held = invocation.connection().and_then(|connection| core.held.of(connection));
    held.map_or(Ok(()), |held| held.check_own())
}

fn nobody() -> Error {
    Error::client(400, "No user logged in.")
}

/// `{svg, secret, uri}`. The secret is stored, and waits for its first code.
pub(super) async fn generate_2fa_activation_qr_code(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<Ejson, Error> {
    let core = &accounts.core;
    check_own(core, &invocation)?;
    let [app] = input::arguments(&arguments, ARGUMENTS_BYTES_MAX)?;
    let app = second_factor::app_name(&app)?;
    let user = user_of(core, &invocation).await?.ok_or_else(|| {
        Error::client(400, "There must be a user logged in to generate the QR code.")
    })?;
    let activation = second_factor::generate(core, &user, &app).await?.ok_or_else(|| {
        let reason = "The 2FA is activated. You need to disable the 2FA first before trying to \
            generate a new activation code.";
        Error::client("2fa-activated", reason)
    })?;
    let second_factor::Activation { svg, secret, uri } = activation;
    Ok(Ejson::object([("svg", svg), ("secret", secret), ("uri", uri)]))
}

/// `{recoveryCodes}`, which Meteor does not have, and whose clients do not look at it.
pub(super) async fn enable_user_2fa(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<Ejson, Error> {
    let core = &accounts.core;
    check_own(core, &invocation)?;
    let [code] = input::arguments(&arguments, ARGUMENTS_BYTES_MAX)?;
    let code = input::token(code)?;
    let user = invocation.user_id().ok_or_else(nobody)?;
    let codes = second_factor::enable(core, &user, &code).await?.ok_or_else(|| {
        let reason = "The user does not have a secret generated. You may have to call the function \
            generateSvgCode first.";
        Error::client(500, reason)
    })??;
    Ok(Ejson::object([("recoveryCodes", Ejson::array(codes))]))
}

pub(super) async fn disable_user_2fa(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
) -> Result<(), Error> {
    check_own(&accounts.core, &invocation)?;
    let user = invocation.user_id().ok_or_else(nobody)?;
    second_factor::disable(&accounts.core, &user).await.map(drop)
}

/// About the own user only: what a client of old asks about others is not looked at.
pub(super) async fn has_2fa_enabled(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
) -> Result<bool, Error> {
    let nobody = || Error::client("no-logged-user", "No user logged in.");
    let user = invocation.user_id().ok_or_else(nobody)?;
    second_factor::is_enabled(&accounts.core, &user).await
}
