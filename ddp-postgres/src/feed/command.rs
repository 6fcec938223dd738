//! What others ask of a feed.

use futures::channel::oneshot;

/// A request to the feed's task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Listen on a channel, and reply with the feed's position once listening.
    Listen(String, oneshot::Sender<u64>),
    /// Stop listening on this channel, unless an observer has come in the meantime.
    Unlisten(String),
    /// End the feed.
    Close,
}
