//! Documents as the application's types.

use std::fmt::Write;

use ddp_core::ejson::{self, DecodeError};
use ddp_core::{Document, DocumentId};
use serde::de::DeserializeOwned;

use crate::error::Error;

/// Why a document is not what it was taken for.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error("document {id} of {collection:?}: {error}")]
    Document { id: String, collection: String, error: DecodeError },
    #[error(
        "documents of {collection:?} were to be read by a Collection<()>, which is for publishing \
         only: name their type, Collection<…>"
    )]
    NoType { collection: String },
}

/// A document of a collection, with its `_id`, as a `T`.
pub(super) fn typed<T: DeserializeOwned>(
    collection: &str,
    id: &DocumentId,
    document: &Document,
) -> Result<T, Error> {
    let mut text = format!("{{\"_id\":{}", id_text(id.as_str()));
    for (name, value) in document.iter() {
        // Writing to a string cannot fail.
        let _ = write!(text, ",{}:{value}", json(name));
    }
    text.push('}');
    ejson::from_text(&text).map_err(|error| {
        let collection = collection.to_owned();
        let has_no_type = std::any::type_name::<T>() == std::any::type_name::<()>();
        Error::from(match has_no_type {
            true => Mismatch::NoType { collection },
            false => Mismatch::Document { id: id_text(id.as_str()), collection, error },
        })
    })
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
        let task: Task<u32> = typed("tasks", &DocumentId::from_integer(7), &document).unwrap();
        assert_eq!(task, Task { _id: 7, text: text() });
        for id in ["abc", "-1", "~1", "a\"b", "507f1f77bcf86cd799439011"] {
            let task: Task<String> =
                typed("tasks", &DocumentId::from_string(id), &document).unwrap();
            assert_eq!(task, Task { _id: id.to_owned(), text: text() });
        }
    }

    #[test]
    fn an_error_says_which_document_does_not_fit() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "it never comes to be")]
        struct Recipe {
            votes: String,
        }
        let document = Document::from_fields([("votes".into(), "7")]).unwrap();
        let error = |id| typed::<Recipe>("recipes", &id, &document).unwrap_err().to_string();
        let text = r#"document "1" of "recipes": votes: expected string, got number"#;
        assert_eq!(error(DocumentId::from_string("1")), text);
        assert!(error(DocumentId::from_integer(1)).starts_with("document 1 of "));
        let error = typed::<()>("recipes", &DocumentId::from_integer(1), &document).unwrap_err();
        assert!(error.to_string().contains("is for publishing only"), "{error}");
    }
}
