//! What the todos server publishes, and its methods.

use ddp_core::ejson::Date;
use ddp_server::extract::{Invocation, Params};
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
}

pub(crate) const TASKS: Collection<Task> = Collection::new("tasks");

pub(crate) async fn all(State(store): State<Store>) -> Cursor<Task> {
    store.find()
}

pub(crate) async fn by_list(
    State(store): State<Store>,
    Params((list_id,)): Params<(String,)>,
) -> Cursor<Task> {
    store.find().filter(field("listId").eq(list_id))
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
    store.insert(invocation.fence(), &id, &task.list_id, &task.text).await?;
    Ok(id)
}

pub(crate) async fn set_checked(
    State(store): State<Store>,
    invocation: Invocation,
    Params((id, checked)): Params<(String, bool)>,
) -> Result<(), Error> {
    found(store.set_checked(invocation.fence(), &id, checked).await?)
}

pub(crate) async fn remove(
    State(store): State<Store>,
    invocation: Invocation,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    found(store.remove(invocation.fence(), &id).await?)
}

fn found(found: bool) -> Result<(), Error> {
    if found { Ok(()) } else { Err(Error::client("not-found", "There is no such task")) }
}
