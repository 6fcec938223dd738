//! Serde's traits for the types of this module.
//!
//! Each is represented by its wire form, wrapped in a newtype struct with a name that our own
//! serializer and deserializer know. That way it survives buffering by serde (`flatten`, untagged
//! enums), while other formats such as serde_json read and write plain EJSON.

use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encode::INTEGER_MAX;
use super::types::CustomType;
use super::{Binary, Custom, Date, Decimal, Ejson, Object, ObjectId, decode, wire};

impl Serialize for Ejson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(wire::NEWTYPE, &Wire { value: self, raw: false })
    }
}

/// A value that serializes as its wire form; if `raw`, nothing is escaped.
struct Wire<'a> {
    value: &'a Ejson,
    raw: bool,
}

/// An object that serializes unchanged.
struct Members<'a> {
    object: &'a Object,
    raw: bool,
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = self.object.iter();
        serializer.collect_map(members.map(|(key, value)| (key, Wire { value, raw: self.raw })))
    }
}

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = self.raw;
        match self.value {
            Ejson::Null => serializer.serialize_unit(),
            Ejson::Bool(value) => serializer.serialize_bool(*value),
            Ejson::Number(number) if number.is_finite() => {
                // Other formats would print an integer as `1.0`, which JavaScript never does.
                if number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64 {
                    serializer.serialize_i64(*number as i64)
                } else {
                    serializer.serialize_f64(*number)
                }
            }
            Ejson::String(string) => serializer.serialize_str(string),
            Ejson::Array(items) => {
                serializer.collect_seq(items.iter().map(|value| Wire { value, raw }))
            }
            Ejson::Object(object) if !raw && wire::tag(object).is_some() => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(wire::ESCAPE, &Members { object, raw })?;
                map.end()
            }
            Ejson::Object(object) => Members { object, raw }.serialize(serializer),
            Ejson::Custom { type_name, value } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry(wire::TYPE, type_name)?;
                map.serialize_entry(wire::VALUE, &Wire { value, raw: true })?;
                map.end()
            }
            tagged => {
                let plain = tagged.clone().into_json_value();
                Wire { value: &plain, raw: true }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Ejson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plain = deserializer.deserialize_newtype_struct(wire::NEWTYPE, WireVisitor)?;
        Self::from_json_value(plain).map_err(D::Error::custom)
    }
}

/// Builds a value from whatever it gets, without interpreting it.
struct WireVisitor;

/// A value that deserializes from its wire form without being interpreted.
struct Plain(Ejson);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WireVisitor).map(Self)
    }
}

impl<'de> Visitor<'de> for WireVisitor {
    type Value = Ejson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Ejson, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_unit<E>(self) -> Result<Ejson, E> {
        Ok(Ejson::Null)
    }

    fn visit_none<E>(self) -> Result<Ejson, E> {
        Ok(Ejson::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Ejson, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Ejson, E> {
        Ok(Ejson::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Ejson, E> {
        Ok(Ejson::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Ejson, E> {
        Ok(Ejson::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Ejson, E> {
        Ok(Ejson::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Ejson, E> {
        Ok(Ejson::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Ejson, E> {
        Ok(Ejson::String(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Ejson, E> {
        Ok(Ejson::Binary(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ejson, A::Error> {
        let mut items = Vec::new();
        while let Some(Plain(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Ejson::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ejson, A::Error> {
        let mut object = Object::new();
        while let Some((key, Plain(value))) = map.next_entry()? {
            object.insert(key, value);
        }
        Ok(Ejson::Object(object))
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Ejson::Date(*self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Ejson::deserialize(deserializer)?;
        value.as_date().ok_or_else(|| D::Error::custom(decode::mismatch("date", &value)))
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Ejson::Binary(self.0.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Ejson::deserialize(deserializer)? {
            Ejson::Binary(bytes) => Ok(Self(bytes)),
            other => Err(D::Error::custom(decode::mismatch("binary", &other))),
        }
    }
}

impl<T: CustomType> Serialize for Custom<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Ejson::from(self).serialize(serializer)
    }
}

impl<'de, T: CustomType> Deserialize<'de> for Custom<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ejson::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

/// Implements serde's traits for a built-in custom type, so that it needs no [`Custom`].
macro_rules! custom {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Ejson::custom(Self::NAME, self.to_value()).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Custom::deserialize(deserializer).map(|custom| custom.0)
            }
        }
    )*};
}

custom!(ObjectId, Decimal);
