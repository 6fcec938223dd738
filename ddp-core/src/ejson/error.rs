//! Errors in EJSON text and values.

use std::fmt::{self, Display};

use serde::de::{Expected, Unexpected};

use crate::error::debug_as_display;

/// Text or a value does not have the expected form.
///
/// Displayed as the path to the bad value, if it is inside another one, and the reason:
/// `[0].listId: expected string, got number`. Of the input it contains only keys and numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError {
    path: String,
    message: String,
}

impl DecodeError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { path: String::new(), message: message.into() }
    }

    /// Moves the error one level deeper: it occurred at this index.
    pub(super) fn at_index(mut self, index: usize) -> Self {
        self.path.insert_str(0, &format!("[{index}]"));
        self
    }

    /// Moves the error one level deeper: it occurred at this key.
    pub(super) fn at_key(mut self, key: &str) -> Self {
        let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'));
        let segment =
            if plain && !key.is_empty() { format!(".{key}") } else { format!("[{key:?}]") };
        self.path.insert_str(0, &segment);
        self
    }

    /// The path to the bad value, such as `[0].listId`; empty if it is the whole value.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.strip_prefix('.').unwrap_or(&self.path)
    }

    /// What is wrong there.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path())?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

debug_as_display!(DecodeError, EncodeError);

impl serde::de::Error for DecodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, got {}", name(expected), kind(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let got = match unexpected {
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            other => kind(other),
        };
        Self::new(format!("expected {}, got {got}", name(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("missing key {field:?}"))
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown key {field:?}"))
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("expected one of {expected:?}"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate key {field:?}"))
    }
}

/// What was expected, without the article of serde's own descriptions.
pub(super) fn name(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let name = text.strip_prefix("a ").or_else(|| text.strip_prefix("an "));
    name.map(str::to_owned).unwrap_or(text)
}

/// What was found, in the words of [`super::Ejson::kind`]. A fraction is included, since it is what
/// is wrong if an integer was expected.
fn kind(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(_) => "boolean".into(),
        Unexpected::Float(number) if number.fract() != 0.0 => number.to_string(),
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "number".into(),
        Unexpected::Char(_) | Unexpected::Str(_) => "string".into(),
        Unexpected::Bytes(_) => "binary".into(),
        Unexpected::Unit | Unexpected::Option => "null".into(),
        Unexpected::Seq => "array".into(),
        Unexpected::Map => "object".into(),
        Unexpected::Other(what) => what.into(),
        other => other.to_string(),
    }
}

/// A value has no form in EJSON.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EncodeError {
    message: String,
}

impl EncodeError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl serde::ser::Error for EncodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}
