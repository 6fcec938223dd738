//! Arrays, objects and enums, which serde reads element by element.

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::missing::Missing;
use super::value::ValueDeserializer;
use crate::ejson::{DecodeError, Ejson, Object};

/// The elements of an array.
pub(super) struct Elements {
    items: std::vec::IntoIter<Ejson>,
    index: usize,
    /// Up to this length absent elements are missing ones; beyond it they are the end.
    len_min: usize,
    raw: bool,
}

impl Elements {
    /// Visits all elements, however many there are.
    pub(super) fn visit_all<'de, V: Visitor<'de>>(
        items: Vec<Ejson>,
        raw: bool,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        Self::visit(items, 0, raw, visitor)
    }

    /// Visits exactly this many; the last ones may be missing.
    pub(super) fn visit_tuple<'de, V: Visitor<'de>>(
        items: Vec<Ejson>,
        len: usize,
        raw: bool,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        Self::visit(items, len, raw, visitor)
    }

    fn visit<'de, V: Visitor<'de>>(
        items: Vec<Ejson>,
        len_min: usize,
        raw: bool,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let len = items.len();
        let mut elements = Self { items: items.into_iter(), index: 0, len_min, raw };
        let value = visitor.visit_seq(&mut elements)?;
        if elements.items.len() == 0 {
            Ok(value)
        } else {
            let expected = elements.index;
            Err(DecodeError::new(format!("expected {expected} elements, got {len}")))
        }
    }
}

impl<'de> SeqAccess<'de> for &mut Elements {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let value = match self.items.next() {
            Some(value) => seed.deserialize(ValueDeserializer::new(value, self.raw)),
            None if self.index < self.len_min => seed.deserialize(Missing),
            None => return Ok(None),
        };
        let value = value.map_err(|error| error.at_index(self.index))?;
        self.index += 1;
        Ok(Some(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The members of an object.
pub(super) struct Members {
    members: indexmap::map::IntoIter<String, Ejson>,
    current: Option<(String, Ejson)>,
    raw: bool,
}

impl Members {
    pub(super) fn new(object: Object, raw: bool) -> Self {
        Self { members: object.into_iter(), current: None, raw }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        self.current = self.members.next();
        let Some((key, _)) = &self.current else { return Ok(None) };
        seed.deserialize(KeyDeserializer(key)).map(Some).map_err(|error| error.at_key(key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        let Some((key, value)) = self.current.take() else {
            return Err(DecodeError::new("a value was asked for before its key"));
        };
        let value = ValueDeserializer::new(value, self.raw);
        seed.deserialize(value).map_err(|error| error.at_key(&key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.members.len())
    }
}

/// A key, which is a string but may stand for a number, boolean or unit variant.
pub(super) struct KeyDeserializer<'a>(pub(super) &'a str);

macro_rules! parsed {
    ($($method:ident => $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for KeyDeserializer<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_str(self.0)
    }

    parsed! {
        deserialize_bool => visit_bool;
        deserialize_i8 => visit_i8;
        deserialize_i16 => visit_i16;
        deserialize_i32 => visit_i32;
        deserialize_i64 => visit_i64;
        deserialize_i128 => visit_i128;
        deserialize_u8 => visit_u8;
        deserialize_u16 => visit_u16;
        deserialize_u32 => visit_u32;
        deserialize_u64 => visit_u64;
        deserialize_u128 => visit_u128;
        deserialize_f32 => visit_f32;
        deserialize_f64 => visit_f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let key: StrDeserializer<'_, DecodeError> = self.0.into_deserializer();
        key.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// A deserializer of the content of a variant.
pub(super) trait Nullable {
    /// Whether the content is `null`.
    fn is_null(&self) -> bool;
}

impl Nullable for ValueDeserializer {
    fn is_null(&self) -> bool {
        self.value.is_null()
    }
}

/// A variant: a name alone, or an object with the name as its only key and the content.
pub(super) struct EnumValue<D> {
    pub(super) variant: String,
    pub(super) content: Option<D>,
}

impl<'de, D> EnumAccess<'de> for EnumValue<D>
where
    D: Deserializer<'de, Error = DecodeError> + Nullable,
{
    type Error = DecodeError;
    type Variant = Content<D>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content<D>), DecodeError> {
        let name = seed.deserialize(KeyDeserializer(&self.variant))?;
        Ok((name, Content(self)))
    }
}

/// The content of a variant.
pub(super) struct Content<D>(EnumValue<D>);

impl<D> Content<D> {
    fn read<T>(
        self,
        expected: &str,
        read: impl FnOnce(D) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let EnumValue { variant, content } = self.0;
        match content {
            Some(content) => read(content).map_err(|error| error.at_key(&variant)),
            None => Err(DecodeError::new(format!("expected {expected}, got string"))),
        }
    }
}

impl<'de, D> VariantAccess<'de> for Content<D>
where
    D: Deserializer<'de, Error = DecodeError> + Nullable,
{
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.0.content {
            None => Ok(()),
            Some(content) if content.is_null() => IgnoredAny::deserialize(content).map(drop),
            Some(_) => Err(DecodeError::new("expected string, got object")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        self.read("object", |content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.read("object", |content| content.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.read("object", |content| content.deserialize_map(visitor))
    }
}
