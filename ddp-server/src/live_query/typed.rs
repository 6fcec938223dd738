//! Documents as the application's types.

use std::fmt::Write;

use ddp_core::ejson;
use ddp_core::{Document, DocumentId};
use serde::de::DeserializeOwned;

use crate::error::Error;

/// A document with its `_id` as a `T`.
pub(super) fn typed<T: DeserializeOwned>(id: &DocumentId, document: &Document) -> Result<T, Error> {
    let mut text = format!("{{\"_id\":{}", id_text(id.as_str()));
    for (name, value) in document.iter() {
        // Writing to a string cannot fail.
        let _ = write!(text, ",{}:{value}", json(name));
    }
    text.push('}');
    Ok(ejson::from_text(&text)?)
}

/// The `_id` that an id in its wire form stands for, as JSON.
fn id_text(id: &str) -> String {
    match id.strip_prefix('~') {
        Some(number) => number.to_owned(),
        None => json(id.strip_prefix('-').unwrap_or(id)),
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_arrive_as_what_they_stand_for() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Task<Id> {
            _id: Id,
            text: String,
        }
        let document = Document::from_fields([("text".into(), "\"a \\\"b\\\"\"")]).unwrap();
        let text = || "a \"b\"".to_owned();
        let task: Task<u32> = typed(&DocumentId::from_integer(7), &document).unwrap();
        assert_eq!(task, Task { _id: 7, text: text() });
        for id in ["abc", "-1", "~1", "a\"b", "507f1f77bcf86cd799439011"] {
            let task: Task<String> = typed(&DocumentId::from_string(id), &document).unwrap();
            assert_eq!(task, Task { _id: id.to_owned(), text: text() });
        }
        assert!(typed::<Task<u32>>(&DocumentId::from_string("x"), &document).is_err());
    }
}
