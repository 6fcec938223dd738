//! Custom types: their registry, and those that come with Meteor.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use super::decode::mismatch;
use super::{DecodeError, Ejson};
use crate::error::debug_as_display;

/// The names of the custom types that an application's clients know.
///
/// A Meteor client throws on a `$type` that it has no factory for, and drops the whole message. So
/// values are checked before they are sent. `oid` and `Decimal`, from Meteor's `mongo-id` and
/// `mongo-decimal`, are always known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types(HashSet<String>);

impl Types {
    /// Meteor's own types only.
    #[must_use]
    pub fn new() -> Self {
        Self(HashSet::from([ObjectId::NAME.to_owned(), Decimal::NAME.to_owned()]))
    }

    /// Adds a type that every client registers with `EJSON.addType`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>) -> Self {
        self.0.insert(name.into());
        self
    }

    /// Whether clients know the type.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Checks every custom type in the value. The plain JSON inside a custom type is left to its
    /// factory, so an object there that looks like a custom type is not checked.
    ///
    /// # Errors
    ///
    /// The first type that clients don't know.
    pub fn check(&self, value: &Ejson) -> Result<(), UnknownType> {
        match value {
            Ejson::Array(items) => items.iter().try_for_each(|item| self.check(item)),
            Ejson::Object(object) => object.values().try_for_each(|item| self.check(item)),
            Ejson::Custom { type_name, value } if self.contains(type_name) => self.check(value),
            Ejson::Custom { type_name, .. } => Err(UnknownType(type_name.clone())),
            _ => Ok(()),
        }
    }
}

impl Default for Types {
    fn default() -> Self {
        Self::new()
    }
}

/// A value has a custom type of this name, which clients do not know.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the custom EJSON type {0:?} is not registered")]
pub struct UnknownType(pub String);

debug_as_display!(UnknownType);

/// An application's type that is sent as an EJSON custom type; see [`Custom`].
pub trait CustomType: Sized {
    /// The name that clients register with `EJSON.addType`.
    const NAME: &'static str;

    /// What the client's factory gets: plain JSON. A date in it, for example, arrives there as an
    /// object with the key `$date`.
    fn to_value(&self) -> Ejson;

    /// Converts what a client's `toJSONValue` returned, unless it is malformed. It is plain JSON as
    /// well; [`Ejson::from_json_value`] converts dates and so on in it.
    fn from_value(value: &Ejson) -> Option<Self>;
}

/// Makes a [`CustomType`] serializable as `{"$type": …, "$value": …}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Custom<T>(pub T);

impl<T: CustomType> From<&Custom<T>> for Ejson {
    fn from(value: &Custom<T>) -> Self {
        Self::custom(T::NAME, value.0.to_value())
    }
}

impl<T: CustomType> From<Custom<T>> for Ejson {
    fn from(value: Custom<T>) -> Self {
        Self::from(&value)
    }
}

impl<T: CustomType> TryFrom<Ejson> for Custom<T> {
    type Error = DecodeError;

    fn try_from(value: Ejson) -> Result<Self, DecodeError> {
        let Ejson::Custom { type_name, value } = value else {
            return Err(mismatch(T::NAME, &value));
        };
        let known = if type_name == T::NAME { T::from_value(&value) } else { None };
        known.map(Self).ok_or_else(|| {
            let problem =
                if type_name == T::NAME { "a malformed one" } else { "another custom type" };
            DecodeError::new(format!("expected {}, got {problem}", T::NAME))
        })
    }
}

/// Bytes that are sent as `$binary` and become a `Uint8Array` at the client.
///
/// A `Vec<u8>` by itself is an array of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binary(pub Vec<u8>);

impl From<Binary> for Ejson {
    fn from(value: Binary) -> Self {
        Self::Binary(value.0)
    }
}

/// A Mongo ObjectID, the custom type `oid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 12]);

impl ObjectId {
    /// The id of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 12] {
        self.0
    }
}

impl FromStr for ObjectId {
    type Err = DecodeError;

    /// Parses 24 hexadecimal digits in either case.
    fn from_str(hex: &str) -> Result<Self, DecodeError> {
        let malformed = || DecodeError::new("expected 24 hexadecimal digits");
        let mut bytes = [0; 12];
        if hex.len() != 24 {
            return Err(malformed());
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().as_chunks::<2>().0) {
            for digit in pair {
                let digit = char::from(*digit).to_digit(16).ok_or_else(malformed)?;
                *byte = *byte << 4 | digit as u8;
            }
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

impl CustomType for ObjectId {
    const NAME: &'static str = "oid";

    fn to_value(&self) -> Ejson {
        Ejson::String(self.to_string())
    }

    fn from_value(value: &Ejson) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

/// A decimal number of any precision, the custom type `Decimal` of Meteor's `mongo-decimal`.
///
/// Stored as text; two are equal if their texts are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// The text, such as `0.10`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Decimal {
    type Err = DecodeError;

    /// Parses what both PostgreSQL and Meteor's clients accept: digits with an optional sign, point
    /// and exponent, or `NaN`, `Infinity`, `-Infinity`.
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) =
            unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
        let (whole, fraction) =
            mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_exponent = |text: &str| digits(text.strip_prefix(['+', '-']).unwrap_or(text));
        let finite =
            digits(whole) && fraction.is_none_or(digits) && exponent.is_none_or(is_exponent);
        if finite || unsigned == "Infinity" || text == "NaN" {
            Ok(Self(text.to_owned()))
        } else {
            Err(DecodeError::new("expected a decimal number"))
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CustomType for Decimal {
    const NAME: &'static str = "Decimal";

    fn to_value(&self) -> Ejson {
        Ejson::String(self.0.clone())
    }

    fn from_value(value: &Ejson) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

impl From<ObjectId> for Ejson {
    fn from(value: ObjectId) -> Self {
        Custom(value).into()
    }
}

impl From<Decimal> for Ejson {
    fn from(value: Decimal) -> Self {
        Custom(value).into()
    }
}
