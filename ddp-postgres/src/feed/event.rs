//! What a feed yields, and where it puts it.

use std::ops::ControlFlow;

use crate::read::snapshot::TransactionSnapshot;

/// What a feed yields, in the order of commits.
#[derive(Debug)]
pub(crate) enum FeedEvent<'a> {
    /// A connection listens from now on. Whatever was committed before may have been missed.
    Begun {
        /// Whether there was no connection before.
        is_first: bool,
        /// What had committed before the connection, if it streams transactions that reads may not
        /// see yet.
        start: Option<TransactionSnapshot>,
    },
    /// A message of a transaction that has committed.
    Payload(Payload<'a>),
    /// The transaction whose payloads came last is complete.
    End,
    /// All that has come so far has been handed over.
    Drained,
    /// The connection is gone. Another one is on its way.
    Lost,
}

/// A message of a transaction that has committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    /// The channel on which it was sent.
    pub(crate) channel: &'a str,
    /// What was sent.
    pub(crate) text: &'a str,
    /// The lower half of the id of the transaction that sent it, if it may come before the
    /// transaction is visible to reads.
    pub(crate) transaction: Option<u32>,
    /// Whether the channel has a listener. A feed that gets the messages of all channels passes on
    /// those of the others, too, since a read that begins soon must not miss them.
    pub(crate) is_listened: bool,
}

/// Where a feed puts what it hears, and what it needs to know in return.
///
/// A sink must not keep its owner alive: the feed ends when nothing else needs it.
pub(crate) trait FeedSink: Send + Sync {
    /// Takes in an event. The feed ends if it is no longer needed.
    fn handle(&self, event: FeedEvent<'_>) -> ControlFlow<()>;

    /// Whether this channel is unused.
    fn is_idle(&self, channel: &str) -> bool;

    /// How many messages have come that may not be visible to reads yet.
    fn position(&self) -> u64;

    /// Whether the database was closed, or is gone.
    fn is_closed(&self) -> bool;
}
