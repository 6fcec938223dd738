//! Rows as the database writes them, and their documents.

pub(crate) mod live;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use ddp_core::{Document, DocumentId};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::schema::{Column, Layout};
use crate::value::{self, ValueError, ValueKind};

/// JavaScript's `Number.MAX_SAFE_INTEGER`.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A row of a published table: its document's id, and the JSON text of every published column.
///
/// Columns are indexed as in [`Layout::columns`] of the layout that parsed the row. The values are
/// PostgreSQL's, not yet EJSON: predicates compare these.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    id: DocumentId,
    text: Box<str>,
    values: Box<[Range<u32>]>,
}

impl Row {
    /// Parses a row written by [`Layout::row_json_sql`] or a trigger. Ignores columns that the
    /// layout does not have.
    ///
    /// # Errors
    ///
    /// If the text is not such a row.
    pub fn parse(layout: &Layout, json: &str) -> Result<Self, RowError> {
        u32::try_from(json.len()).map_err(|_| RowError::TooLarge)?;
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let found = RowVisitor { json, columns: layout.columns() };
        let found = found
            .deserialize(&mut deserializer)
            .and_then(|found| deserializer.end().map(|()| found))
            .map_err(|error| RowError::Malformed(error.to_string()))?;
        let mut values = Vec::with_capacity(found.len());
        for (range, column) in found.into_iter().zip(layout.columns()) {
            values.push(range.ok_or_else(|| RowError::MissingColumn(column.name().to_owned()))?);
        }
        let text = |number: usize| {
            let range: &Range<u32> = values.get(number)?;
            json.get(range.start as usize..range.end as usize)
        };
        let id = document_id(layout, &key(layout, text).ok_or(RowError::Key)?)?;
        Ok(Self { id, text: json.into(), values: values.into() })
    }

    /// The row's key as triggers write it: the column's JSON, or an array of several columns'.
    pub(crate) fn key(&self, layout: &Layout) -> Option<String> {
        key(layout, |column| self.value(column)).map(Cow::into_owned)
    }

    /// The id of the row's document.
    #[must_use]
    pub fn id(&self) -> &DocumentId {
        &self.id
    }

    /// The JSON text of a column's value. `None` if there is no such column.
    #[must_use]
    pub fn value(&self, column: usize) -> Option<&str> {
        let range = self.values.get(column)?;
        self.text.get(range.start as usize..range.end as usize)
    }

    /// The row's document, with the given columns as fields, or with all of them. A key of one
    /// column becomes `_id` and is never a field.
    ///
    /// # Errors
    ///
    /// If a value does not fit its column's type.
    pub fn document(
        &self,
        layout: &Layout,
        columns: Option<&[usize]>,
    ) -> Result<Document, RowError> {
        let mut text = String::with_capacity(self.text.len());
        let mut fields = Vec::with_capacity(layout.columns().len());
        let mut encode = |index: usize, column: &Column| {
            let raw = self.value(index).ok_or_else(|| missing(column))?;
            if column.is_without_nulls() && raw == "null" {
                return Ok(());
            }
            let start = text.len();
            value::encode(column.kind(), raw, &mut text)
                .map_err(|error| RowError::Value { column: column.name().to_owned(), error })?;
            fields.push((column.field().clone(), start..text.len()));
            Ok(())
        };
        let published = |index: &usize| Some(*index) != layout.id_column();
        match columns {
            None => {
                for (index, column) in layout.columns().iter().enumerate() {
                    if published(&index) {
                        encode(index, column)?;
                    }
                }
            }
            Some(wanted) => {
                for index in wanted.iter().copied().filter(published) {
                    if let Some(column) = layout.columns().get(index) {
                        encode(index, column)?;
                    }
                }
            }
        }
        let fields = fields.into_iter().map(|(field, range)| (field, &text[range]));
        Document::from_fields(fields).ok_or(RowError::TooLarge)
    }

    /// The whole row as the database wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The key of a row with these values; `None` if some of it is missing.
fn key<'a>(layout: &Layout, value: impl Fn(usize) -> Option<&'a str>) -> Option<Cow<'a, str>> {
    match layout.key() {
        [number] => value(*number).map(Cow::Borrowed),
        several => {
            let values = several.iter().map(|number| value(*number).filter(|text| *text != "null"));
            let values: Option<Vec<&str>> = values.collect();
            values.map(|values| Cow::Owned(format!("[{}]", values.join(","))))
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Row").field(&self.id).field(&self.text).finish()
    }
}

/// Why a row or key is not one of the layout's table.
///
/// The table may have been altered, or another server may have installed different triggers.
/// Reading the collection again will show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// It is not a JSON object.
    #[error("row is not a JSON object: {0}")]
    Malformed(String),
    /// A published column is missing.
    #[error("row has no column {0:?}")]
    MissingColumn(String),
    /// The key is null, or is an array or object.
    #[error("row has no usable key")]
    Key,
    /// A value does not fit the column's type.
    #[error("column {column:?}: {error}")]
    Value {
        /// The column's name.
        column: String,
        /// What is wrong with the value.
        error: ValueError,
    },
    /// The document would be larger than 4 GiB.
    #[error("row is too large")]
    TooLarge,
}

/// The id of the document with this key, in the JSON text written by [`Layout::key_json_sql`] or a
/// trigger. For a key of several columns it is an array, and its text is the id.
///
/// # Errors
///
/// If it is null or an object, or is an array although the key is a single column.
pub(crate) fn document_id(layout: &Layout, key: &str) -> Result<DocumentId, RowError> {
    let Some(number) = layout.id_column() else {
        let is_array = key.starts_with('[') && key.ends_with(']');
        return is_array.then(|| DocumentId::from_string(key)).ok_or(RowError::Key);
    };
    if key.starts_with('"') {
        let text: String = serde_json::from_str(key).map_err(|_| RowError::Key)?;
        return Ok(DocumentId::from_string(&text));
    }
    match key.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => {}
        Some(b't' | b'f') => return Ok(DocumentId::from_string(key)),
        _ => return Err(RowError::Key),
    }
    let integer =
        matches!(layout.columns()[number].kind(), ValueKind::Integer | ValueKind::BigInteger);
    // JavaScript would round this to another document's id.
    let exact = key.parse::<i64>().is_ok_and(|key| key.unsigned_abs() <= SAFE_INTEGER_MAX);
    Ok(if integer && exact {
        DocumentId::from_number_text(key)
    } else {
        DocumentId::from_string(key)
    })
}

fn missing(column: &Column) -> RowError {
    RowError::MissingColumn(column.name().to_owned())
}

/// Finds where in the text each column's value is.
struct RowVisitor<'a> {
    json: &'a str,
    columns: &'a [Column],
}

impl<'de> DeserializeSeed<'de> for RowVisitor<'de> {
    type Value = Vec<Option<Range<u32>>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowVisitor<'de> {
    type Value = Vec<Option<Range<u32>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.columns.len()];
        let mut expected = 0;
        while let Some(column) =
            map.next_key_seed(ColumnName { columns: self.columns, expected })?
        {
            let Some(index) = column else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value: &'de RawValue = map.next_value()?;
            // The raw value is a slice of the text being parsed.
            let start = value.get().as_ptr().addr() - self.json.as_ptr().addr();
            let range =
                u32::try_from(start).ok().zip(u32::try_from(start + value.get().len()).ok());
            found[index] = range.map(|(start, end)| start..end);
            expected = index + 1;
        }
        Ok(found)
    }
}

/// Looks up a column by name: nearly always the one after the last.
struct ColumnName<'a> {
    columns: &'a [Column],
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for ColumnName<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ColumnName<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        if self.columns.get(self.expected).is_some_and(|column| column.name() == name) {
            return Ok(Some(self.expected));
        }
        Ok(self.columns.iter().position(|column| column.name() == name))
    }
}

#[cfg(test)]
mod tests;
