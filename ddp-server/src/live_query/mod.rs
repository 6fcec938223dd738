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
//! The life of a live query:
//!
//! ```text
//! joining ──────► loading ──────────► parked ─────────► live ──────► reloading ─┐
//! an observer     the source reads,   read; waits for   changes are  still shown, │
//! waits for its   changes are         the queries that  applied as   while it is  │
//! first documents remembered          catch up with it  they come    read again   │
//!                      ▲                                                          │
//!                      └──────────── a gap, or what only the source can decide ◄──┘
//! ```

mod batch;
mod catching_up;
mod changes;
mod contents;
mod courier;
mod cursor;
mod deliveries;
mod live;
mod loading;
mod multiplexer;
mod observer;
mod plan;
mod router;
mod routing;
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
pub use source::{DataSource, Documents};

#[doc(no_inline)]
pub use ddp_core::Delta;
