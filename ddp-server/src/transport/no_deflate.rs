//! Replaces `deflate` if the feature `compression` is off: nothing is ever negotiated.

use super::TransportError;

/// How messages to a client are compressed. It has no values, so they never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deflate {}

impl Deflate {
    /// The default is not to offer compression.
    pub(super) fn by_default() -> Option<Self> {
        None
    }

    pub(super) fn compress(self, _message: &[u8]) -> Option<Vec<u8>> {
        match self {}
    }
}

/// A compressed message has the same limit as any other.
pub(super) fn compressed_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max
}

/// A compressed message is refused: the reserved bit in its header is undefined.
pub(super) fn decompress(_payload: &[u8], _bytes_max: usize) -> Result<Vec<u8>, TransportError> {
    Err(TransportError::InvalidDeflate)
}
