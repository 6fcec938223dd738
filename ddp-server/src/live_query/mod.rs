//! Live queries: one initial read, then one computation per change, however many subscribers.
//!
//! ```
//! use ddp_server::live_query::Observed;
//! use ddp_server::{Collection, Error, MemoryCollection, field};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     text: String,
//!     done: bool,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let tasks = MemoryCollection::new(&Collection::<Task>::new("tasks"));
//! let mut open = tasks.find().filter(field("done").eq(false)).observe().await?;
//!
//! let id = tasks.insert(&Task { text: "Water the plants".to_owned(), done: false })?;
//! assert!(matches!(open.next().await, Some(Ok(Observed::Added { .. }))));
//!
//! // A task that is done no longer matches, so it leaves the query.
//! tasks.update(&id, |task| task.done = true)?;
//! assert!(matches!(open.next().await, Some(Ok(Observed::Removed { .. }))));
//! # Ok(())
//! # }
//! ```
//!
//! A data source implements [`DataSource`] and keeps one [`Multiplexer`] for each collection. It hands
//! every [`Batch`] of changes to the multiplexer, which finds the affected live queries with its
//! router, moves each to its next [`Snapshot`](ddp_core::Snapshot) and gives the [`Delta`] to all its
//! observers. An observer passes it to its sink: a session's mailbox, or a reader on the server. A
//! live query knows no session.
//!
//! Live queries that hold the same documents share them, and are a group when a batch comes. What it
//! does to the documents is found out for the group: the first query that keeps them all, or that
//! loses and gets the same, makes the step, and the others follow it. So many queries of the same rows
//! cost their number, and not that times the rows, unless each must be asked about each row: if what
//! its predicate looks at was changed, and to many different values.
//!
//! The life of a live query:
//!
//! ```text
//! waiting ──────► reading ─────────► read ─────────────► live ──────► waiting ──┐
//! for its turn;   the source reads;  up to date; waits   changes are  still      │
//! a query that    what happens is    for queries that    applied as   shown,     │
//! somebody waits  remembered         catch up, unless    they come    until it   │
//! for comes first                    nobody sees a                    is read    │
//!    ▲                               difference                       again      │
//!    └─────────────── a gap, or what only the source can decide ◄────────────────┘
//! ```
//!
//! However many queries are read, what happens meanwhile is kept once: the backlog has it, with a
//! place for each read. So do the writes that must wait for the reads. What exceeds the backlog's
//! limit is forgotten, and the reads that needed it are repeated.

mod backlog;
mod batch;
mod candidates;
mod catching_up;
mod changes;
mod concerns;
mod contents;
mod courier;
mod cursor;
mod deliveries;
mod groups;
mod holders;
mod live;
mod loading;
mod multiplexer;
mod observer;
mod owed;
mod plan;
mod queue;
mod reading;
mod router;
mod routing;
mod rows;
pub(crate) mod sink;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod typed;
mod window;

pub use batch::{Batch, Change, Content, Origin, Row};
pub use changes::{Changes, Observed};
pub use cursor::{AnyCursor, Cursor};
pub use multiplexer::{Joined, Multiplexer};
pub use observer::{Observation, Observer};
pub use plan::{PendingRead, Plan};
pub use reading::ReadTurn;
pub use source::{DataSource, Documents};

#[doc(no_inline)]
pub use ddp_core::Delta;
