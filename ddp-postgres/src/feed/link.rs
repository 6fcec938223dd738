//! What all connections of a feed share.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use ddp_server::log::Log;
use futures::channel::oneshot;
use tokio::sync::mpsc;

use super::command::Command;
use super::event::{FeedEvent, FeedSink};
use super::kind::Feed;
use crate::db::tls::Tls;
use crate::error::Error;
use crate::read::snapshot::TransactionSnapshot;
use crate::schema::INSTALLED_CHANNEL;

/// How often the server is checked for a sign of life, and how long it may take to answer.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(10);
pub(super) const ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// How to connect, what to listen on, and where events go.
pub(crate) struct Link {
    pub(crate) feed: Feed,
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: Tls,
    pub(crate) sink: Box<dyn FeedSink>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// The channel for this server's tokens, which is always listened on.
    pub(crate) token_channel: String,
    /// The channels that carry the changes of tables.
    pub(crate) change_channels: HashSet<String>,
    /// The channels in use, to listen on again after an interruption.
    pub(crate) listened: HashSet<String>,
    /// Whether there has been no connection yet.
    pub(crate) is_first: bool,
    /// For what may happen again and again.
    pub(crate) log: Log,
    /// Gets the outcome of the first attempt. If that fails, the task ends.
    pub(crate) begun: Option<oneshot::Sender<Result<(), Error>>>,
}

/// Why a feed has lost, or never got, its connection.
pub(super) enum Failure {
    /// Connecting failed.
    Unreachable(Error),
    /// It broke, or went silent.
    Lost(Error),
}

impl Link {
    pub(super) fn yields(&self, event: FeedEvent<'_>) -> ControlFlow<()> {
        self.sink.handle(event)
    }

    /// A connection is listening: earlier changes may have been missed.
    pub(super) fn has_begun(&mut self, start: Option<TransactionSnapshot>) -> ControlFlow<()> {
        let is_first = std::mem::take(&mut self.is_first);
        let flow = self.yields(FeedEvent::Begun { is_first, start });
        if let Some(begun) = self.begun.take() {
            // The receiver is gone if `connect` was cancelled.
            let _ = begun.send(Ok(()));
        }
        if !is_first {
            self.log.line("feed back", self.feed.name(), "", |feed, _, count| {
                tracing::info!(feed, count, "feed back");
            });
        }
        flow
    }

    /// Whether the channel carries the changes of a table.
    pub(super) fn is_change(&self, channel: &str) -> bool {
        self.change_channels.contains(channel)
    }

    /// The channels whose messages are for this server.
    pub(super) fn channels(&self) -> HashSet<String> {
        let others = [self.token_channel.clone(), INSTALLED_CHANNEL.to_owned()];
        self.change_channels.iter().cloned().chain(others).collect()
    }

    /// Whether messages on the channel are for this server.
    pub(super) fn is_ours(&self, channel: &str) -> bool {
        self.is_change(channel) || channel == self.token_channel || channel == INSTALLED_CHANNEL
    }
}
