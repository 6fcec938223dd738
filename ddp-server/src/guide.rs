//! Guides: queries, Meteor's calls, serving, logging, limits.
//!
//! ```
//! use ddp_server::{Error, Server};
//!
//! // The shortest server: one method and no state.
//! let server = Server::builder().method("ping", async || Ok::<_, Error>("pong")).build();
//! # let _ = server;
//! ```
//!
//! The guides about the database, with a first app from an empty folder, are those of
//! `ddp-postgres`.

#[doc = include_str!("../docs/queries.md")]
pub mod queries {}

#[cfg_attr(feature = "accounts", doc = "[`Accounts`]: crate::accounts::Accounts")]
#[cfg_attr(feature = "accounts", doc = "[`AccountsHandle`]: crate::accounts::AccountsHandle")]
/// [`.publish("tasks", f)`]: crate::ServerBuilder::publish
/// [`server.publish`]: crate::Server::publish
/// [`.publish_universal(f)`]: crate::ServerBuilder::publish_universal
/// [`server.publish_universal`]: crate::Server::publish_universal
/// [`Cursor`]: crate::Cursor
/// [queries]: crate::guide::queries
/// [`Subscription`]: crate::extract::Subscription
/// [`.method("f", f)`]: crate::ServerBuilder::method
/// [`Invocation`]: crate::extract::Invocation
/// [`Params<(…,)>`]: crate::extract::Params
/// [`UserId`]: crate::extract::UserId
/// [`server.call(…)`]: crate::Server::call
/// [`Connection`]: crate::extract::Connection
/// [`.on_connection(…)`]: crate::ServerBuilder::on_connection
/// [`.on_message(…)`]: crate::ServerBuilder::on_message
/// [`.rate_limit(Rule::new(…))`]: crate::ServerBuilder::rate_limit
/// [`.publication_strategy("events", PublicationStrategy::NoMerge)`]: crate::ServerBuilder::publication_strategy
/// [`MemoryCollection::new(&TASKS)`]: crate::MemoryCollection
/// [`ServerConfig::from_env()`]: crate::ServerConfig::from_env
///
// Its examples need the feature.
#[cfg_attr(feature = "accounts", doc = include_str!("../docs/meteor-calls.md"))]
pub mod meteor_calls {}

/// [`Server::router`]: crate::Server::router
/// [`serve_with`]: crate::Server::serve_with
/// [`serve`]: crate::serve()
/// [`ServeConfig`]: crate::ServeConfig
/// [`ServerConfig::from_env`]: crate::ServerConfig::from_env
/// [`ServerBuilder::keep_cookie`]: crate::ServerBuilder::keep_cookie
#[cfg_attr(feature = "sockjs", doc = "[`sockjs::router`]: crate::sockjs::router")]
///
// Its examples need the feature.
#[cfg_attr(feature = "sockjs", doc = include_str!("../docs/serving.md"))]
pub mod serving {}

#[doc = include_str!("../docs/logging.md")]
pub mod logging {}

/// [`ServerConfig`]: crate::ServerConfig
/// [`server.stats()`]: crate::Server::stats
/// [`rate_limit`]: crate::rate_limit
///
#[doc = include_str!("../docs/limits.md")]
pub mod limits {}
