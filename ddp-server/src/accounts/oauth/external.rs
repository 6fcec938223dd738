//! What hooks see of a login by a service, and what they decide.

use std::fmt;
use std::sync::Arc;

use super::service::OAuthService;
use crate::accounts::hooks::Hook;
use crate::accounts::store::User;
use crate::ejson::Object;
use crate::error::Error;

/// A login by a service: the argument of Meteor's `beforeExternalLogin` and `onExternalLogin`. `Debug`
/// shows the service only.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExternalLogin {
    /// The service's name.
    pub service: Arc<str>,
    /// What the provider tells of the user, Meteor's `serviceData`, with `accessToken`, `refreshToken`
    /// and `idToken` if there are any. These three are not stored.
    pub data: Object,
    /// For a new user `{profile: {name}}`, else empty.
    pub options: Object,
    /// An address that the provider says to have verified.
    pub verified_email: Option<String>,
    /// The user who logs in; `None` if one will be created.
    pub user: Option<User>,
}

impl fmt::Debug for ExternalLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalLogin").field("service", &self.service).finish_non_exhaustive()
    }
}

/// What is configured of logins by services.
#[derive(Default)]
pub(in crate::accounts) struct Settings {
    pub(in crate::accounts) services: Vec<OAuthService>,
    pub(in crate::accounts) hooks: ExternalHooks,
}

/// The application's functions.
#[derive(Default)]
pub(in crate::accounts) struct ExternalHooks {
    pub(in crate::accounts) before_external_login: Option<Hook<ExternalLogin, Result<bool, Error>>>,
    pub(in crate::accounts) on_external_login: Option<Hook<ExternalLogin, Result<Object, Error>>>,
}
