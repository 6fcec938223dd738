//! How an application wants messages compressed.

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
