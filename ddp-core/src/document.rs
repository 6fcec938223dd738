//! A document as its fields' encoded values.

use std::fmt;
use std::sync::Arc;

/// A field's name, shared by every document that has the field.
pub type FieldName = Arc<str>;

/// A document's fields, each as the EJSON text that goes on the wire. The `_id` is not among them.
///
/// Values are never decoded to be sent or compared: two values are equal if their texts are.
/// Immutable; live queries share documents by `Arc`.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    fields: Box<[(FieldName, u32)]>,
    text: Box<str>,
}

impl Document {
    /// A document of these fields, in order. A name that comes again replaces nothing: the first
    /// one stays. `None` if the values are longer than 4 GiB together.
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

    /// Whether it has no field but its `_id`.
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
