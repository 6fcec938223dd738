//! What a handler takes from a client and gives back, for REST, OpenAPI and TypeScript.

mod nullable;
mod param;
mod probe;

pub use param::Param;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The client's side of a publication or method, as far as it is known.
///
/// The fields of a struct in [`Params`](crate::extract::Params) name the arguments; those of a tuple,
/// and of a struct with aliases, are named by [`ServerBuilder::params`](crate::ServerBuilder::params). Types are known for handlers
/// registered with `ddp_server::schema::typed` (feature `schema`), as [JSON
/// Schemas](https://json-schema.org/specification) of draft 2020-12; each has in its `$defs` what its
/// `$ref`s name, so that it can stand alone.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Signature {
    /// The arguments, in their order. `None` if there may be any number of them, of any kind.
    pub params: Option<Vec<Param>>,
    /// The schema of what a method returns. `None` if it may be anything.
    pub result: Option<Value>,
    /// The schemas of the documents that a publication's cursors publish, one for each cursor. A
    /// cursor that publishes only some fields leaves out the others. Empty if it is not known.
    pub documents: Vec<Value>,
}

/// No arguments.
impl Default for Signature {
    fn default() -> Self {
        Self { params: Some(Vec::new()), result: None, documents: Vec::new() }
    }
}

impl Signature {
    /// The handler takes its arguments as a `T`.
    pub(crate) fn takes<T: DeserializeOwned>(&mut self) {
        self.params = probe::params_of::<T>();
    }

    /// As [`Server::describe`](crate::Server::describe) tells it.
    pub(crate) fn to_json(&self) -> Value {
        let params = match &self.params {
            Some(params) => params.iter().map(Param::to_json).collect(),
            None => json!("any"),
        };
        let mut object = json!({ "params": params });
        if let Some(result) = &self.result {
            object["result"] = result.clone();
        }
        if !self.documents.is_empty() {
            object["documents"] = json!(self.documents);
        }
        object
    }

    /// Names the arguments.
    ///
    /// # Errors
    /// The actual number of arguments, if it differs.
    pub(crate) fn name_params(&mut self, names: Vec<String>) -> Result<(), usize> {
        let Some(params) = &mut self.params else {
            self.params = Some(names.into_iter().map(Param::named).collect());
            return Ok(());
        };
        if params.len() != names.len() {
            return Err(params.len());
        }
        for (param, name) in params.iter_mut().zip(names) {
            param.name = Some(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn params<T: DeserializeOwned>() -> Option<Vec<Param>> {
        let mut signature = Signature::default();
        signature.takes::<T>();
        signature.params
    }

    fn named(names: [&str; 2]) -> Option<Vec<Param>> {
        Some(names.map(Param::named).into())
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

        assert_eq!(params::<NewTask>(), named(["listId", "text"]));
        assert_eq!(params::<Wrapped>(), named(["listId", "text"]));
        assert_eq!(params::<(String, Option<u8>)>(), Some(vec![Param::default(); 2]));
        assert_eq!(params::<()>(), Some(Vec::new()));
        assert_eq!(params::<Vec<ddp_core::ejson::Ejson>>(), None);
    }

    #[test]
    fn an_alias_is_no_argument_of_its_own() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its shape is of interest")]
        struct Aliased {
            #[serde(alias = "id", alias = "key")]
            list_id: String,
            #[serde(skip)]
            seen: bool,
            text: String,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct AllDefaults {
            #[serde(alias = "id")]
            list_id: String,
            text: String,
            done: bool,
        }
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its shape is of interest")]
        struct One {
            #[serde(alias = "id")]
            list_id: String,
        }

        assert_eq!(params::<Aliased>(), Some(vec![Param::default(); 2]));
        assert_eq!(params::<AllDefaults>(), Some(vec![Param::default(); 3]));
        assert_eq!(params::<One>(), Some(vec![Param::default()]));
    }

    #[test]
    fn a_tuple_gets_as_many_names_as_it_has_elements() {
        let mut signature = Signature::default();
        signature.takes::<(String, u8)>();
        assert_eq!(signature.name_params(vec!["a".to_owned()]), Err(2));
        assert_eq!(signature.name_params(vec!["a".to_owned(), "b".to_owned()]), Ok(()));
        assert_eq!(signature.params, named(["a", "b"]));
        assert_eq!(Signature::default().name_params(vec!["a".to_owned()]), Err(0));
        signature.takes::<Vec<String>>();
        assert_eq!(signature.name_params(vec!["a".to_owned(), "b".to_owned()]), Ok(()));
        assert_eq!(signature.params, named(["a", "b"]));
    }
}
