//! A document: its fields, each with its encoded value.
//!
//! ```
//! use ddp_core::Document;
//!
//! let fields = [("text", r#""tidy up""#), ("due", r#"{"$date":0}"#), ("done", "false")];
//! let document = Document::from_fields(fields.map(|(name, value)| (name.into(), value)));
//! let document = document.expect("less than 4 GiB");
//! assert_eq!(document.get("due"), Some(r#"{"$date":0}"#));
//!
//! let part = document.project(&["text".into(), "unknown".into()]);
//! assert_eq!(part.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["text"]);
//! ```

use std::fmt;
use std::sync::Arc;

/// A field's name, shared by every document that has the field.
pub type FieldName = Arc<str>;

/// A document's fields, each with the EJSON text that is sent. The `_id` is not among them.
///
/// Values are never decoded for sending or comparing: two values are equal if their texts are.
/// Immutable; live queries share documents with `Arc`.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    fields: Box<[(FieldName, u32)]>,
    text: Box<str>,
}

impl Document {
    /// A document of these fields, in order. If a name is repeated, the first value stays. `None`
    /// if the values together exceed 4 GiB.
    #[must_use]
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (FieldName, &'a str)>) -> Option<Self> {
        let mut ends: Vec<(FieldName, u32)> = Vec::new();
        let mut text = String::new();
        for (name, value) in fields {
            if ends.iter().any(|(seen, _)| *seen == name) {
                continue;
            }
            text.push_str(value);
            ends.push((name, u32::try_from(text.len()).ok()?));
        }
        Some(Self { fields: ends.into(), text: text.into() })
    }

    /// Whether it has all fields of another, whatever their values.
    pub(crate) fn has_fields_of(&self, other: &Self) -> bool {
        // Most documents have the same fields in the same places.
        let mut in_place = self.iter();
        other.iter().all(|(name, _)| match in_place.next() {
            Some((own, _)) if Arc::ptr_eq(own, name) => true,
            _ => self.get(name).is_some(),
        })
    }

    /// The document with only these fields, in its own order. Fields that it does not have are
    /// ignored.
    #[must_use]
    pub fn project(&self, fields: &[FieldName]) -> Self {
        let mut kept = Vec::with_capacity(fields.len().min(self.len()));
        let mut text = String::new();
        for (name, value) in self.iter().filter(|(name, _)| fields.contains(name)) {
            text.push_str(value);
            // The text is part of this document's, whose length fits.
            kept.push((name.clone(), text.len() as u32));
        }
        Self { fields: kept.into(), text: text.into() }
    }

    /// The fields in order, with the EJSON text of each value.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldName, &str)> {
        let mut start = 0;
        self.fields.iter().map(move |(name, end)| {
            let end = *end as usize;
            let value = &self.text[start..end];
            start = end;
            (name, value)
        })
    }

    /// The EJSON text of a field's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(field, value)| (&**field == name).then_some(value))
    }

    /// How many fields it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it has no fields besides its `_id`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_is_the_document_of_the_fields_that_are_left() {
        let fields = |names: &[&'static str]| {
            names.iter().map(|name| (FieldName::from(*name), *name)).collect::<Vec<_>>()
        };
        let document = |names| Document::from_fields(fields(names)).unwrap();
        let all = document(&["a", "bb", "c"]);
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<_>>();
        assert_eq!(all.project(&names(&["c", "a", "x"])), document(&["a", "c"]));
        assert_eq!(all.project(&names(&["c", "bb", "a"])), all);
        assert_eq!(all.project(&[]), document(&[]));
    }
}
