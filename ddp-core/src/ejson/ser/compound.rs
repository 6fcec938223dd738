//! Sequences, maps and structs, which are written element by element.

use serde::Serialize;
use serde::ser;

use super::key::KeySerializer;
use super::value::Serializer;
use crate::ejson::wire::Keys;
use crate::ejson::{EncodeError, write_string};

/// An array or object being written.
pub(super) struct Compound<'a> {
    out: &'a mut String,
    raw: bool,
    /// Where it starts in the output.
    start: usize,
    empty: bool,
    /// The keys so far. Whether to escape the object is known only at its end.
    keys: Keys,
    close: &'static str,
}

impl<'a> Compound<'a> {
    pub(super) fn open(serializer: Serializer<'a>, open: char, close: &'static str) -> Self {
        let Serializer { out, raw } = serializer;
        let start = out.len();
        out.push(open);
        Self { out, raw, start, empty: true, keys: Keys::default(), close }
    }

    fn separate(&mut self) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(Serializer { out: self.out, raw: self.raw })
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.separate();
        self.value(value)
    }

    fn member<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), EncodeError> {
        self.separate();
        self.keys.insert(key);
        write_string(key, self.out);
        self.out.push(':');
        self.value(value)
    }

    fn close(self) {
        self.out.push_str(self.close);
        if !self.raw && self.keys.tag().is_some() {
            self.out.insert_str(self.start, "{\"$escape\":");
            // Only closing braces follow an object, so one more of them at the end will do.
            self.out.push('}');
        }
    }
}

/// Implements a trait of serde for elements without keys.
macro_rules! elements {
    ($($trait:ident::$method:ident;)*) => {$(
        impl ser::$trait for Compound<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.element(value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.close();
                Ok(())
            }
        }
    )*};
}

/// Implements a trait of serde for members with static names.
macro_rules! members {
    ($($trait:ident;)*) => {$(
        impl ser::$trait for Compound<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.member(key, value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.close();
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

members! {
    SerializeStruct;
    SerializeStructVariant;
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.separate();
        let start = self.out.len();
        key.serialize(KeySerializer { out: self.out })?;
        // The special keys need no escaping, so their text is just the key in quotes.
        self.keys.insert(self.out[start..].trim_matches('"'));
        self.out.push(':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.value(value)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.close();
        Ok(())
    }
}
