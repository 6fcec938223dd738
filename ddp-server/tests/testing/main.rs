//! The client for tests, against servers in memory.

mod answers;
mod connections;
mod documents;
mod failures;

use ddp_server::extract::Params;
use ddp_server::{Collection, Error, MemoryCollection, Server, ServerBuilder, State, field};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    list: String,
    text: String,
}

const TASKS: Collection<Task> = Collection::new("tasks");

type Tasks = MemoryCollection<Task>;

async fn insert(
    State(tasks): State<Tasks>,
    Params((list, text)): Params<(String, String)>,
) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::client("empty-text", "a task needs text")
            .with_details(&json!({"field": "text"})));
    }
    tasks.insert(&Task { list, text })
}

fn todos() -> ServerBuilder<Tasks> {
    Server::builder()
        .publish("all", async |State(tasks): State<Tasks>| tasks.find())
        .publish(
            "byList",
            async |State(tasks): State<Tasks>, Params((list,)): Params<(String,)>| {
                tasks.find().filter(field("list").eq(list))
            },
        )
        .method("insert", insert)
}

fn tasks() -> Tasks {
    MemoryCollection::new(&TASKS)
}

fn task(list: &str, text: &str) -> Task {
    Task { list: list.to_owned(), text: text.to_owned() }
}

/// What a task panics with.
async fn panic_of(test: impl Future<Output = ()> + Send + 'static) -> String {
    let panic = tokio::spawn(test).await.expect_err("a panic").into_panic();
    panic.downcast_ref::<String>().cloned().expect("a text")
}
