//! Accounts as a plugin of a server.

use std::sync::Arc;
use std::time::Duration;

use super::builder::Accounts;
use super::handle::AccountsHandle;
use super::{http, methods, publications};
use crate::builder::{Plugged, Plugin, PluginBuilder};
use crate::rate_limit::{Kind, Rule};

/// The methods that Meteor's default rule limits, each by itself.
const LIMITED: [&str; 7] = [
    "login",
    "createUser",
    "resetPassword",
    "forgotPassword",
    "requestLoginTokenForUser",
    // Not in Meteor: a picture is made, and a code may be tried.
    "generate2faActivationQrCode",
    "enableUser2fa",
];

impl Plugin for Accounts {
    type State = AccountsHandle;

    fn define(self, plugin: PluginBuilder<AccountsHandle>) -> Plugged {
        self.build().define(plugin)
    }
}

impl Plugin for AccountsHandle {
    type State = Self;

    fn define(self, plugin: PluginBuilder<Self>) -> Plugged {
        let mut plugin = publications::define(methods::define(plugin, &self.core.options));
        if self.core.options.limits_rates {
            plugin = plugin.rate_limit(
                Rule::new(5, Duration::from_secs(10))
                    .kind(Kind::Method)
                    .name_where(|name| LIMITED.contains(&name))
                    .per_connection(),
            );
        }
        #[cfg(feature = "oauth")]
        {
            plugin = plugin.routes(super::oauth::router(&self.core));
        }
        if self.core.cookies.is_some() {
            plugin = plugin.routes(http::routes(self.clone()));
        }
        for cookie in self.core.handlers.iter().filter_map(|handler| handler.cookie.as_deref()) {
            plugin = plugin.keep_cookie(cookie);
        }
        let core = Arc::clone(&self.core);
        plugin
            .on_connection(move |connection| {
                core.begin_tasks();
                core.held.open(connection);
                let (held, id) = (Arc::clone(&core.held), connection.id().to_owned());
                connection.on_close(move || held.close(&id));
            })
            .with_state(self)
    }
}
