//! Limits and timeouts, each with a default.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ddp_core::session::SessionConfig;

use crate::serve::ServeConfig;
#[cfg(feature = "sockjs")]
use crate::sockjs;
#[cfg(feature = "compression")]
pub use crate::transport::Compression;
use crate::transport::{LargeMessages, Memory, Origins, Shares, TransportConfig};

/// Limits and timeouts of a server.
///
/// ```
/// use std::time::Duration;
///
/// use ddp_server::{Server, ServerConfig};
///
/// let mut config = ServerConfig::default();
/// config.message_bytes_max = 64 * 1024;
/// config.write_timeout = Duration::from_secs(10);
/// let server = Server::builder().config(config).build();
/// # let _ = server;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Timeouts and limits of each session.
    pub session: SessionConfig,
    /// The largest message that a client may send, in bytes; 4 MiB. A client that sends a larger one
    /// is disconnected with code 1009.
    pub message_bytes_max: usize,
    /// How many bytes of messages over 16 KiB are read or handled at once, for all clients together;
    /// 64 MiB. Others wait for their turn, unread. The clients of one address have half of it. At least
    /// one message of `message_bytes_max`. As much is for results over 16 KiB until their clients have
    /// taken them: calls of methods that have returned such ones wait for it before they run.
    pub large_messages_bytes_max: usize,
    /// How many bytes all sessions may keep together for their clients' messages, besides 16 KiB each;
    /// 128 MiB. Subscriptions have three quarters of it, and the clients of one address half of that, and of the rest. A
    /// subscription counts as its message and 1 KiB. When it is used up, a session gets along with
    /// what it has besides, and a subscription beyond that waits until others end; see
    /// [`SessionConfig::session_bytes_max`].
    pub sessions_bytes_max: usize,
    /// How many proxies are in front of the server, Meteor's `HTTP_FORWARDED_COUNT`; 0. It decides
    /// which address in `x-forwarded-for` is the client's.
    pub forwarded_count: usize,
    /// The origins whose pages may connect, by WebSocket and by SockJS; any, as with Meteor. Set it if
    /// clients can do something here by being where they are, such as in a company's network:
    /// otherwise any page that they open can do it, too.
    pub allowed_origins: Origins,
    /// Limits and deadlines of connections, and TLS.
    pub serve: ServeConfig,
    /// How WebSocket messages are compressed for clients that offer it, as browsers do; `None` never
    /// compresses.
    #[cfg(feature = "compression")]
    pub compression: Option<Compression>,
    /// The options of SockJS.
    #[cfg(feature = "sockjs")]
    pub sockjs: sockjs::SockJsConfig,
    /// How many steps of live queries wait for one session before it is sent the difference to the
    /// newest state instead; 64. Per subscription if it has more subscriptions than that.
    pub outbox_deltas_max: usize,
    /// How many messages that cannot be skipped may wait for one session: those of ordered
    /// documents, and of collections with the strategy `NoMergeNoHistory`; 10,000. A client that
    /// falls further behind is disconnected.
    pub outbox_messages_max: usize,
    /// When this many bytes wait for a socket, with 96 for each buffer that they are in, the server
    /// encodes nothing more for it and reads nothing from it; 256 KiB. While the clients of an
    /// address have 64 times as much beyond 8 KiB each, it is 8 KiB for them.
    pub outbox_bytes_max: usize,
    /// How long a client's socket may accept nothing before the client is disconnected; 30 s. While a
    /// result over 16 KiB waits for it, also how long it may take in all, and a second more for each
    /// 16 KiB that it took, up to five minutes.
    pub write_timeout: Duration,
    /// How long a closing handshake may take; 5 s.
    pub close_timeout: Duration,
    /// How long [`Server::close`](crate::Server::close) lets methods under way end; 10 s.
    pub drain_timeout: Duration,
    /// Over how long `Server::close` tells clients to go, so that they do not all come to the next
    /// server at once: 1 ms for each client, and 10 s at most, which is this.
    pub drain_spread: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            session: SessionConfig::default(),
            message_bytes_max: 4 * 1024 * 1024,
            large_messages_bytes_max: 64 * 1024 * 1024,
            sessions_bytes_max: 128 * 1024 * 1024,
            forwarded_count: 0,
            allowed_origins: Origins::default(),
            serve: ServeConfig::default(),
            #[cfg(feature = "compression")]
            compression: Some(Compression::default()),
            #[cfg(feature = "sockjs")]
            sockjs: sockjs::SockJsConfig::default(),
            outbox_deltas_max: 64,
            outbox_messages_max: 10_000,
            outbox_bytes_max: 256 * 1024,
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            drain_spread: Duration::from_secs(10),
        }
    }
}

impl ServerConfig {
    /// The defaults, changed by the environment variables of Meteor's server:
    ///
    /// | variable | sets |
    /// |---|---|
    /// | `HTTP_FORWARDED_COUNT` | [`forwarded_count`](Self::forwarded_count) |
    /// | `SERVER_WEBSOCKET_COMPRESSION` | no `compression` if it is `false`, `null` or `0`; other values are Meteor's options of zlib, and leave the default |
    /// | `DISABLE_WEBSOCKETS` | `sockjs.websocket` to false; plain `/websocket` stays |
    /// | `DISABLE_SOCKJS_CORS` | `sockjs.disable_cors` to true |
    /// | `USE_JSESSIONID` | `sockjs.jsessionid` to true |
    ///
    /// The last three count as set unless they are empty. Variables of disabled features are
    /// ignored.
    ///
    /// # Errors
    /// A value of `HTTP_FORWARDED_COUNT` that is not a whole number.
    pub fn from_env() -> Result<Self, EnvError> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, EnvError> {
        let mut config = Self::default();
        let name = "HTTP_FORWARDED_COUNT";
        if let Some(value) = variable(name) {
            config.forwarded_count = value.trim().parse().map_err(|_| EnvError { name, value })?;
        }
        #[cfg(feature = "compression")]
        if let Some(value) = variable("SERVER_WEBSOCKET_COMPRESSION")
            && matches!(value.trim(), "false" | "null" | "0")
        {
            config.compression = None;
        }
        #[cfg(feature = "sockjs")]
        {
            config.sockjs.websocket = variable("DISABLE_WEBSOCKETS").is_none();
            config.sockjs.disable_cors = variable("DISABLE_SOCKJS_CORS").is_some();
            config.sockjs.jsessionid = variable("USE_JSESSIONID").is_some();
        }
        Ok(config)
    }

    /// What large messages share.
    pub(crate) fn large_messages(&self) -> Arc<LargeMessages> {
        let bytes_max = self.large_messages_bytes_max;
        Arc::new(LargeMessages::new(bytes_max, self.message_bytes_max))
    }

    /// What large results share.
    pub(crate) fn results(&self) -> Arc<Memory> {
        Memory::new(self.large_messages_bytes_max, self.message_bytes_max)
    }

    /// The part of the configuration that transports need.
    pub(crate) fn transport(&self, large: Arc<LargeMessages>) -> TransportConfig {
        TransportConfig {
            message_bytes_max: self.message_bytes_max,
            forwarded_count: self.forwarded_count,
            origins: self.allowed_origins.clone(),
            cookies: Arc::default(),
            websockets: Shares::new(self.serve.per_address_max()),
            large,
            #[cfg(feature = "compression")]
            deflate: self.compression.map(Into::into),
            #[cfg(not(feature = "compression"))]
            deflate: None,
            #[cfg(feature = "sockjs")]
            sockjs: self.sockjs.clone(),
        }
    }
}

/// An environment variable that cannot be understood.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: not a number of proxies")]
pub struct EnvError {
    name: &'static str,
    value: String,
}

/// As [`Display`](fmt::Display): a `main` that returns the error shows this.
impl fmt::Debug for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meteors_environment_variables() {
        let config = |variables: &[(&str, &str)]| {
            ServerConfig::from_variables(|name| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let none = config(&[]).unwrap();
        assert_eq!(none.forwarded_count, 0);
        let all = config(&[
            ("HTTP_FORWARDED_COUNT", "2"),
            ("SERVER_WEBSOCKET_COMPRESSION", "false"),
            ("DISABLE_WEBSOCKETS", "1"),
            ("DISABLE_SOCKJS_CORS", "1"),
            ("USE_JSESSIONID", "1"),
        ])
        .unwrap();
        assert_eq!(all.forwarded_count, 2);
        #[cfg(feature = "compression")]
        {
            let zlib = config(&[("SERVER_WEBSOCKET_COMPRESSION", "{}")]).unwrap();
            assert!(none.compression.is_some() && zlib.compression.is_some());
            assert!(all.compression.is_none());
        }
        #[cfg(feature = "sockjs")]
        {
            assert!(none.sockjs.websocket && !none.sockjs.disable_cors && !none.sockjs.jsessionid);
            assert!(!all.sockjs.websocket && all.sockjs.disable_cors && all.sockjs.jsessionid);
        }
        let error = config(&[("HTTP_FORWARDED_COUNT", "-1")]).unwrap_err();
        assert_eq!(error.to_string(), "HTTP_FORWARDED_COUNT=-1: not a number of proxies");
    }
}
