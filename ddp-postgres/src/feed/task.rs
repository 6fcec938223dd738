//! The task of a feed, which replaces lost connections.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

use super::event::FeedEvent;
use super::kind::Feed;
use super::link::Failure;
pub(crate) use super::link::Link;
use super::{notify, wal};
use crate::error::Error;

/// The delay before the first attempt to reconnect, and the longest one.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);
const RECONNECT_AFTER_MAX: Duration = Duration::from_secs(2);

/// Keeps a connection for as long as the feed is needed.
pub(crate) async fn run(mut link: Link) {
    let feed = link.feed;
    let mut wait = RECONNECT_AFTER;
    while !link.sink.is_closed() {
        // A bug here must not leave every client stale: treat a panic as an interruption.
        let connected = match feed {
            Feed::Notify => AssertUnwindSafe(notify::listen(&mut link)).catch_unwind().await,
            Feed::Wal => AssertUnwindSafe(wal::replicate(&mut link)).catch_unwind().await,
        };
        let failure = match connected {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Unreachable(Error::panicked()),
        };
        if let Some(begun) = link.begun.take() {
            let (Failure::Unreachable(error) | Failure::Lost(error)) = failure;
            // The receiver is gone if `connect` was cancelled.
            let _ = begun.send(Err(error));
            return;
        }
        if link.sink.is_closed() {
            return;
        }
        match failure {
            Failure::Unreachable(error) => {
                link.log.line("feed cannot connect", feed.name(), error, |feed, error, count| {
                    tracing::warn!(feed, %error, count, "feed cannot connect; trying again");
                });
            }
            Failure::Lost(error) => {
                link.log.line("feed lost", feed.name(), error, |feed, error, count| {
                    tracing::warn!(feed, %error, count, "feed lost");
                });
                if link.yields(FeedEvent::Lost).is_break() {
                    return;
                }
                wait = RECONNECT_AFTER;
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RECONNECT_AFTER_MAX);
    }
}
