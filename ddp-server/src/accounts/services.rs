//! Accounts with login services.

use super::builder::Accounts;
use super::hooks::hook;
use super::oauth::{ExternalLogin, OAuthService};
use crate::ejson::Object;
use crate::error::Error;

impl Accounts {
    /// Lets users log in by this service: see [`oauth`](crate::accounts::oauth). One of the same name
    /// replaces the last.
    #[must_use]
    pub fn oauth(mut self, service: OAuthService) -> Self {
        self.oauth.services.retain(|other| other.name() != service.name());
        self.oauth.services.push(service);
        self
    }

    /// Asks about each login by a service, before anything is stored: Meteor's `beforeExternalLogin`.
    /// With `false` the client gets `Login forbidden` (403). Without a [user](ExternalLogin::user) one
    /// would be created.
    ///
    /// # Panics
    /// If there is such a function already, as in Meteor.
    #[must_use]
    pub fn before_external_login<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(ExternalLogin) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        let before = self.oauth.hooks.before_external_login.replace(hook(function));
        assert!(before.is_none(), "before_external_login can be given once");
        self
    }

    /// Gives the options of each login by a service, in the place of
    /// [its own](ExternalLogin::options): Meteor's `onExternalLogin`. For a new user they go to
    /// [`on_create_user`](Self::on_create_user); for another a `profile` replaces the user's.
    ///
    /// # Panics
    /// If there is such a function already, as in Meteor.
    #[must_use]
    pub fn on_external_login<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(ExternalLogin) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Object, Error>> + Send + 'static,
    {
        let before = self.oauth.hooks.on_external_login.replace(hook(function));
        assert!(before.is_none(), "on_external_login can be given once");
        self
    }
}
