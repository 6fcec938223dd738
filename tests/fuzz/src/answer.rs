//! What a server sends, read by another parser than the server's own.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A message of the server. Fields that a test does not look at are only known to be JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Answer<'a> {
    pub msg: Option<String>,
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

impl<'a> Answer<'a> {
    /// Reads a message.
    ///
    /// # Panics
    /// If it is no JSON object, or a field has another type than the protocol gives it.
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
