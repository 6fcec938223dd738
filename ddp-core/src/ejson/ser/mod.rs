//! From serde's data model to EJSON text.

mod compound;
mod key;
mod value;

use serde::Serialize;
use serde::ser;

use self::compound::Compound;
use self::value::Serializer;
use super::encode::{INTEGER_MAX, TEXT_CAPACITY, write_integer};
use super::wire::{self, Keys};
use super::{Ejson, EncodeError, parse, write_number, write_string};

/// The EJSON text of any serializable value.
///
/// Structs, maps, sequences, options and enums have the same form as in serde_json. The
/// differences:
///
/// - [`Date`](super::Date) and the other types of this module keep their meaning, while an object
///   that merely looks like one of them is escaped.
/// - Infinities and NaN become `$InfNaN`.
/// - Integers beyond ±(2^53 - 1), which clients could not tell apart, become strings of digits.
///   [`from_value`](super::from_value) converts such strings back to integers.
/// - Bytes that are serialized as such become `$binary`. A `Vec<u8>` does not: it is a sequence.
///
/// # Errors
///
/// If a map's key is not a string, number, boolean or unit variant, or if the value's own
/// implementation fails.
pub fn to_text<T: Serialize + ?Sized>(value: &T) -> Result<String, EncodeError> {
    let mut out = String::with_capacity(TEXT_CAPACITY);
    write(value, &mut out)?;
    Ok(out)
}

/// Appends what [`to_text`] returns. After an error the output may contain part of it.
///
/// # Errors
///
/// As for [`to_text`].
pub fn write<T: Serialize + ?Sized>(value: &T, out: &mut String) -> Result<(), EncodeError> {
    value.serialize(Serializer { out, raw: false })
}

/// What a client reads when the value is sent to it; see [`to_text`].
///
/// # Errors
///
/// As for [`to_text`], and if the value is nested deeper than [`NESTING_MAX`](super::NESTING_MAX).
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Ejson, EncodeError> {
    parse(&to_text(value)?).map_err(|error| EncodeError::new(error.to_string()))
}

impl<'a> Serializer<'a> {
    fn array(self) -> Compound<'a> {
        self.compound('[', "]")
    }

    fn object(self) -> Compound<'a> {
        self.compound('{', "}")
    }

    fn compound(self, open: char, close: &'static str) -> Compound<'a> {
        Compound::open(self, open, close)
    }

    /// Opens the object around a variant's content, and returns what must close it.
    fn variant(&mut self, name: &'static str) -> &'static str {
        let mut keys = Keys::default();
        keys.insert(name);
        let escape = !self.raw && keys.tag().is_some();
        self.out.push_str(if escape { "{\"$escape\":{" } else { "{" });
        write_string(name, self.out);
        self.out.push(':');
        if escape { "}}" } else { "}" }
    }

    fn integer(self, negative: bool, magnitude: u128) -> Result<(), EncodeError> {
        match u64::try_from(magnitude) {
            Ok(magnitude @ ..=INTEGER_MAX) => write_integer(negative, magnitude, self.out),
            _ => {
                self.out.push_str(if negative { "\"-" } else { "\"" });
                self.out.push_str(&magnitude.to_string());
                self.out.push('"');
            }
        }
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident($type:ty) $value:ident: $negative:expr, $magnitude:expr;)*) => {$(
        fn $method(self, $value: $type) -> Result<(), EncodeError> {
            self.integer($negative, $magnitude)
        }
    )*};
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    integers! {
        serialize_i8(i8) value: value < 0, value.unsigned_abs().into();
        serialize_i16(i16) value: value < 0, value.unsigned_abs().into();
        serialize_i32(i32) value: value < 0, value.unsigned_abs().into();
        serialize_i64(i64) value: value < 0, value.unsigned_abs().into();
        serialize_i128(i128) value: value < 0, value.unsigned_abs();
        serialize_u8(u8) value: false, value.into();
        serialize_u16(u16) value: false, value.into();
        serialize_u32(u32) value: false, value.into();
        serialize_u64(u64) value: false, value.into();
        serialize_u128(u128) value: false, value;
    }

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.out.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    /// Writes the shortest text for this `f32`, not all the digits that it has as a double.
    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        if value.is_finite() && value.fract() != 0.0 {
            self.out.push_str(ryu_js::Buffer::new().format_finite(value));
        } else {
            write_number(value.into(), self.out);
        }
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        write_number(value, self.out);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        write_string(value, self.out);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        Ejson::Binary(value.to_vec()).write(self.out);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.out.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        let raw = self.raw || name == wire::NEWTYPE;
        value.serialize(Serializer { out: self.out, raw })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        let close = self.variant(variant);
        value.serialize(Serializer { out: &mut *self.out, raw: self.raw })?;
        self.out.push_str(close);
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Compound<'a>, EncodeError> {
        Ok(self.array())
    }

    fn serialize_tuple(self, _len: usize) -> Result<Compound<'a>, EncodeError> {
        Ok(self.array())
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Compound<'a>, EncodeError> {
        Ok(self.array())
    }

    fn serialize_tuple_variant(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'a>, EncodeError> {
        let close = if self.variant(variant) == "}" { "]}" } else { "]}}" };
        Ok(self.compound('[', close))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Compound<'a>, EncodeError> {
        Ok(self.object())
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Compound<'a>, EncodeError> {
        Ok(self.object())
    }

    fn serialize_struct_variant(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'a>, EncodeError> {
        let close = if self.variant(variant) == "}" { "}}" } else { "}}}" };
        Ok(self.compound('{', close))
    }
}
