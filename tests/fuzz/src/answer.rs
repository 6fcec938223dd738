//! What a server sends, parsed by something other than the server's own parser.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A message from the server. Fields that no test checks are only known to be JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Answer<'a> {
    pub msg: Option<String>,
    #[serde(default, deserialize_with = "id")]
    pub id: Option<String>,
    pub session: Option<String>,
    pub version: Option<String>,
    pub subs: Option<Vec<String>>,
    pub methods: Option<Vec<String>>,
    pub collection: Option<String>,
    pub cleared: Option<Vec<String>>,
    pub reason: Option<String>,
    #[serde(borrow)]
    pub fields: Option<&'a RawValue>,
    #[serde(borrow)]
    pub result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub offending_message: Option<&'a RawValue>,
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Value::deserialize(deserializer).map(|value| id_text(Some(&value)))
}

/// An id as text: a `pong` repeats what the `ping` had, whatever JSON it is.
#[must_use]
pub fn id_text(id: Option<&Value>) -> Option<String> {
    match id? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl<'a> Answer<'a> {
    /// Parses a message.
    ///
    /// # Panics
    /// If it is not a JSON object, or a field has a type that the protocol does not allow.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
            panic!("the server sent what is not JSON: {error}: {text:?}");
        }
        match serde_json::from_str(text) {
            Ok(answer) => answer,
            Err(error) => panic!("the server sent what is not DDP: {error}: {text:?}"),
        }
    }
}
