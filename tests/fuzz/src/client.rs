//! A client that applies messages about documents as strictly as minimongo.

use std::collections::BTreeMap;

use serde_json::Value;

/// A document's fields, each as its JSON text.
pub type Fields = BTreeMap<String, String>;
/// Documents by their ids.
pub type Documents = BTreeMap<String, Fields>;

/// How strictly a message must fit what the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Completely: each field that is sent differs from before.
    Fields,
    /// A document is added once and removed once, and changed in between.
    Documents,
    /// Anything goes.
    Nothing,
}

/// What a client has.
#[derive(Debug, Default)]
pub struct Client(BTreeMap<String, Documents>);

impl Client {
    /// The documents of a collection.
    #[must_use]
    pub fn documents(&self, collection: &str) -> &Documents {
        static NONE: Documents = Documents::new();
        self.0.get(collection).unwrap_or(&NONE)
    }

    /// Applies a message.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn apply(&mut self, text: &str, strictness: impl Fn(&str) -> Strictness) {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let string = |name: &str| message[name].as_str().expect(name).to_owned();
        let (collection, id) = (string("collection"), string("id"));
        let strictness = strictness(&collection);
        let fits = |is_fit: bool, fault: &str| {
            assert!(is_fit || strictness == Strictness::Nothing, "{fault}: {text}");
        };
        let is_exact = strictness == Strictness::Fields;
        let documents = self.0.entry(collection).or_default();
        let is_known = documents.contains_key(&id);
        match message["msg"].as_str().expect("msg") {
            "added" | "addedBefore" => {
                fits(!is_known, "added what was there");
                documents.entry(id.clone()).or_default();
            }
            "removed" => {
                fits(is_known, "removed what was not there");
                documents.remove(&id);
                return;
            }
            "movedBefore" => return fits(is_known, "moved what was not there"),
            "changed" => {
                fits(is_known, "changed what was not there");
                let is_empty = message["fields"].is_null() && message["cleared"].is_null();
                fits(!is_empty, "changed nothing");
            }
            other => panic!("unexpected {other}"),
        }
        let document = documents.entry(id).or_default();
        for (name, value) in message["fields"].as_object().into_iter().flatten() {
            let value = value.to_string();
            let old = document.insert(name.clone(), value.clone());
            fits(!is_exact || old != Some(value), "a field that did not change");
        }
        for name in message["cleared"].as_array().into_iter().flatten() {
            let old = document.remove(name.as_str().expect("a name"));
            fits(!is_exact || old.is_some(), "cleared what was not there");
        }
    }
}
