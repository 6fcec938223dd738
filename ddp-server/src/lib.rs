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
//! publication returns [cursors](Cursor), whose documents are then kept live, or manages its
//! documents itself with a [`Subscription`](extract::Subscription). A data source is anything that
//! implements [`live_query::DataSource`]: [`MemoryCollection`] here, PostgreSQL in the crate
//! `ddp-postgres`.
//!
//! This crate knows no SQL, and leaves the protocol itself to `ddp-core`.
//!
//! # Features
//!
//! WebSocket at `/websocket` is always available. On by default:
//!
//! - `accounts`: Meteor's accounts; the module `accounts`.
//! - `sockjs`: the routes at `/sockjs` for Meteor's own clients, and the module `sockjs`.
//! - `compression`: permessage-deflate for WebSocket messages, by zlib-rs.
//!
//! Off by default:
//!
//! - `jwt`: logins by the JSON Web Tokens of another backend; the type `accounts::Jwt`. Brings `tls`.
//! - `oauth`: logins by OAuth 2 and OpenID Connect; the module `accounts::oauth`.
//! - `tls`: serves over TLS, by rustls; the type `Tls`.
//! - `schema`: describes handlers' types as JSON Schemas, through `schemars`; the module `schema`.
//! - `smtp`: mails of accounts by SMTP; the type `accounts::SmtpMailer`.
//! - `uuid`, `time`, `chrono`: a `Uuid`, an `OffsetDateTime` and a `DateTime` of these crates as
//!   constants of predicates (`From` for [`query::Value`]).
//!
//! For `[dev-dependencies]`:
//!
//! - `testing`: the module `testing`, a client for tests of publications and methods that needs no
//!   socket.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "accounts")]
pub mod accounts;
mod arrivals;
mod builder;
mod collection;
mod config;
mod connection;
mod error;
pub mod extract;
#[cfg(feature = "__fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
mod handler;
pub mod live_query;
pub mod log;
mod memory;
pub mod query;
pub mod random;
pub mod rate_limit;
mod registry;
#[cfg(feature = "schema")]
pub mod schema;
mod serve;
mod server;
mod signature;
#[cfg(feature = "sockjs")]
pub mod sockjs;
mod stats;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
mod write_fence;

#[doc(no_inline)]
pub use axum;
#[doc(no_inline)]
pub use ddp_core::ejson;
#[doc(no_inline)]
pub use ddp_core::error::ErrorCode;
#[doc(no_inline)]
pub use ddp_core::merge_box::{PublicationStrategies, PublicationStrategy};

pub use builder::{Plugged, Plugin, PluginBuilder, ServerBuilder};
pub use collection::Collection;
#[cfg(feature = "compression")]
pub use config::Compression;
pub use config::{EnvError, ServerConfig};
pub use connection::check::Checked;
pub use error::{Error, ForClient};
pub use extract::{FromRef, State};
pub use handler::{Handler, IntoMethodResult, IntoPublication, MethodContext, PublicationContext};
pub use live_query::{AnyCursor, Cursor};
pub use memory::MemoryCollection;
pub use query::field;
pub use serve::{Serve, ServeConfig, serve};
#[cfg(feature = "tls")]
pub use serve::{Tls, TlsError};
pub use server::Server;
pub use signature::{Param, Signature};
pub use stats::Stats;
pub use transport::{Headers, NotAnOrigin, Origins};
pub use write_fence::{Write, WriteFence};

/// The README's example, compiled like all others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
