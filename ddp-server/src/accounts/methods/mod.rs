//! The methods that Meteor's clients call.

mod password;
mod passwordless;
mod profile;
mod raw;
mod second_factor;
mod services;
mod session;

use super::handle::AccountsHandle;
use super::options::Options;
use crate::builder::PluginBuilder;

pub(super) fn define(
    plugin: PluginBuilder<AccountsHandle>,
    options: &Options,
) -> PluginBuilder<AccountsHandle> {
    let mut plugin = profile::define(plugin)
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
        .method("configureLoginService", services::configure_login_service);
    if options.sets_up_second_factor {
        plugin = plugin
            .method("generate2faActivationQrCode", second_factor::generate_2fa_activation_qr_code)
            .method("enableUser2fa", second_factor::enable_user_2fa)
            .method("disableUser2fa", second_factor::disable_user_2fa)
            .method("has2faEnabled", second_factor::has_2fa_enabled);
    }
    if options.is_passwordless {
        let request = passwordless::request_login_token_for_user;
        plugin = plugin.method("requestLoginTokenForUser", request);
    }
    plugin
}
