//! Tests of publications and methods: server and client in one process, without sockets.
//!
//! Enable it with the feature `testing` in `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! ddp-server = { version = "0.1", features = ["testing"] }
//! # Until it is published: ddp-server = { path = "../ddp/ddp-server", features = ["testing"] }
//! ```
//!
//! A [`Client`] connects to a [`Server`](crate::Server) as a browser would. A whole test:
//!
//! ```
//! use ddp_server::extract::Params;
//! use ddp_server::testing::Client;
//! use ddp_server::{Collection, Error, MemoryCollection, Server, State};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     text: String,
//! }
//! const TASKS: Collection<Task> = Collection::new("tasks");
//!
//! // The application.
//! fn server() -> Server {
//!     Server::builder()
//!         .publish("tasks", async |State(tasks): State<MemoryCollection<Task>>| tasks.find())
//!         .method("tasks.insert", insert)
//!         .with_state(MemoryCollection::new(&TASKS))
//! }
//!
//! async fn insert(
//!     State(tasks): State<MemoryCollection<Task>>,
//!     Params((text,)): Params<(String,)>,
//! ) -> Result<String, Error> {
//!     if text.is_empty() {
//!         return Err(Error::client("empty-text", "a task needs text"));
//!     }
//!     tasks.insert(&Task { text })
//! }
//!
//! // Its test, under #[tokio::test].
//! async fn everybody_sees_a_new_task() {
//!     let server = server();
//!     let (ada, bob) = (Client::connect(&server).await, Client::connect(&server).await);
//!     ada.subscribe("tasks", ()).await.expect("a subscription");
//!     bob.subscribe("tasks", ()).await.expect("a subscription");
//!
//!     let id: String = ada.call("tasks.insert", ("Water the plants",)).await.expect("an id");
//!     // When a call returns, the caller has what the method wrote …
//!     assert_eq!(ada.documents_by_id(&TASKS)[&id].text, "Water the plants");
//!     // … and other clients get it soon after.
//!     bob.wait_until(|bob| bob.documents(&TASKS).len() == 1).await;
//!
//!     let refused = bob.call::<String>("tasks.insert", ("",)).await.expect_err("an error");
//!     assert_eq!(refused.to_string(), "a task needs text [empty-text]");
//! }
//! # let runtime = tokio::runtime::Runtime::new().unwrap();
//! # runtime.block_on(everybody_sees_a_new_task());
//! ```
//!
//! The session is the one used in production, with the same order of messages, merging, write fences,
//! rate limits, heartbeats, queue bounds and handling of slow clients; [`pause`](Client::pause) makes
//! a client slow. Any data source will do: a [`MemoryCollection`](crate::MemoryCollection) needs
//! nothing else, and with PostgreSQL there is an example in `ddp-postgres`. To be logged in, call the
//! application's own method: `client.call("login", …)`.
//!
//! No test needs to sleep. [`call`](Client::call) returns when the result and all that the method wrote
//! are there, and [`subscribe`](Client::subscribe) when the documents are. For what others do,
//! [`wait_until`](Client::wait_until) and [`changed`](Client::changed) wait for the message. A wait ends
//! after 10 seconds, unless [told otherwise](ClientBuilder::timeout): the test fails, and says what it
//! waited for, where, and what came instead. It also fails on a message that does not fit what the
//! client has, such as `changed` for a document that it does not have.
//!
//! Arguments are a tuple of whatever serializes: types of the application, or objects made by
//! `serde_json::json!`, with `serde_json` among the dev-dependencies.
//!
//! The client of a handler that failed gets only `Internal server error [500]`. Begin a test with
//! `let _ = tracing_subscriber::fmt().with_test_writer().try_init();` to see the error itself.
//!
//! # What this does not test
//! - HTTP, the WebSocket handshake, compression and SockJS: the connection begins as an open WebSocket.
//!   Test your own routes with [`Server::router`](crate::Server::router), as in any axum application.
//! - What clients do by themselves: stubs, reconnecting, resuming a login.
//! - Time: sessions and rate limits read the system's clock, so pausing tokio's clock does not move
//!   them; it only makes waits end too early.

mod builder;
mod client;
mod closed;
mod frame;
mod message;
mod minimongo;
#[cfg(test)]
mod shares;
mod socket;
mod state;
mod subscription;
#[cfg(test)]
mod tests;

pub use builder::ClientBuilder;
pub use client::Client;
pub use closed::Closed;
pub use subscription::Subscription;
