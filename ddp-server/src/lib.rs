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
//! anything that implements [`live_query::DataSource`]: [`MemoryCollection`] here, PostgreSQL in the
//! crate `ddp-postgres`.
//!
//! With the feature `testing`, the module `testing` has a client for your tests: publications and
//! methods are called as by a browser, in one process and without a socket.
//!
//! This crate knows no SQL, and leaves the protocol itself to `ddp-core`.

mod builder;
mod collection;
mod config;
mod connection;
mod error;
pub mod extract;
mod handler;
pub mod live_query;
mod memory;
pub mod query;
pub mod random;
pub mod rate_limit;
mod registry;
mod server;
mod signature;
pub mod sockjs;
mod stats;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
mod write_fence;

#[doc(no_inline)]
pub use ddp_core::merge_box::{PublicationStrategies, PublicationStrategy};

pub use builder::{Plugged, Plugin, PluginBuilder, ServerBuilder};
pub use collection::Collection;
pub use config::{Compression, Config, EnvError};
pub use error::Error;
pub use extract::{FromRef, State};
pub use handler::{Handler, IntoMethodResult, IntoPublication, MethodContext, PublicationContext};
pub use live_query::{AnyCursor, Cursor};
pub use memory::MemoryCollection;
pub use query::field;
pub use server::Server;
pub use signature::{ParamNames, Signature};
pub use stats::Stats;
pub use transport::Headers;
#[cfg(feature = "__fuzzing")]
#[doc(hidden)]
pub use transport::fuzzing;
pub use write_fence::{Write, WriteFence};
