//! What clients see of users and login services.

use std::sync::Arc;

use super::handle::AccountsHandle;
use crate::builder::PluginBuilder;
use crate::ejson::Ejson;
use crate::extract::{State, UserId};
use crate::live_query::{AnyCursor, Cursor};

pub(super) fn define(plugin: PluginBuilder<AccountsHandle>) -> PluginBuilder<AccountsHandle> {
    plugin.publish_universal(own_user).publish("meteor.loginServiceConfiguration", login_services)
}

/// The own user's document, which is there even without a field to show: Meteor's clients wait for it.
async fn own_user(
    State(accounts): State<AccountsHandle>,
    user: Option<UserId>,
) -> Option<Vec<AnyCursor>> {
    let core = Arc::clone(&accounts.core);
    user.map(|user| vec![core.store.users(&user, &core.options.fields)])
}

async fn login_services(State(accounts): State<AccountsHandle>) -> Cursor<Ejson> {
    accounts.core.services.find()
}
