//! Asks a type which arguments it is read from.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::param::Param;

/// The arguments from which a `T` is read; `None` if there may be any number of them.
pub(super) fn params_of<T: DeserializeOwned>() -> Option<Vec<Param>> {
    let mut params = None;
    // The probe gives no value: what it was asked for is the answer.
    let _ = T::deserialize(Probe(&mut params));
    params
}

/// Notes which shape a type asks for when it is deserialized.
struct Probe<'a>(&'a mut Option<Vec<Param>>);

/// That the probe has seen enough.
#[derive(Debug)]
struct Seen;

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seen")
    }
}

impl std::error::Error for Seen {}

impl serde::de::Error for Seen {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl Probe<'_> {
    fn note<T>(self, params: Option<Vec<Param>>) -> Result<T, Seen> {
        *self.0 = params;
        Err(Seen)
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Seen;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        self.note(None)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        self.note(Some(Vec::new()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, _: V) -> Result<V::Value, Seen> {
        self.note(Some(vec![Param::default(); len]))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        _: V,
    ) -> Result<V::Value, Seen> {
        self.note(Some(vec![Param::default(); len]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Seen> {
        self.note(Some(fields.iter().map(|name| Param::named(*name)).collect()))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Seen> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit_struct seq map enum identifier ignored_any
    }
}
