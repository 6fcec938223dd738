//! The change feed: one connection to the database, replaced when it is lost.
//!
//! A feed yields [events](event::FeedEvent) to its [sink](event::FeedSink) from its own task, so
//! that changes do not pass through a queue. It obeys [commands](command::Command). It knows
//! channels and payloads, but no collections or live queries.

pub(crate) mod command;
pub(crate) mod event;
mod in_progress;
mod kind;
mod link;
mod notify;
pub(crate) mod task;
mod wal;

pub use kind::Feed;
