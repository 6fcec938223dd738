//! What the todos server publishes, and its methods: whoever is logged in has lists of their own, and
//! all others share theirs.

use std::time::SystemTime;

use ddp_core::ejson::Date;
use ddp_server::extract::{Invocation, Params, UserId};
use ddp_server::{Collection, Cursor, Error, State, field};
use serde::{Deserialize, Serialize};

use crate::store::Store;

/// A document of the collection `tasks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Task {
    pub(crate) list_id: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) checked: bool,
    pub(crate) created_at: Date,
    /// Whose it is; everybody's without one. It is not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
}

pub(crate) const TASKS: Collection<Task> = Collection::new("tasks");

pub(crate) async fn all(State(store): State<Store>, user: Option<UserId>) -> Cursor<Task> {
    let whose = match user {
        Some(user) => field("owner").eq(user.as_str()),
        None => field("owner").is_null(),
    };
    store.find().filter(whose).fields(["listId", "text", "checked", "createdAt"])
}

pub(crate) async fn by_list(
    store: State<Store>,
    user: Option<UserId>,
    Params((list_id,)): Params<(String,)>,
) -> Cursor<Task> {
    all(store, user).await.filter(field("listId").eq(list_id))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewTask {
    list_id: String,
    text: String,
}

pub(crate) async fn insert(
    State(store): State<Store>,
    invocation: Invocation,
    Params((task,)): Params<(NewTask,)>,
) -> Result<String, Error> {
    if task.text.trim().is_empty() {
        return Err(Error::client("empty-text", "A task needs text"));
    }
    let id = invocation.random_id("tasks");
    let owner = invocation.user_id();
    let task = Task {
        list_id: Some(task.list_id),
        text: Some(task.text),
        checked: false,
        created_at: Date::from(SystemTime::now()),
        owner: owner.map(String::from),
    };
    store.insert(invocation.fence(), &id, &task).await?;
    Ok(id)
}

pub(crate) async fn set_checked(
    State(store): State<Store>,
    invocation: Invocation,
    Params((id, checked)): Params<(String, bool)>,
) -> Result<(), Error> {
    let owner = invocation.user_id();
    found(store.set_checked(invocation.fence(), &id, owner.as_deref(), checked).await?)
}

pub(crate) async fn remove(
    State(store): State<Store>,
    invocation: Invocation,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    let owner = invocation.user_id();
    found(store.remove(invocation.fence(), &id, owner.as_deref()).await?)
}

fn found(found: bool) -> Result<(), Error> {
    if found { Ok(()) } else { Err(Error::client("not-found", "There is no such task")) }
}
