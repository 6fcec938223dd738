//! The value itself.

use std::fmt;

use indexmap::IndexMap;

use super::Date;

/// An object's members, in order.
///
/// JavaScript engines move keys that look like array indices to the front; here they stay where
/// they were written.
pub type Object = IndexMap<String, Ejson>;

/// Any value that EJSON can carry.
///
/// Equality is that of Meteor's `EJSON.equals`: `NaN` equals `NaN`, and the order of an object's
/// keys does not count. Compare [`Ejson::to_text`] where the order matters.
#[derive(Clone, Debug, Default)]
pub enum Ejson {
    /// `null`; also what `undefined` becomes on the wire.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, which in JavaScript is always a double.
    Number(f64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Self>),
    /// An object. Its keys may be any strings: encoding escapes it if needed.
    Object(Object),
    /// A JavaScript date.
    Date(Date),
    /// Bytes: a `Uint8Array`.
    Binary(Vec<u8>),
    /// A regular expression, whose source is not checked.
    RegExp {
        /// The pattern.
        source: String,
        /// Its flags; Meteor's clients honour `g`, `i`, `m`, `u` and `y`.
        flags: String,
    },
    /// A value of a type that the application registered with `EJSON.addType`, whether known here
    /// or not.
    Custom {
        /// The name that it was registered under.
        type_name: String,
        /// What the type's `toJSONValue` returned. It is plain JSON in which nothing is escaped: a
        /// date in it is an object with the key `$date`, as Meteor's factories see it.
        /// [`Ejson::from_json_value`] converts it.
        value: Box<Self>,
    },
}

impl Ejson {
    /// An object with these members, in order; if a key is repeated, the last value wins.
    pub fn object<K: Into<String>, V: Into<Self>>(
        members: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// An array of these values.
    pub fn array<V: Into<Self>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::Array(values.into_iter().map(Into::into).collect())
    }

    /// A value of a custom type; `value` is what its `toJSONValue` would return.
    pub fn custom(type_name: impl Into<String>, value: impl Into<Self>) -> Self {
        Self::Custom { type_name: type_name.into(), value: Box::new(value.into()) }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(value) = self { Some(*value) } else { None }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(value) = self { Some(value) } else { None }
    }

    /// The array's elements, if it is one.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(value) = self { Some(value) } else { None }
    }

    /// The object's members, if it is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(value) = self { Some(value) } else { None }
    }

    /// The date, if it is one.
    #[must_use]
    pub fn as_date(&self) -> Option<Date> {
        if let Self::Date(value) = self { Some(*value) } else { None }
    }

    /// The bytes, if it is binary.
    #[must_use]
    pub fn as_binary(&self) -> Option<&[u8]> {
        if let Self::Binary(value) = self { Some(value) } else { None }
    }

    /// The object's member with this name; `None` if there is none, or if this is not an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.get(key)
    }

    /// What it is, in the words that error messages use.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
            Self::Date(_) => "date",
            Self::Binary(_) => "binary",
            Self::RegExp { .. } => "regular expression",
            Self::Custom { .. } => "custom type",
        }
    }
}

impl PartialEq for Ejson {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Date(a), Self::Date(b)) => a == b,
            (Self::Binary(a), Self::Binary(b)) => a == b,
            (
                Self::RegExp { source: a, flags: a_flags },
                Self::RegExp { source: b, flags: b_flags },
            ) => a == b && a_flags == b_flags,
            (
                Self::Custom { type_name: a_type, value: a },
                Self::Custom { type_name: b_type, value: b },
            ) => a_type == b_type && a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Ejson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// Implements `From` by wrapping the value in a variant.
macro_rules! from {
    ($($source:ty => $variant:ident($value:ident) $convert:expr;)*) => {$(
        impl From<$source> for Ejson {
            fn from($value: $source) -> Self {
                Self::$variant($convert)
            }
        }
    )*};
}

from! {
    bool => Bool(value) value;
    f64 => Number(value) value;
    f32 => Number(value) value.into();
    i32 => Number(value) value.into();
    u32 => Number(value) value.into();
    &str => String(value) value.into();
    String => String(value) value;
    Vec<Self> => Array(value) value;
    Object => Object(value) value;
    Date => Date(value) value;
}

impl<T: Into<Self>> From<Option<T>> for Ejson {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
