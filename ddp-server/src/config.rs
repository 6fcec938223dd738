//! Limits and timeouts, each with a default.

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
    /// How WebSocket messages are compressed for clients that offer it, as browsers do; `None` never
    /// compresses.
    pub compression: Option<Compression>,
    /// The options of SockJS.
    pub sockjs: sockjs::Options,
    /// How many steps of live queries wait for one session before it is sent the difference to the
    /// newest state instead; 64. Per subscription if it has more subscriptions than that.
    pub queued_deltas_max: usize,
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
            compression: Some(Compression::default()),
            sockjs: sockjs::Options::default(),
            queued_deltas_max: 64,
            queued_bytes_max: 256 * 1024,
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
        }
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
