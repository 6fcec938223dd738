//! `{resume: token}`: a client that was logged in before.

use crate::accounts::core::{Core, now, session_expired};
use crate::accounts::handler::{Login, LoginRequest, Resumed};
use crate::accounts::input;
use crate::accounts::token::Token;
use crate::error::Error;

pub(super) async fn handle(core: &Core, request: &LoginRequest) -> Result<Option<Login>, Error> {
    let Some(value) = request.options.get("resume").filter(|value| !input::is_falsy(value)) else {
        return Ok(None);
    };
    let token = Token::sent(input::token(value.clone())?);
    let hash = token.hash();
    let logged_out =
        || Error::client(403, "You've been logged out by the server. Please log in again.");
    let Some(connection) = &request.connection else { return Err(logged_out()) };
    // Before the token is looked up, so that a revocation meanwhile finds the connection.
    let pending = core.held.begin(connection, &hash);
    let Some((user, stored)) = core.store.find_login_token(&hash).await? else {
        return Err(logged_out());
    };
    if core.token_expires(&stored) <= now() {
        return Ok(Some(Login::failed(Some(user), session_expired())));
    }
    Ok(Some(Login::resumed(user, Resumed { token, stored, pending })))
}
