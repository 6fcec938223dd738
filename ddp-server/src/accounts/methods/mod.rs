//! The methods that Meteor's clients call.

mod password;
mod session;

use super::handle::AccountsHandle;
use crate::builder::PluginBuilder;
use crate::ejson::{Ejson, RawParams};
use crate::error::Error;
use crate::extract::FromContext;
use crate::handler::method::MethodContext;
use crate::signature::Signature;

/// The arguments as the client sent them.
struct Raw(RawParams);

impl<S: Sync> FromContext<MethodContext, S> for Raw {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(Self(context.params.clone()))
    }

    fn describe(signature: &mut Signature) {
        signature.takes::<Vec<Ejson>>();
    }
}

pub(super) fn define(plugin: PluginBuilder<AccountsHandle>) -> PluginBuilder<AccountsHandle> {
    plugin
        .method("login", session::login)
        .method("logout", session::logout)
        .method("getNewToken", session::get_new_token)
        .method("removeOtherTokens", session::remove_other_tokens)
        .method("logoutOtherClients", session::logout_other_clients)
        .method("logoutAllClients", session::logout_all_clients)
        .method("createUser", password::create_user)
        .method("changePassword", password::change_password)
        .method("forgotPassword", password::forgot_password)
        .method("resetPassword", password::reset_password)
        .method("verifyEmail", password::verify_email)
}
