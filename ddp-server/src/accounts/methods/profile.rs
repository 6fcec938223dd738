//! What Meteor's `Meteor.users.update`, `insert` and `remove` call on a client.

use std::future::ready;

use super::raw::Raw;
use crate::accounts::handle::AccountsHandle;
use crate::accounts::input;
use crate::accounts::modifier::Change;
use crate::accounts::store::Selector;
use crate::builder::PluginBuilder;
use crate::ejson::{self, Ejson, Object};
use crate::error::Error;
use crate::extract::{Invocation, State};

/// The most bytes of a profile that a client has changed, as EJSON.
const PROFILE_BYTES_MAX: usize = input::CREATION_BYTES_MAX;

/// How often a change is tried that another one has come before.
const TRIES: usize = 20;

pub(super) fn define(mut plugin: PluginBuilder<AccountsHandle>) -> PluginBuilder<AccountsHandle> {
    for suffix in ["", "Async"] {
        plugin = plugin.method(format!("/users/update{suffix}"), update);
        for verb in ["insert", "remove"] {
            let why = format!(
                "Access denied. No allow validators set on restricted collection for method '{verb}'."
            );
            plugin = plugin.method(format!("/users/{verb}{suffix}"), move || {
                ready(Err::<(), _>(Error::client(403, why.clone())))
            });
        }
    }
    plugin
}

fn denied() -> Error {
    Error::client(403, "Access denied")
}

/// `[{_id}, modifier, options]` → how many documents were changed.
async fn update(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<u32, Error> {
    let [selector, modifier, options] = input::arguments(&arguments, input::CREATION_BYTES_MAX)?;
    let Some(id) = id_of(&selector) else {
        return Err(Error::client(
            403,
            "Not permitted. Untrusted code may only update documents by ID.",
        ));
    };
    if options.get("upsert").and_then(Ejson::as_bool) == Some(true) {
        return Err(Error::client(
            403,
            "Access denied. Upserts not allowed in a restricted collection.",
        ));
    }
    let changes = Change::read(modifier)?;
    let is_own = invocation.user_id().is_some_and(|user| *user == *id);
    let is_profile = changes.iter().all(|change| change.field() == "profile");
    if !is_own || !is_profile || !accounts.core.options.allows_profile_updates {
        return Err(denied());
    }
    for _ in 0..TRIES {
        let by = Selector::Id(id.to_owned());
        let Some(user) = accounts.core.store.find_user(&by).await? else { return Ok(0) };
        let new = changed(user.profile.clone(), &changes)?;
        let (old, new) = (user.profile.as_ref(), new.as_ref());
        if accounts.core.store.replace_profile(id, old, new, invocation.fence()).await? {
            return Ok(1);
        }
    }
    Err(Error::client(409, "The profile is being changed by others: try again"))
}

/// The id in a selector that is one, or that holds nothing else.
fn id_of(selector: &Ejson) -> Option<&str> {
    let id = match selector.as_object() {
        Some(object) if object.len() == 1 => object.get("_id")?,
        Some(_) => return None,
        None => selector,
    };
    id.as_str()
}

/// A profile after these changes, which can be read again.
fn changed(profile: Option<Object>, changes: &[Change]) -> Result<Option<Object>, Error> {
    let profile = profile.map(|profile| ("profile".to_owned(), Ejson::Object(profile)));
    let mut document = Object::from_iter(profile);
    for change in changes {
        change.apply(&mut document)?;
    }
    let Some(profile) = document.shift_remove("profile") else { return Ok(None) };
    let text = profile.to_text();
    let is_readable = text.len() <= PROFILE_BYTES_MAX && ejson::parse(&text).is_ok();
    match profile {
        Ejson::Object(profile) if is_readable => Ok(Some(profile)),
        Ejson::Object(_) => Err(Error::client(413, "The profile would be too large")),
        _ => Err(Error::client(409, "A profile is an object")),
    }
}
