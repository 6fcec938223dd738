//! From text to serde's data model, value by value.
//!
//! A type that wants other values than the text has fails at the first of them, so a text of a
//! million empty arrays costs nothing where a string is wanted. Only an [`Ejson`], or what serde
//! buffers, is built as a whole.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::access::{EnumValue, KeyDeserializer, Nullable};
use super::mismatch;
use super::missing::Missing;
use super::value::ValueDeserializer;
use crate::ejson::decode::interpret;
use crate::ejson::json::{Cursor, Skip, Tree};
use crate::ejson::wire::{self, Keys, Tag};
use crate::ejson::{DecodeError, Ejson, Object};

/// Reads parameters like [`from_params`](super::from_params), from a text that has been
/// [checked](crate::ejson::check).
///
/// In one point the text is not read as in JavaScript: a struct with a field that comes twice is an
/// error.
pub(in crate::ejson) fn read_params<T: DeserializeOwned>(text: &str) -> Result<T, DecodeError> {
    let mut cursor = Cursor::new(text);
    cursor.skip_whitespace();
    T::deserialize(TextDeserializer { cursor: &mut cursor, are_params: true, is_escaped: false })
}

/// Deserializes the value that begins at the cursor, and takes it, unless there is an error.
struct TextDeserializer<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    /// Whether it is an array of parameters, from which a struct takes one for each field.
    are_params: bool,
    /// Whether it is an object, whatever its keys.
    is_escaped: bool,
}

impl<'c, 'a> TextDeserializer<'c, 'a> {
    fn new(cursor: &'c mut Cursor<'a>) -> Self {
        Self { cursor, are_params: false, is_escaped: false }
    }

    /// The value, for a type that wants neither arrays nor objects. What is in these is left out.
    fn shallow(self) -> Result<ValueDeserializer, DecodeError> {
        let value = match self.cursor.peek() {
            Some(b'{') if !self.is_escaped && self.tag()?.is_some() => {
                let mut object = Object::new();
                let mut more = self.cursor.enter(b'}')?;
                while more {
                    let key = self.cursor.key()?.into_owned();
                    object.insert(key, shallow(self.cursor)?);
                    more = self.cursor.more(b'}')?;
                }
                let mut value = Ejson::Object(object);
                interpret(&mut value)?;
                value
            }
            _ => shallow(self.cursor)?,
        };
        Ok(ValueDeserializer::new(value, false))
    }

    /// The whole value.
    fn whole(self) -> Result<ValueDeserializer, DecodeError> {
        let mut value = self.cursor.read(&mut Tree::default())?;
        match &mut value {
            Ejson::Object(object) if self.is_escaped => object.values_mut().try_for_each(interpret),
            value => interpret(value),
        }?;
        Ok(ValueDeserializer::new(value, false))
    }

    /// What the object is read as, if not as an object.
    fn tag(&self) -> Result<Option<Tag>, DecodeError> {
        let (mut cursor, mut keys) = (*self.cursor, Keys::default());
        let mut more = cursor.enter(b'}')?;
        while more {
            keys.insert(&cursor.key()?);
            if keys.has_other() {
                return Ok(None);
            }
            cursor.read(&mut Skip)?;
            more = cursor.more(b'}')?;
        }
        Ok(keys.tag())
    }

    /// Reads the object in a `$escape`, and takes what is around it.
    fn inner<T>(
        &mut self,
        read: impl FnOnce(TextDeserializer<'_, 'a>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.cursor.enter(b'}')?;
        self.cursor.key()?;
        let inner = TextDeserializer { cursor: self.cursor, are_params: false, is_escaped: true };
        let value = read(inner)?;
        if self.cursor.more(b'}')? {
            return Err(DecodeError::new("duplicate key \"$escape\""));
        }
        Ok(value)
    }

    fn visit_array<'de, V: Visitor<'de>>(
        self,
        len_min: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let has_more = self.cursor.enter(b']')?;
        let mut elements = Elements { cursor: self.cursor, has_more, index: 0, len_min };
        let value = visitor.visit_seq(&mut elements)?;
        let (expected, mut len) = (elements.index, elements.index);
        while elements.has_more {
            elements.cursor.read(&mut Skip)?;
            elements.has_more = elements.cursor.more(b']')?;
            len += 1;
        }
        if len == expected {
            Ok(value)
        } else {
            Err(DecodeError::new(format!("expected {expected} elements, got {len}")))
        }
    }

    fn visit_object<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let has_more = self.cursor.enter(b'}')?;
        let mut members = Members { cursor: self.cursor, has_more, key: Cow::Borrowed("") };
        let value = visitor.visit_map(&mut members)?;
        while members.has_more {
            members.cursor.key()?;
            members.cursor.read(&mut Skip)?;
            members.has_more = members.cursor.more(b'}')?;
        }
        Ok(value)
    }

    fn visit_variant<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let cursor = self.cursor;
        if !cursor.enter(b'}')? {
            return Err(mismatch(&Ejson::Object(Object::new()), &visitor));
        }
        let variant = cursor.key()?.into_owned();
        let content = Some(TextDeserializer::new(&mut *cursor));
        let value = visitor.visit_enum(EnumValue { variant, content })?;
        if cursor.more(b'}')? {
            return Err(DecodeError::new("expected a variant, got an object with several keys"));
        }
        Ok(value)
    }
}

/// The value without what is in it.
fn shallow(cursor: &mut Cursor<'_>) -> Result<Ejson, DecodeError> {
    let empty = match cursor.peek() {
        Some(b'[') => Ejson::Array(Vec::new()),
        Some(b'{') => Ejson::Object(Object::new()),
        _ => return cursor.read(&mut Tree::default()),
    };
    cursor.read(&mut Skip)?;
    Ok(empty)
}

impl Nullable for TextDeserializer<'_, '_> {
    fn is_null(&self) -> bool {
        self.cursor.peek() == Some(b'n')
    }
}

/// Implements methods for types that want neither arrays nor objects.
macro_rules! shallow {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.shallow()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for TextDeserializer<'_, '_> {
    type Error = DecodeError;

    shallow! {
        deserialize_bool deserialize_char deserialize_str deserialize_string deserialize_identifier
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.whole()?.deserialize_any(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.cursor.peek() {
            Some(b'[') => self.visit_array(0, visitor),
            _ => self.shallow()?.deserialize_byte_buf(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.is_null() {
            self.cursor.read(&mut Skip)?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.cursor.peek() == Some(b'[') {
            if self.cursor.enter(b']')? {
                return Err(mismatch(&Ejson::Array(Vec::new()), &visitor));
            }
            return visitor.visit_unit();
        }
        self.shallow()?.deserialize_unit(visitor)
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
        if name != wire::NEWTYPE {
            return visitor.visit_newtype_struct(self);
        }
        if self.is_escaped {
            return self.whole()?.deserialize_newtype_struct(name, visitor);
        }
        // The text is the wire form.
        let plain = self.cursor.read(&mut Tree::default())?;
        visitor.visit_newtype_struct(ValueDeserializer::new(plain, true))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_tuple(0, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.cursor.peek() {
            Some(b'[') => self.visit_array(len, visitor),
            _ => self.shallow()?.deserialize_tuple(len, visitor),
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

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.cursor.peek() != Some(b'{') {
            return self.shallow()?.deserialize_map(visitor);
        }
        if self.is_escaped {
            return self.visit_object(visitor);
        }
        match self.tag()? {
            None => self.visit_object(visitor),
            Some(Tag::Escape) => self.inner(|inner| inner.deserialize_map(visitor)),
            Some(_) => self.shallow()?.deserialize_map(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.cursor.peek() {
            Some(b'[') if self.are_params => self.visit_array(fields.len(), visitor),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if self.cursor.peek() != Some(b'{') {
            return self.shallow()?.deserialize_enum(name, variants, visitor);
        }
        if self.is_escaped {
            return self.visit_variant(visitor);
        }
        match self.tag()? {
            None => self.visit_variant(visitor),
            Some(Tag::Escape) => {
                self.inner(|inner| inner.deserialize_enum(name, variants, visitor))
            }
            Some(_) => self.shallow()?.deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.cursor.read(&mut Skip)?;
        visitor.visit_unit()
    }
}

/// The elements of an array.
struct Elements<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    has_more: bool,
    index: usize,
    /// Up to this length absent elements are missing ones; beyond it they are the end.
    len_min: usize,
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let value = if self.has_more {
            seed.deserialize(TextDeserializer::new(self.cursor))
        } else if self.index < self.len_min {
            seed.deserialize(Missing)
        } else {
            return Ok(None);
        };
        let value = value.map_err(|error| error.at_index(self.index))?;
        self.index += 1;
        self.has_more = self.has_more && self.cursor.more(b']')?;
        Ok(Some(value))
    }
}

/// The members of an object.
struct Members<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    has_more: bool,
    key: Cow<'a, str>,
}

impl<'de> MapAccess<'de> for &mut Members<'_, '_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        if !self.has_more {
            return Ok(None);
        }
        self.key = self.cursor.key()?;
        let key = seed.deserialize(KeyDeserializer(&self.key));
        key.map(Some).map_err(|error| error.at_key(&self.key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        let value = seed.deserialize(TextDeserializer::new(self.cursor));
        let value = value.map_err(|error| error.at_key(&self.key))?;
        self.has_more = self.cursor.more(b'}')?;
        Ok(value)
    }
}
