//! From what a feed yields to one batch per collection and transaction, and on to the live queries.
//!
//! ```text
//! FeedEvent ─► dispatch ─► assembler ─► pipeline ─► multiplexers of the collections
//!              (Intake)    (pending)    (read_ahead, rows, together)
//! ```
//!
//! The [`Intake`](dispatch::Intake) knows the collections, the assembler and the pipeline, but not
//! the feed: anything that yields [events](crate::feed::event::FeedEvent) will do.

pub(crate) mod assembler;
pub(crate) mod batch;
pub(crate) mod dispatch;
mod pending;
mod pipeline;
mod read_ahead;
mod rows;
mod together;
