//! Limits and timeouts, each with a default.

use std::fmt;
use std::time::Duration;

use ddp_core::session::SessionConfig;

use crate::sockjs;

/// Limits and timeouts of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Timeouts and limits of each session.
    pub session: SessionConfig,
    /// The largest message that a client may send, in bytes; 4 MiB. A client that sends a larger one
    /// is disconnected with code 1009.
    pub message_bytes_max: usize,
    /// How many proxies clients come through, Meteor's `HTTP_FORWARDED_COUNT`; 0. It says which of
    /// the addresses in `x-forwarded-for` is the client's.
    pub forwarded_count: usize,
    /// How WebSocket messages are compressed for clients that offer it, as browsers do; `None` never
    /// compresses.
    pub compression: Option<Compression>,
    /// The options of SockJS.
    pub sockjs: sockjs::Options,
    /// How many steps of live queries wait for one session before it is sent the difference to the
    /// newest state instead; 64. Per subscription if it has more subscriptions than that.
    pub queued_deltas_max: usize,
    /// How many messages may wait for one session that cannot be left out, of ordered documents and
    /// of collections in which nothing is remembered; 10,000. A client that is further behind is
    /// disconnected.
    pub queued_messages_max: usize,
    /// With so many bytes waiting for a socket, nothing more is made for it, and nothing read from
    /// it; 256 KiB.
    pub queued_bytes_max: usize,
    /// A client whose socket takes nothing for so long is disconnected; 30 s.
    pub write_timeout: Duration,
    /// How long a closing handshake may take; 5 s.
    pub close_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session: SessionConfig::default(),
            message_bytes_max: 4 * 1024 * 1024,
            forwarded_count: 0,
            compression: Some(Compression::default()),
            sockjs: sockjs::Options::default(),
            queued_deltas_max: 64,
            queued_messages_max: 10_000,
            queued_bytes_max: 256 * 1024,
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// The defaults, changed by the environment variables of Meteor's server:
    ///
    /// | variable | sets |
    /// |---|---|
    /// | `HTTP_FORWARDED_COUNT` | [`forwarded_count`](Self::forwarded_count) |
    /// | `SERVER_WEBSOCKET_COMPRESSION` | no [`compression`](Self::compression) if it is `false`, `null` or `0`; other values are Meteor's options of zlib, and leave the default |
    /// | `DISABLE_WEBSOCKETS` | [`sockjs.websocket`](sockjs::Options::websocket) to false; plain `/websocket` stays |
    /// | `DISABLE_SOCKJS_CORS` | [`sockjs.disable_cors`](sockjs::Options::disable_cors) to true |
    /// | `USE_JSESSIONID` | [`sockjs.jsessionid`](sockjs::Options::jsessionid) to true |
    ///
    /// The last three count as set unless they are empty.
    ///
    /// # Errors
    /// A number that is none.
    pub fn from_env() -> Result<Self, EnvError> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, EnvError> {
        let mut config = Self::default();
        let name = "HTTP_FORWARDED_COUNT";
        if let Some(value) = variable(name) {
            config.forwarded_count = value.trim().parse().map_err(|_| EnvError { name, value })?;
        }
        if let Some(value) = variable("SERVER_WEBSOCKET_COMPRESSION")
            && matches!(value.trim(), "false" | "null" | "0")
        {
            config.compression = None;
        }
        config.sockjs.websocket = variable("DISABLE_WEBSOCKETS").is_none();
        config.sockjs.disable_cors = variable("DISABLE_SOCKJS_CORS").is_some();
        config.sockjs.jsessionid = variable("USE_JSESSIONID").is_some();
        Ok(config)
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

/// Compression of WebSocket messages by permessage-deflate (RFC 7692).
///
/// A change is compressed once for all sessions that see it. For that each message is compressed
/// by itself, without the context of those before, so that compression takes no memory for idle
/// connections either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// From 1, the fastest, to 9, the smallest; 2. On DDP messages that comes within about six
    /// percent of level 6, zlib's default, and takes half the time or less from 20 KB on.
    pub level: u8,
    /// Shorter messages are sent as they are; 128 bytes. Deflate takes a fifth off a message of
    /// 200 bytes, and of 90 bytes only a few.
    pub message_bytes_min: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { level: 2, message_bytes_min: 128 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meteors_environment_variables() {
        let config = |variables: &[(&str, &str)]| {
            Config::from_variables(|name| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let none = config(&[]).unwrap();
        assert_eq!(none.forwarded_count, 0);
        assert!(none.compression.is_some() && none.sockjs.websocket);
        assert!(!none.sockjs.disable_cors && !none.sockjs.jsessionid);
        let all = config(&[
            ("HTTP_FORWARDED_COUNT", "2"),
            ("SERVER_WEBSOCKET_COMPRESSION", "false"),
            ("DISABLE_WEBSOCKETS", "1"),
            ("DISABLE_SOCKJS_CORS", "1"),
            ("USE_JSESSIONID", "1"),
        ])
        .unwrap();
        assert_eq!(all.forwarded_count, 2);
        assert!(all.compression.is_none() && !all.sockjs.websocket);
        assert!(all.sockjs.disable_cors && all.sockjs.jsessionid);
        assert!(config(&[("SERVER_WEBSOCKET_COMPRESSION", "{}")]).unwrap().compression.is_some());
        let error = config(&[("HTTP_FORWARDED_COUNT", "-1")]).unwrap_err();
        assert_eq!(error.to_string(), "HTTP_FORWARDED_COUNT=-1: not a number of proxies");
    }
}
