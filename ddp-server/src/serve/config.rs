//! Limits on connections, each with a default.

use std::time::Duration;

#[cfg(feature = "tls")]
use super::Tls;

/// Longer periods are shortened to this, because the clock cannot represent everything.
const PERIOD_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What connections may take of a server: limits and deadlines, chosen so that no honest client
/// notices them. They hold where this crate accepts connections: [`serve`](crate::serve()),
/// [`Server::serve`](crate::Server::serve) and [`Server::serve_with`](crate::Server::serve_with).
/// Behind a proxy, the proxy's own take their place for its clients; see
/// [the guide](crate::guide::serving).
///
/// ```
/// use ddp_server::{Server, ServerConfig};
///
/// let mut config = ServerConfig::default();
/// config.serve.connections_max = 20_000;
/// config.serve.connections_per_address_max = Some(200);
/// let server = Server::builder().config(config).build();
/// # let _ = server;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeConfig {
    /// How many connections the system keeps that have not been accepted yet; 4,096. The system may
    /// allow fewer: Linux's limit is `net.core.somaxconn`.
    pub backlog: u32,
    /// How many connections may be open; 100,000, and never so many that the process has no files
    /// left for anything else (`ulimit -n`). Further ones wait in the backlog.
    pub connections_max: usize,
    /// How many of them one address may have; three quarters of all, unless set. Further ones are
    /// closed. An IPv6 address stands for its network of 64 bits. Behind proxies, see
    /// [`forwarded_count`](crate::ServerConfig::forwarded_count), it is WebSockets of a client's
    /// address that count, and further ones are answered with 429.
    pub connections_per_address_max: Option<usize>,
    /// How many of those who have just come are handled at the same time, so that others need not
    /// wait; half as many as the runtime has threads, unless set. It counts those for whom something
    /// is being done, not those who wait for their clients, so it may be small. It holds for
    /// WebSockets and SockJS also where somebody else accepts connections.
    pub arrivals_at_once: Option<usize>,
    /// How long it may take from the connection to the head of its first request, the handshake of
    /// TLS among it; 30 s.
    pub header_timeout: Duration,
    /// How long it may take from one request on a connection to the head of the next; 75 s, which is
    /// longer than proxies keep connections.
    pub idle_timeout: Duration,
    /// How long the body of a request may keep its reader waiting; 30 s, and 1 s more for each 500
    /// bytes that have come.
    pub body_timeout: Duration,
    /// How long the client may keep responses waiting until it reads on; 30 s, and 1 s more for each
    /// 4 KiB that its side has taken, its system's buffers among it. Then its connection is closed. A response that has nothing to
    /// say yet, as in long polling, does not wait for the client. WebSockets have
    /// [`write_timeout`](crate::ServerConfig::write_timeout).
    pub response_timeout: Duration,
    /// The certificate with which clients are served over TLS; `None` serves them without.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            backlog: 4096,
            connections_max: 100_000,
            connections_per_address_max: None,
            arrivals_at_once: None,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(30),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl ServeConfig {
    /// Limits the periods to what the clock can handle.
    pub(super) fn bounded(mut self) -> Self {
        let periods = [
            &mut self.header_timeout,
            &mut self.idle_timeout,
            &mut self.body_timeout,
            &mut self.response_timeout,
        ];
        for period in periods {
            *period = (*period).min(PERIOD_MAX);
        }
        self
    }

    /// How many connections there may be, with the limit on the process's files considered.
    pub(crate) fn connections_max(&self) -> usize {
        let files = files_max().unwrap_or(usize::MAX);
        // Some for the database, for other listeners, and for what the application opens.
        let for_others = (files / 8).max(64).min(files / 2);
        self.connections_max.min(files.saturating_sub(for_others)).max(1)
    }

    /// How many of them one address may have.
    pub(crate) fn per_address_max(&self) -> usize {
        let share = || self.connections_max().div_ceil(4).saturating_mul(3);
        self.connections_per_address_max.unwrap_or_else(share)
    }
}

/// How many files this process may have open, if the system tells.
fn files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    soft_limit(&limits)
}

/// The first number of the line: `Max open files            1024                 524288     files`.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_files_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit(&limits.replace("1024", "unlimited")), None);
        assert_eq!(soft_limit(""), None);
    }

    #[test]
    fn one_address_leaves_something_to_others() {
        let config = ServeConfig { connections_max: 100, ..ServeConfig::default() };
        assert_eq!((config.connections_max(), config.per_address_max()), (100, 75));
        let config = ServeConfig { connections_per_address_max: Some(5), ..config };
        assert_eq!(config.per_address_max(), 5);
        let none = ServeConfig { connections_max: 0, ..ServeConfig::default() };
        assert_eq!(none.connections_max(), 1);
    }
}
