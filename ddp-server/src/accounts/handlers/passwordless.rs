//! `{selector, token, code?}`: a token that was mailed.

use crate::accounts::core::Core;
use crate::accounts::handler::{Login, LoginRequest};
use crate::accounts::input::{self, match_failed};
use crate::accounts::passwordless::{self, Sent};
use crate::ejson::Ejson;
use crate::error::Error;

/// A `token` without a `selector` is for a handler of the application.
pub(super) async fn handle(core: &Core, request: &LoginRequest) -> Result<Option<Login>, Error> {
    let has = |name| !request.options.get(name).is_none_or(input::is_falsy);
    if !core.options.is_passwordless || !has("token") || !has("selector") {
        return Ok(None);
    }
    let mut options = (*request.options).clone();
    let by = input::selector(options.shift_remove("selector").unwrap_or(Ejson::Null))?;
    let token = input::token(options.shift_remove("token").unwrap_or(Ejson::Null))?;
    let code = input::optional(&mut options, "code", input::token)?;
    if !options.is_empty() || token.len() > core.options.token_sequence_length {
        return Err(match_failed());
    }
    passwordless::log_in(core, Sent { by, token, code }, &request.fence).await.map(Some)
}
