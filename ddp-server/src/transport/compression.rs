//! Settings for the compression of messages.

/// Compression of WebSocket messages by permessage-deflate (RFC 7692).
///
/// A change is compressed once for all sessions that see it. To allow that, each message is
/// compressed on its own, without the context of earlier ones, so idle connections take no memory
/// for compression either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// From 1 (fastest) to 9 (smallest); 2. For DDP messages that is within about six percent of
    /// level 6, zlib's default, and from 20 KB on takes half the time or less.
    pub level: u8,
    /// Shorter messages are not compressed; 128 bytes. Deflate saves a fifth of a message of 200
    /// bytes, and only a few bytes of one of 90.
    pub message_bytes_min: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { level: 2, message_bytes_min: 128 }
    }
}
