//! From values to serde's data model.

mod access;
mod missing;
mod text;
mod value;

use serde::de::{DeserializeOwned, Deserializer, Error as _, Unexpected, Visitor};

use self::access::{Elements, EnumValue, Members};
pub(super) use self::text::read_params;
use self::value::ValueDeserializer;
use super::encode::INTEGER_MAX;
use super::{DecodeError, Ejson, parse, wire};

/// Converts a value into any deserializable type.
///
/// The forms are those of [`to_text`](super::to_text). In addition to what serde_json accepts:
///
/// - A number without a fraction fits any integer type with its range, and so does a string of
///   digits for a number beyond ±(2^53 - 1).
/// - A tuple takes an array of its length. Missing elements at the end count as `undefined`, which
///   an `Option` or [`Ejson`] accepts, so a client may omit the last parameters of a method. Excess
///   elements are an error.
/// - `()` takes an empty array as well as `null`.
///
/// # Errors
///
/// If the value does not fit the type. The error says where, for example `[0].listId: expected
/// string, got number`.
pub fn from_value<T: DeserializeOwned>(value: Ejson) -> Result<T, DecodeError> {
    T::deserialize(ValueDeserializer::new(value, false))
}

/// Converts the parameters of a method or a subscription into a tuple, or into a struct with one
/// field for each, in order. Otherwise like [`from_value`].
///
/// # Errors
///
/// As for [`from_value`].
pub fn from_params<T: DeserializeOwned>(params: Vec<Ejson>) -> Result<T, DecodeError> {
    T::deserialize(ValueDeserializer::of_params(params))
}

/// Reads EJSON text into any deserializable type; see [`from_value`].
///
/// # Errors
///
/// As for [`parse`] and [`from_value`].
pub fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, DecodeError> {
    from_value(parse(text)?)
}

fn mismatch<'de, V: Visitor<'de>>(value: &Ejson, visitor: &V) -> DecodeError {
    let unexpected = match value {
        Ejson::Number(number) => Unexpected::Float(*number),
        other => Unexpected::Other(other.kind()),
    };
    DecodeError::invalid_type(unexpected, visitor)
}

impl ValueDeserializer {
    /// Visits an integer, whether it came as a number or as the string of one too large for a
    /// double.
    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.value {
            Ejson::Number(number) if number.fract() == 0.0 => {
                // Casting back shows whether the number is in range, except for 2^63 and 2^64,
                // which saturate to one less.
                if (*number as i64) as f64 == *number && *number < i64::MAX as f64 {
                    return visitor.visit_i64(*number as i64);
                }
                if (*number as u64) as f64 == *number && *number < u64::MAX as f64 {
                    return visitor.visit_u64(*number as u64);
                }
            }
            Ejson::String(digits) => match large_integer(digits) {
                Some(Integer::Signed(value)) => {
                    return match i64::try_from(value) {
                        Ok(value) => visitor.visit_i64(value),
                        Err(_) => visitor.visit_i128(value),
                    };
                }
                Some(Integer::Unsigned(value)) => {
                    return match u64::try_from(value) {
                        Ok(value) => visitor.visit_u64(value),
                        Err(_) => visitor.visit_u128(value),
                    };
                }
                None => {}
            },
            _ => {}
        }
        Err(mismatch(&self.value, &visitor))
    }
}

enum Integer {
    Signed(i128),
    Unsigned(u128),
}

/// The integer in a string. Only for integers that clients cannot have as numbers: a smaller one in
/// a string is a mistake.
fn large_integer(text: &str) -> Option<Integer> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() > 39 || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let magnitude: u128 = digits.parse().ok()?;
    if magnitude <= INTEGER_MAX.into() {
        None
    } else if digits.len() == text.len() {
        Some(Integer::Unsigned(magnitude))
    } else {
        text.parse().ok().map(Integer::Signed)
    }
}

/// Implements methods for types that need a certain variant.
macro_rules! expect {
    ($($method:ident: $pattern:pat => $visit:ident($value:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match self.value {
                $pattern => visitor.$visit($value),
                other => Err(mismatch(&other, &visitor)),
            }
        }
    )*};
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.integer(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for ValueDeserializer {
    type Error = DecodeError;

    /// Presents everything in its wire form, which serde may buffer. From it [`Ejson`] can tell
    /// dates and the like from objects that merely look like them.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Ejson::Null => visitor.visit_unit(),
            Ejson::Bool(value) => visitor.visit_bool(value),
            Ejson::Number(number) => {
                let integer = number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64;
                if !integer || (number == 0.0 && number.is_sign_negative()) {
                    visitor.visit_f64(number)
                } else if number < 0.0 {
                    visitor.visit_i64(number as i64)
                } else {
                    visitor.visit_u64(number as u64)
                }
            }
            Ejson::String(string) => visitor.visit_string(string),
            Ejson::Array(items) => Elements::visit_all(items, self.raw, visitor),
            Ejson::Object(object) if self.raw || wire::tag(&object).is_none() => {
                visitor.visit_map(Members::new(object, self.raw))
            }
            tagged => match tagged.into_json_value() {
                Ejson::Object(object) => visitor.visit_map(Members::new(object, true)),
                other => Err(mismatch(&other, &visitor)),
            },
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    expect! {
        deserialize_bool: Ejson::Bool(value) => visit_bool(value);
        deserialize_f32: Ejson::Number(value) => visit_f64(value);
        deserialize_f64: Ejson::Number(value) => visit_f64(value);
        deserialize_char: Ejson::String(value) => visit_string(value);
        deserialize_str: Ejson::String(value) => visit_string(value);
        deserialize_string: Ejson::String(value) => visit_string(value);
        deserialize_identifier: Ejson::String(value) => visit_string(value);
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Ejson::Binary(bytes) => visitor.visit_byte_buf(bytes),
            Ejson::Array(items) => Elements::visit_all(items, self.raw, visitor),
            other => Err(mismatch(&other, &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Ejson::Null => visitor.visit_unit(),
            Ejson::Array(items) if items.is_empty() => visitor.visit_unit(),
            other => Err(mismatch(&other, &visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(match (name, self.raw) {
            (wire::NEWTYPE, false) => Self::new(self.value.into_json_value(), true),
            _ => self,
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Ejson::Array(items) => Elements::visit_all(items, self.raw, visitor),
            other => Err(mismatch(&other, &visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Ejson::Array(items) => Elements::visit_tuple(items, len, self.raw, visitor),
            other => Err(mismatch(&other, &visitor)),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Ejson::Object(object) => visitor.visit_map(Members::new(object, self.raw)),
            other => Err(mismatch(&other, &visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Ejson::Array(params) if self.are_params => {
                Elements::visit_tuple(params, fields.len(), self.raw, visitor)
            }
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Ejson::String(variant) => {
                visitor.visit_enum(EnumValue { variant, content: None::<Self> })
            }
            Ejson::Object(mut object) if object.len() == 1 => match object.pop() {
                Some((variant, value)) => {
                    let content = Some(Self::new(value, self.raw));
                    visitor.visit_enum(EnumValue { variant, content })
                }
                None => Err(mismatch(&Ejson::Object(object), &visitor)),
            },
            other => Err(mismatch(&other, &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}
