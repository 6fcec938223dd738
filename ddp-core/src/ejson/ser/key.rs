//! Map keys, which JSON writes as strings whatever they are in Rust.

use std::fmt::Display;

use serde::Serialize;
use serde::ser::{self, Impossible};

use crate::ejson::{EncodeError, write_string};

/// Writes a key in quotes.
pub(super) struct KeySerializer<'a> {
    pub(super) out: &'a mut String,
}

type Never = Impossible<(), EncodeError>;

fn refuse<T>() -> Result<T, EncodeError> {
    Err(EncodeError::new("a map's key must be a string, number, boolean or unit variant"))
}

impl KeySerializer<'_> {
    fn display(self, value: impl Display) -> Result<(), EncodeError> {
        write_string(&value.to_string(), self.out);
        Ok(())
    }
}

macro_rules! displayed {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<(), EncodeError> {
            self.display(value)
        }
    )*};
}

impl ser::Serializer for KeySerializer<'_> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    displayed! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        write_string(value, self.out);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.display(ryu_js::Buffer::new().format(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        self.display(ryu_js::Buffer::new().format(value))
    }

    fn serialize_bytes(self, _value: &[u8]) -> Result<(), EncodeError> {
        refuse()
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        refuse()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        refuse()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        refuse()
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
        _name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), EncodeError> {
        refuse()
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Never, EncodeError> {
        refuse()
    }

    fn serialize_tuple(self, _len: usize) -> Result<Never, EncodeError> {
        refuse()
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Never, EncodeError> {
        refuse()
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Never, EncodeError> {
        refuse()
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Never, EncodeError> {
        refuse()
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Never, EncodeError> {
        refuse()
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Never, EncodeError> {
        refuse()
    }
}
