//! What can go wrong between the socket and a whole message.

use std::io;

/// Why a transport stopped yielding messages.
///
/// Except for [`TransportError::Io`] the peer is to blame, and the transport has already queued a
/// close frame that says so ([`TransportError::close`]).
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
    /// The peer broke the WebSocket protocol.
    #[error("WebSocket protocol error: {0}")]
    Violation(#[from] Violation),
    /// A message or a close reason is not UTF-8.
    #[error("text that is not UTF-8")]
    InvalidUtf8,
    /// A message would exceed [`message_bytes_max`](super::TransportConfig::message_bytes_max). It
    /// was refused when its frame header arrived, before the payload was read; a compressed one
    /// when it inflated beyond the limit.
    #[error("a message of at least {bytes} bytes exceeds the limit of {limit}")]
    MessageTooBig {
        /// The size known when the message was refused.
        bytes: u64,
        /// The configured limit.
        limit: usize,
    },
    /// A large message, whose memory others wait for, did not arrive within a minute.
    #[error("a message over 16 KiB took more than a minute")]
    TooSlow,
    /// The payload of a compressed message is not DEFLATE data (RFC 7692 section 7.2.2).
    #[error("broken compressed data")]
    InvalidDeflate,
    /// A SockJS client sent a frame that is neither a JSON string nor an array of them.
    #[cfg(feature = "sockjs")]
    #[error("broken SockJS framing")]
    SockJsFraming,
}

impl TransportError {
    /// The close code and reason owed to the peer; `None` when the socket is gone anyway.
    ///
    /// Codes are those of RFC 6455 section 7.4.1; 3000 is sockjs-node's for broken framing.
    pub(crate) fn close(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::Io(_) => None,
            Self::Violation(_) => Some((1002, "Protocol error")),
            Self::InvalidUtf8 => Some((1007, "Not UTF-8")),
            // RFC 7692 names no code; this one means data that does not match the message's type.
            Self::InvalidDeflate => Some((1007, "Invalid compressed data")),
            Self::TooSlow => Some((1008, "Too slow")),
            Self::MessageTooBig { .. } => Some((1009, "Message too big")),
            #[cfg(feature = "sockjs")]
            Self::SockJsFraming => Some((3000, "Broken framing.")),
        }
    }
}

/// A way to break RFC 6455 section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// A reserved bit is set that no negotiated extension defines (section 5.2). That of
    /// permessage-deflate is defined only on the first frame of a message (RFC 7692 section 6).
    #[error("reserved bit set")]
    ReservedBit,
    /// An undefined opcode (section 5.2).
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// A client's frame is not masked (section 5.1).
    #[error("unmasked frame")]
    Unmasked,
    /// A control frame has more than 125 bytes (section 5.5).
    #[error("control frame of {0} bytes")]
    ControlTooLong(u64),
    /// A control frame is fragmented (section 5.4).
    #[error("fragmented control frame")]
    ControlFragmented,
    /// A continuation frame has nothing to continue (section 5.4).
    #[error("continuation without a message")]
    UnexpectedContinuation,
    /// A new message starts before the last one has ended (section 5.4).
    #[error("new message within a fragmented one")]
    ExpectedContinuation,
    /// A close frame's body is too short for a code (section 5.5.1).
    #[error("close frame with half a code")]
    CloseCodeTruncated,
}
