//! What a handler takes from a client and gives back, for REST, OpenAPI and TypeScript.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::json;

/// The client's side of a publication or method: the names of its arguments, as far as they are
/// known.
///
/// The fields of a struct in [`Params`](crate::extract::Params) give them; those of a tuple are named
/// by [`ServerBuilder::params`](crate::ServerBuilder::params).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature {
    /// The arguments.
    pub params: ParamNames,
}

/// What is known of the names of arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamNames {
    /// There are no arguments.
    #[default]
    None,
    /// One for each name, in this order.
    Named(Vec<String>),
    /// So many, without names.
    Unnamed(usize),
    /// Any number of them, of any kind.
    Any,
}

impl Signature {
    /// The handler takes its arguments as a `T`.
    pub(crate) fn takes<T: DeserializeOwned>(&mut self) {
        let mut params = ParamNames::Any;
        // The probe gives no value: what it was asked for is the answer.
        let _ = T::deserialize(Probe(&mut params));
        self.params = params;
    }

    /// As [`Server::describe`](crate::Server::describe) tells it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let params = match &self.params {
            ParamNames::None => json!([]),
            ParamNames::Named(names) => names.iter().map(|name| json!({ "name": name })).collect(),
            ParamNames::Unnamed(count) => vec![json!({}); *count].into(),
            ParamNames::Any => json!("any"),
        };
        json!({ "params": params })
    }

    /// Names the arguments.
    ///
    /// # Errors
    /// The number that there are, if it is another.
    pub(crate) fn name_params(&mut self, names: Vec<String>) -> Result<(), usize> {
        match &self.params {
            ParamNames::None if !names.is_empty() => return Err(0),
            ParamNames::Unnamed(count) if *count != names.len() => return Err(*count),
            ParamNames::Named(known) if known.len() != names.len() => return Err(known.len()),
            _ => self.params = ParamNames::Named(names),
        }
        Ok(())
    }
}

/// Notes which shape a type asks for when it is deserialized.
struct Probe<'a>(&'a mut ParamNames);

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
    fn note<T>(self, params: ParamNames) -> Result<T, Seen> {
        *self.0 = params;
        Err(Seen)
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Seen;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        self.note(ParamNames::Any)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        self.note(ParamNames::None)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, _: V) -> Result<V::Value, Seen> {
        self.note(ParamNames::Unnamed(len))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        _: V,
    ) -> Result<V::Value, Seen> {
        self.note(ParamNames::Unnamed(len))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Seen> {
        self.note(ParamNames::Named(fields.iter().map(|name| (*name).to_owned()).collect()))
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn params<T: DeserializeOwned>() -> ParamNames {
        let mut signature = Signature::default();
        signature.takes::<T>();
        signature.params
    }

    #[test]
    fn the_names_are_those_of_a_struct_as_serde_knows_them() {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[expect(dead_code, reason = "only its shape is of interest")]
        struct NewTask {
            list_id: String,
            text: Option<String>,
        }
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its shape is of interest")]
        struct Wrapped(NewTask);

        let named = ParamNames::Named(vec!["listId".to_owned(), "text".to_owned()]);
        assert_eq!(params::<NewTask>(), named);
        assert_eq!(params::<Wrapped>(), named);
        assert_eq!(params::<(String, Option<u8>)>(), ParamNames::Unnamed(2));
        assert_eq!(params::<()>(), ParamNames::None);
        assert_eq!(params::<Vec<ddp_core::ejson::Ejson>>(), ParamNames::Any);
    }

    #[test]
    fn a_tuple_gets_as_many_names_as_it_has_elements() {
        let mut signature = Signature::default();
        signature.takes::<(String, u8)>();
        assert_eq!(signature.name_params(vec!["a".to_owned()]), Err(2));
        assert_eq!(signature.name_params(vec!["a".to_owned(), "b".to_owned()]), Ok(()));
        let named = ParamNames::Named(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(signature.params, named);
        assert_eq!(Signature::default().name_params(vec!["a".to_owned()]), Err(0));
    }
}
