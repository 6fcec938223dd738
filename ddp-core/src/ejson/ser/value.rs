//! The value that is being written.

/// Writes one value. In wire form, which is `raw`, nothing is escaped.
pub(super) struct Serializer<'a> {
    pub(super) out: &'a mut String,
    pub(super) raw: bool,
}
