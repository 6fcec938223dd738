//! What is known of an argument.

use serde_json::{Value, json};

use super::nullable::is_nullable;

/// What is known of an argument.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Param {
    /// The name.
    pub name: Option<String>,
    /// The schema. `None` if it may be anything.
    pub schema: Option<Value>,
}

impl Param {
    /// An argument with only a name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), schema: None }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object = serde_json::Map::new();
        if let Some(name) = &self.name {
            object.insert("name".to_owned(), json!(name));
        }
        if let Some(schema) = &self.schema {
            object.insert("schema".to_owned(), schema.clone());
            object.insert("required".to_owned(), json!(!is_nullable(schema)));
        }
        object.into()
    }
}
