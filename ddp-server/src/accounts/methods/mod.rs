//! The methods that Meteor's clients call.

mod password;
mod profile;
mod raw;
mod session;

use super::handle::AccountsHandle;
use crate::builder::PluginBuilder;

pub(super) fn define(plugin: PluginBuilder<AccountsHandle>) -> PluginBuilder<AccountsHandle> {
    profile::define(plugin)
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
