//! What happened to a server's sessions.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of what happened to a server's sessions since it started. Counters only rise.
///
/// ```
/// use ddp_server::Server;
///
/// let server = Server::builder().build();
/// let stats = server.stats();
/// assert_eq!((stats.connections_opened, stats.lags), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that were opened.
    pub connections_opened: u64,
    /// How often so many changes waited for a session that all but the newest state of each
    /// subscription was skipped, because its client did not keep up. See
    /// [`ServerConfig::outbox_deltas_max`](crate::ServerConfig::outbox_deltas_max).
    pub lags: u64,
    /// Steps of subscriptions' documents that were skipped. Their clients got the difference to a
    /// newer state instead.
    pub steps_left_out: u64,
    /// Clients that were disconnected because their sockets accepted nothing for too long. See
    /// [`ServerConfig::write_timeout`](crate::ServerConfig::write_timeout).
    pub disconnected_stalled: u64,
    /// Clients that were disconnected because too many messages that cannot be skipped waited for
    /// them. See [`ServerConfig::outbox_messages_max`](crate::ServerConfig::outbox_messages_max).
    pub disconnected_behind: u64,
    /// Clients that were disconnected because they did not answer a ping.
    pub disconnected_silent: u64,
    /// Subscriptions that had to wait for memory. See
    /// [`ServerConfig::sessions_bytes_max`](crate::ServerConfig::sessions_bytes_max).
    pub subscriptions_waited: u64,
    /// Clients that were disconnected because a subscription of theirs waited so for a minute.
    pub disconnected_waiting: u64,
    /// Calls of methods that had to wait before they ran, for memory of their results or for the first
    /// result of their method. See
    /// [`ServerConfig::large_messages_bytes_max`](crate::ServerConfig::large_messages_bytes_max).
    pub calls_waited: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections_opened: Counter,
    pub(crate) lags: Counter,
    pub(crate) steps_left_out: Counter,
    pub(crate) disconnected_stalled: Counter,
    pub(crate) disconnected_behind: Counter,
    pub(crate) disconnected_silent: Counter,
    pub(crate) subscriptions_waited: Counter,
    pub(crate) disconnected_waiting: Counter,
    pub(crate) calls_waited: Counter,
}

impl Counters {
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            connections_opened: self.connections_opened.get(),
            lags: self.lags.get(),
            steps_left_out: self.steps_left_out.get(),
            disconnected_stalled: self.disconnected_stalled.get(),
            disconnected_behind: self.disconnected_behind.get(),
            disconnected_silent: self.disconnected_silent.get(),
            subscriptions_waited: self.subscriptions_waited.get(),
            disconnected_waiting: self.disconnected_waiting.get(),
            calls_waited: self.calls_waited.get(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
