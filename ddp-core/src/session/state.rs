//! What a session remembers.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{CallKey, SubscriptionKey};
use crate::version::Version;

/// How far a session has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Connected(Version),
    Closed,
}

/// An active subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The client's name for it; none if it is universal.
    pub(super) id: Option<Arc<str>>,
    /// What it counts as for the session, in bytes.
    pub(super) bytes: u32,
    pub(super) is_ready: bool,
}

/// A call whose `result` or `updated` is still to be sent.
#[derive(Debug)]
pub(super) struct Call {
    /// The client's name for it.
    pub(super) id: String,
    /// What its message counts as, in bytes.
    pub(super) bytes: usize,
    pub(super) has_result: bool,
    pub(super) is_updated: bool,
}

/// What holds up the messages that come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocker {
    Subscription(SubscriptionKey),
    Method(CallKey),
    /// The `sub` that is the first of the waiting messages needs more bytes than are given.
    Bytes,
}

/// Subscriptions that are running again. Documents and fields that stay the same are not resent.
#[derive(Debug, Default)]
pub(super) struct Rerun {
    /// Those that are neither ready nor have returned.
    pub(super) waiting: BTreeSet<SubscriptionKey>,
    /// The clients' ids of those that are ready.
    pub(super) ready: Vec<Arc<str>>,
    /// Calls whose writes have been sent, except for those that the rerun holds back. They count as
    /// unfinished.
    pub(super) updated: Vec<CallKey>,
}

/// A message that waits, as it arrived: a client must not take more memory than the bytes it sends.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// What an `unsub` must know to overtake. Ids are hashes with random keys: of the few thousand
/// messages that may wait, no two different ids have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Sub(u64),
    Unsub(u64),
    Other,
}
