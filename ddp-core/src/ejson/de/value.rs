//! The value that is being read.

use crate::ejson::Ejson;

/// Reads a value. Its elements are read by others of the same kind.
pub(super) struct ValueDeserializer {
    pub(super) value: Ejson,
    /// Whether it is in its wire form already.
    pub(super) raw: bool,
}
