//! The value that is being read.

use crate::ejson::Ejson;

/// Deserializes a value; its elements get deserializers of their own.
pub(super) struct ValueDeserializer {
    pub(super) value: Ejson,
    /// Whether it is already in its wire form.
    pub(super) raw: bool,
    /// Whether it is an array of parameters, from which a struct takes one for each field.
    pub(super) are_params: bool,
}

impl ValueDeserializer {
    pub(super) const fn new(value: Ejson, raw: bool) -> Self {
        Self { value, raw, are_params: false }
    }

    pub(super) const fn of_params(params: Vec<Ejson>) -> Self {
        Self { value: Ejson::Array(params), raw: false, are_params: true }
    }
}
