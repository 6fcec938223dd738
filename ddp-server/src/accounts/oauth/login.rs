//! `{oauth: {credentialToken, credentialSecret}}`: the user whom a provider told of.

use std::sync::Arc;

use super::external::ExternalLogin;
use super::identity::{Identity, TOKENS};
use crate::accounts::core::{Core, now};
use crate::accounts::handler::{Login, LoginRequest};
use crate::accounts::input::{self, is_falsy, match_failed};
use crate::accounts::store::{Conflict, NewUser, Selector, Service, TokenGuard, User, WriteError};
use crate::ejson::{Ejson, Object};
use crate::error::Error;
use crate::random;
use crate::write_fence::WriteFence;

/// Meteor's code for a login that was given up, 0x8acdc2f.
const LOGIN_CANCELLED: i32 = 145_546_287;

/// How often a record is written anew that another login writes at the same time.
const WRITES_MAX: usize = 10;

/// Logs in, and says by which service.
pub(in crate::accounts) async fn handle(
    core: &Core,
    request: &LoginRequest,
) -> Option<(Arc<str>, Result<Login, Error>)> {
    let oauth = request.options.get("oauth").filter(|oauth| !is_falsy(oauth))?;
    let identity = match credential(core, oauth.clone()) {
        Ok(identity) => identity,
        Err(error) => return Some(("oauth".into(), Err(error))),
    };
    let service = Arc::clone(&identity.service);
    Some((service, Box::pin(log_in(core, identity)).await))
}

/// Takes the credential that the client names.
fn credential(core: &Core, oauth: Ejson) -> Result<Identity, Error> {
    let mut oauth = input::object(oauth)?;
    let token = input::token(oauth.shift_remove("credentialToken").unwrap_or(Ejson::Null))?;
    let secret = input::optional(&mut oauth, "credentialSecret", input::token)?;
    if !oauth.is_empty() {
        return Err(match_failed());
    }
    let found = core.oauth.take(&token, secret.as_deref());
    found.unwrap_or_else(|| Err(Error::client(LOGIN_CANCELLED, "No matching login attempt found")))
}

/// Meteor's `updateOrCreateUserFromExternalService`.
async fn log_in(core: &Core, identity: Identity) -> Result<Login, Error> {
    let Identity { service, id, data, options, verified_email } = identity;
    let known = core.store.find_user_by_service(&service, &id).await?;
    let user = match (known, &verified_email) {
        (None, Some(email)) if links(core, &service) => linked(core, email).await?,
        (known, _) => known,
    };
    let options = if user.is_some() { Object::new() } else { options };
    let mut login = ExternalLogin { service, data, options, verified_email, user };
    let hooks = &core.oauth.hooks;
    if let Some(before) = &hooks.before_external_login
        && !before(login.clone()).await?
    {
        let user = login.user.map(|user| user.id);
        return Ok(Login::refused(user, Error::client(403, "Login forbidden")));
    }
    if let Some(on) = &hooks.on_external_login {
        login.options = on(login.clone()).await?;
    }
    for name in TOKENS {
        login.data.shift_remove(name);
    }
    login.data.shift_remove("id");
    let record = Service { service_id: Some(id), data: login.data.clone() };
    let user = match login.user.take() {
        Some(user) => update(core, user, &login, &record).await?,
        None => create(core, &mut login, record).await?,
    };
    Ok(Login::known(user, TokenGuard::Active))
}

fn links(core: &Core, service: &str) -> bool {
    core.oauth.service(service).is_some_and(super::service::OAuthService::links)
}

/// The user who has shown to receive mail at this address, exactly as it is written.
async fn linked(core: &Core, email: &str) -> Result<Option<User>, Error> {
    if !input::is_address(email) {
        return Ok(None);
    }
    let found = core.store.find_login_user(&Selector::Email(email.to_owned())).await?;
    let is_verified = |user: &User| {
        user.emails.iter().any(|own| own.verified && own.address.eq_ignore_ascii_case(email))
    };
    let Some(found) = found.filter(|found| is_verified(&found.user)) else { return Ok(None) };
    if found.has_2fa {
        // Whoever reads the mail of a user does not get past the second factor by it.
        let why = "This address is that of a user with a second factor: log in as that user first";
        return Err(core.refusal_with("2fa-enabled", why));
    }
    Ok(Some(found.user))
}

/// Sets what the service tells anew, and leaves the rest of its record.
async fn update(
    core: &Core,
    user: User,
    login: &ExternalLogin,
    record: &Service,
) -> Result<User, Error> {
    let service = &*login.service;
    for _ in 0..WRITES_MAX {
        let (mut new, version) = match core.store.find_service(&user.id, service).await? {
            Some((old, version)) => (old, version),
            None => (Service { service_id: None, data: Object::new() }, 0),
        };
        let is_other =
            new.service_id.as_ref().is_some_and(|id| Some(id) != record.service_id.as_ref());
        if is_other {
            // A user found by an address, who has another account there.
            return Err(core.conflict(WriteError::Conflict(Conflict::Service)));
        }
        new.service_id.clone_from(&record.service_id);
        new.data.extend(record.data.clone());
        let put = core.store.put_service(&user.id, service, version, Some(&new)).await;
        if put.map_err(|error| core.conflict(error))? {
            if let Some(Ejson::Object(profile)) = login.options.get("profile") {
                let fence = WriteFence::detached();
                core.store.set_profile(&user.id, Some(profile), &fence).await?;
            }
            return Ok(user);
        }
    }
    Err(Error::client(409, "The user is changed by others at the moment. Please try again."))
}

/// Creates the user, unless another login has just done so.
async fn create(core: &Core, login: &mut ExternalLogin, record: Service) -> Result<User, Error> {
    let user = User { created_at: Some(now()), ..User::new(random::id()) };
    let service = login.service.to_string();
    let mut services = Object::new();
    services.insert(service.clone(), Ejson::Object(login.data.clone()));
    let user = core.complete(user, std::mem::take(&mut login.options), services).await?;
    if let Some(restriction) = &core.options.restriction {
        restriction.check(&user, login.verified_email.as_deref())?;
    }
    core.hooks.validate_user(&user).await?;
    let new = NewUser { user, password: None, services: vec![(service, record.clone())] };
    match core.store.create_user(&new, &WriteFence::detached()).await {
        Ok(()) => Ok(new.user),
        Err(WriteError::Conflict(Conflict::Service)) => {
            let id = record.service_id.as_deref().unwrap_or_default();
            let user = core.store.find_user_by_service(&login.service, id).await?;
            let user = user.ok_or_else(|| core.refusal("User not found"))?;
            update(core, user, login, &record).await
        }
        Err(error) => Err(core.conflict(error)),
    }
}
