//! What others want of a feed.

use futures::channel::oneshot;

/// A request to the feed's task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Listen on a channel, and say when it is so, with the position of the feed.
    Listen(String, oneshot::Sender<u64>),
    /// Stop listening on this channel, unless an observer has come since.
    Unlisten(String),
    /// End the feed.
    Close,
}
