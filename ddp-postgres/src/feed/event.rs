//! What a feed yields, and where it goes.

use std::ops::ControlFlow;

use crate::read::snapshot::TransactionSnapshot;

/// What a feed yields, in commit order.
#[derive(Debug)]
pub(crate) enum FeedEvent<'a> {
    /// A connection is listening from now on. Earlier commits may have been missed.
    Begun {
        /// Whether this is the first connection.
        is_first: bool,
        /// What had committed before the connection, if the feed streams transactions that reads
        /// may not see yet.
        start: Option<TransactionSnapshot>,
    },
    /// A message of a committed transaction.
    Payload(Payload<'a>),
    /// The transaction of the last payloads is complete.
    End,
    /// Everything received so far has been handed over.
    Drained,
    /// The connection was lost, and is being replaced.
    Lost,
}

/// A message of a committed transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    /// The channel on which it was sent.
    pub(crate) channel: &'a str,
    /// What was sent.
    pub(crate) text: &'a str,
    /// The lower half of the sending transaction's id, if the message may arrive before reads see
    /// the transaction.
    pub(crate) transaction: Option<u32>,
    /// Whether the channel has a listener. A feed that gets the messages of all channels passes on
    /// the rest, too, since a read that starts soon must not miss them.
    pub(crate) is_listened: bool,
}

/// Where a feed delivers its events, and what it asks in return.
///
/// A sink must not keep its owner alive: the feed ends when nothing else needs it.
pub(crate) trait FeedSink: Send + Sync {
    /// Takes an event. The feed ends if it is no longer needed.
    fn handle(&self, event: FeedEvent<'_>) -> ControlFlow<()>;

    /// Whether this channel is unused.
    fn is_idle(&self, channel: &str) -> bool;

    /// How many messages have arrived that reads may not see yet.
    fn position(&self) -> u64;

    /// Whether the database handle was closed or dropped.
    fn is_closed(&self) -> bool;
}
