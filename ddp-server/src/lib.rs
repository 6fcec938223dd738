//! A Meteor-compatible DDP server: publications and methods over WebSocket and SockJS, on one port.
//!
//! ```
//! use ddp_server::extract::Params;
//! use ddp_server::{Collection, Error, MemoryCollection, Server, State};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     text: String,
//! }
//! const TASKS: Collection<Task> = Collection::new("tasks");
//!
//! # fn main() {
//! let server = Server::builder()
//!     .publish("tasks", async |State(tasks): State<MemoryCollection<Task>>| tasks.find())
//!     .method("tasks.insert", insert)
//!     .with_state(MemoryCollection::new(&TASKS));
//! // server.serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?).await?;
//! # let _ = server;
//! # }
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
//! ```
//!
//! Publications and methods are async functions whose arguments are [extracted](extract). A
//! publication returns [cursors](Cursor) of a data source, whose documents are then kept live, or
//! manages its documents itself with a [`Subscription`](extract::Subscription). A data source is
//! anything that implements [`live_query::Driver`]: [`MemoryCollection`] here, PostgreSQL in the
//! crate `ddp-postgres`.
//!
//! This crate knows no SQL, and leaves the protocol itself to `ddp-core`.

mod by_hand;
mod callbacks;
mod collection;
mod config;
mod connection;
mod courier;
mod error;
pub mod extract;
pub mod guide;
mod handler;
pub mod live_query;
mod mailbox;
mod memory;
mod method;
mod outbound;
mod publication;
pub mod query;
pub mod random;
pub mod rate_limit;
mod running;
mod server;
mod sessions;
pub mod sockjs;
mod stats;
mod transport;
mod write_fence;

#[doc(no_inline)]
pub use ddp_core::merge_box::{PublicationStrategies, PublicationStrategy};

pub use collection::Collection;
pub use config::{Compression, Config, EnvError};
pub use error::Error;
pub use extract::{FromRef, State};
pub use handler::Handler;
pub use live_query::{AnyCursor, Cursor};
pub use memory::MemoryCollection;
pub use method::{IntoMethodResult, MethodContext};
pub use publication::{IntoPublication, PublicationContext};
pub use query::field;
pub use server::{Server, ServerBuilder};
pub use stats::Stats;
pub use transport::Headers;
#[cfg(feature = "__fuzzing")]
#[doc(hidden)]
pub use transport::fuzzing;
pub use write_fence::{Write, WriteFence};
