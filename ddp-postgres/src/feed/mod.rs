//! The change feed: one connection to the database, replaced when it is lost.
//!
//! A feed yields [events](event::FeedEvent) into the [sink](event::FeedSink) that it is given, within
//! its own task, so that a change takes no detour by a queue. It obeys [commands](command::Command).
//! It knows channels and payloads, and nothing of collections or live queries.

pub(crate) mod command;
pub(crate) mod event;
mod in_progress;
mod kind;
mod link;
mod notify;
pub(crate) mod task;
mod wal;

pub use kind::Feed;
