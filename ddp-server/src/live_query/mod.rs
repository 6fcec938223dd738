//! Live queries: one initial read, then one computation per change, however many subscribers.
//!
//! A data source implements [`DataSource`] and keeps one [`Multiplexer`] for each collection. It hands
//! every [`Batch`] of changes to the multiplexer, which finds the live queries concerned by its
//! router, brings each to its next [`Snapshot`](ddp_core::Snapshot) and gives the
//! [`Delta`] to all its observers. What an observer hands it on to is its sink: a session's mailbox,
//! or a reader on the server. A live query knows no session.
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
