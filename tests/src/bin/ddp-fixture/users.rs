//! Logging in without accounts, and what depends on who is logged in.
//!
//! - `setUserId(id)` logs the connection in as whoever it says, or out with `null`.
//! - `setUserIdAfterUnblock` tries that when it is too late, and is true if that failed and changed
//!   nothing.
//! - The publication `objectsWithUsers` shows the objects that the user owns; without a user, those
//!   that nobody owns. It does not show the owners.
//! - The publication `recordUserIdOnStop(key)` notes for whom it ran when it stops, which
//!   `userIdWhenStopped(key)` returns.

use std::collections::HashMap;
use std::sync::Arc;

use ddp_core::ejson::Ejson;
use ddp_server::extract::{Invocation, Params, Subscription, UserId};
use ddp_server::{Cursor, Error, ServerBuilder, State, field, random};
use parking_lot::Mutex;

use crate::app::App;
use crate::documents::Documents;
use crate::echo::OrUndefined;
use crate::mutators;

#[derive(Clone)]
pub(crate) struct Users {
    objects: Documents,
    stopped: Arc<Mutex<HashMap<String, Option<UserId>>>>,
}

/// The objects and their owners.
const OBJECTS: [(&str, &[Option<&str>]); 6] = [
    ("owned by none", &[None]),
    ("owned by one - a", &[Some("1")]),
    ("owned by one/two - a", &[Some("1"), Some("2")]),
    ("owned by one/two - b", &[Some("1"), Some("2")]),
    ("owned by two - a", &[Some("2")]),
    ("owned by two - b", &[Some("2")]),
];

/// The field that says that this user owns an object. It replaces an element of Mongo's array of
/// owners, which predicates cannot look into.
fn owner(user_id: Option<&str>) -> String {
    user_id.map_or_else(|| "isOwnedByNobody".to_owned(), |user_id| format!("isOwnedBy:{user_id}"))
}

impl Users {
    pub(crate) fn new() -> Result<Self, Error> {
        let objects = Documents::new("objectsWithUsers");
        for (name, owners) in OBJECTS {
            let owners = owners.iter().map(|user_id| (owner(*user_id), Ejson::Bool(true)));
            let fields = owners.chain([("name".to_owned(), name.into())]).collect();
            objects.insert(fields, random::id)?;
        }
        Ok(Self { objects, stopped: Arc::default() })
    }
}

pub(crate) fn install(builder: ServerBuilder<App>, users: &Users) -> ServerBuilder<App> {
    mutators::deny(builder, &users.objects)
        .publish("objectsWithUsers", objects_with_users)
        .publish("recordUserIdOnStop", record_user_id_on_stop)
        .method("setUserId", set_user_id)
        .method("setUserIdAfterUnblock", set_user_id_after_unblock)
        .method("userIdWhenStopped", user_id_when_stopped)
}

async fn set_user_id(
    invocation: Invocation,
    Params((user_id,)): Params<(Option<String>,)>,
) -> Result<(), Error> {
    invocation.set_user_id(user_id.as_deref()).await
}

async fn set_user_id_after_unblock(invocation: Invocation) -> Result<bool, Error> {
    invocation.unblock();
    let before = invocation.user_id();
    let other = format!("not {before:?}");
    let is_refused = invocation.set_user_id(Some(&other)).await.is_err();
    Ok(is_refused && invocation.user_id() == before)
}

async fn objects_with_users(State(users): State<Users>, user_id: Option<UserId>) -> Cursor<Ejson> {
    let is_owner = field(owner(user_id.as_deref()).as_str()).eq(true);
    users.objects.find().filter(is_owner).fields(["name"])
}

async fn record_user_id_on_stop(
    State(users): State<Users>,
    subscription: Subscription,
    Params((key,)): Params<(String,)>,
) {
    let user_id = subscription.user_id().cloned();
    subscription.on_stop(move || {
        users.stopped.lock().insert(key, user_id);
    });
}

async fn user_id_when_stopped(
    State(users): State<Users>,
    Params((key,)): Params<(String,)>,
) -> OrUndefined {
    let user_id = users.stopped.lock().get(&key).cloned();
    OrUndefined(Ok(user_id.map(|user_id| user_id.as_deref().map_or(Ejson::Null, Into::into))))
}
