//! `{jwt: token}`: a token of another backend.

use serde_json::{Map, Value};

use crate::accounts::core::Core;
use crate::accounts::handler::{Login, LoginRequest};
use crate::accounts::input::is_falsy;
use crate::accounts::input::match_failed;
use crate::accounts::jwt::{Jwt, Verified};
use crate::accounts::store::{Conflict, TokenGuard, User, WriteError};
use crate::ejson::{self, Ejson, Object};
use crate::error::Error;

pub(super) async fn handle(core: &Core, request: &LoginRequest) -> Result<Option<Login>, Error> {
    let value = request.options.get("jwt").filter(|value| !is_falsy(value));
    let Some(value) = value.filter(|_| !core.jwts.is_empty()) else { return Ok(None) };
    let token = value.as_str().filter(|_| request.options.len() == 1).ok_or_else(match_failed)?;
    let mut refusal = None;
    for jwt in &core.jwts {
        match jwt.verify(token).await {
            Ok(verified) => return log_in(core, jwt, verified).await.map(Some),
            Err(why) => refusal = refusal.max(Some(why)),
        }
    }
    Err(Error::client(403, refusal.map_or_else(String::new, |why| why.to_string())))
}

async fn log_in(core: &Core, jwt: &Jwt, verified: Verified) -> Result<Login, Error> {
    let Verified { user_id, expires, claims } = verified;
    let Some(service) = jwt.service_name() else {
        return Ok(Login::user(user_id).expires(expires));
    };
    let user = match core.store.find_user_by_service(service, &user_id).await? {
        Some(user) => user,
        None if jwt.creates_users() => create(core, service, user_id, claims).await?,
        None => return Err(core.refusal("User not found")),
    };
    Ok(Login::known(user, TokenGuard::Active).expires(expires))
}

async fn create(
    core: &Core,
    service: &str,
    user_id: String,
    claims: Map<String, Value>,
) -> Result<User, Error> {
    match core.create_service_user(service, user_id.clone(), options(claims)?).await {
        // The same user logs in twice at the same time.
        Err(WriteError::Conflict(Conflict::Service)) => {
            let found = core.store.find_user_by_service(service, &user_id).await?;
            found.ok_or_else(|| core.conflict(Conflict::Service.into()))
        }
        created => created.map_err(|error| core.conflict(error)),
    }
}

/// What `on_create_user` is given: `{claims, profile: {name}}`.
fn options(claims: Map<String, Value>) -> Result<Object, Error> {
    let name = claims.get("name").and_then(Value::as_str).map(str::to_owned);
    let claims = ejson::parse(&Value::Object(claims).to_string())?;
    let profile = name.map(|name| ("profile".to_owned(), Ejson::object([("name", name)])));
    Ok([("claims".to_owned(), claims)].into_iter().chain(profile).collect())
}
