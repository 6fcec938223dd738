//! The value being written.

/// Writes one value. If `raw`, it is in wire form, and nothing is escaped.
pub(super) struct Serializer<'a> {
    pub(super) out: &'a mut String,
    pub(super) raw: bool,
}
