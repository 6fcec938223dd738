//! Documents in memory as rows of live queries.

use std::sync::Arc;

use ddp_core::ejson::{self, Ejson, Object};
use ddp_core::{Document, DocumentId, FieldName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::live_query::Row;
use crate::query::{Condition, Operator, Value, is_pattern};

/// A document, as EJSON and as it travels.
pub(super) struct MemoryRow {
    id: String,
    fields: Object,
    document: Arc<Document>,
}

/// JavaScript's `Number.MAX_SAFE_INTEGER`.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A test with its constants in the form of documents' values: numbers are doubles there, and
/// integers that doubles cannot tell apart are texts.
pub(super) fn as_documents_have_it(test: &Condition) -> Result<Condition, Error> {
    if let Operator::Like(pattern) | Operator::ILike(pattern) = &test.is
        && !is_pattern(pattern)
    {
        let field = &test.field;
        return Err(Error::internal(format!("the pattern for {field:?} ends with a backslash")));
    }
    let is = test.is.try_map(|constant| {
        Ok::<_, Error>(match constant {
            Value::Int(integer) if integer.unsigned_abs() > SAFE_INTEGER_MAX => {
                Value::from(integer.to_string())
            }
            Value::Float(float) => Value::from(*float),
            Value::Decimal(decimal) => decimal.to_string().parse().map_or(Value::Null, f64::into),
            other => other.clone(),
        })
    })?;
    Ok(Condition { field: test.field.clone(), is })
}

/// The number that a path's step is of an array of this length; negative ones count from its end.
fn index(step: &str, length: usize) -> Option<usize> {
    let number: i64 = step.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    usize::try_from(if number < 0 { number + length } else { number }).ok()
}

impl MemoryRow {
    pub(super) fn new(id: &str, document: &impl Serialize) -> Result<Arc<Self>, Error> {
        let Ejson::Object(mut fields) = ejson::to_value(document)? else {
            return Err(Error::internal("a document must serialize to a map"));
        };
        fields.shift_remove("_id");
        let texts: Vec<(FieldName, String)> = fields
            .iter()
            .map(|(name, value)| (FieldName::from(name.as_str()), value.to_text()))
            .collect();
        let document = Document::from_fields(texts.iter().map(|(n, t)| (n.clone(), t.as_str())))
            .ok_or_else(|| Error::internal("document too large"))?;
        Ok(Arc::new(Self { id: id.to_owned(), fields, document: Arc::new(document) }))
    }

    pub(super) fn id(&self) -> DocumentId {
        DocumentId::from_string(&self.id)
    }

    pub(super) fn typed<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let mut fields = self.fields.clone();
        fields.insert("_id".to_owned(), Ejson::String(self.id.clone()));
        Ok(ejson::from_value(Ejson::Object(fields))?)
    }
}

impl Row for Arc<MemoryRow> {
    fn value(&self, field: &str) -> Value {
        if field == "_id" {
            return Value::from(self.id.as_str());
        }
        let mut names = field.split('.');
        let mut value = names.next().and_then(|name| self.fields.get(name));
        for name in names {
            value = value.and_then(|value| match value {
                Ejson::Object(fields) => fields.get(name),
                Ejson::Array(elements) => elements.get(index(name, elements.len())?),
                _ => None,
            });
        }
        value.map_or(Value::Null, Value::of_document)
    }

    fn document(&self, fields: Option<&[FieldName]>) -> Arc<Document> {
        match fields {
            Some(fields) => Arc::new(self.document.project(fields)),
            None => Arc::clone(&self.document),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::{Predicate, Truth, field};

    fn truth(row: &Arc<MemoryRow>, predicate: &Predicate) -> Result<Truth, Error> {
        let predicate = predicate.try_map_conditions(&as_documents_have_it)?;
        let keys = predicate.equality_keys(&|_| true);
        let truth = predicate.evaluate(&|test| row.meets(test));
        if let Some((field, values)) = keys {
            assert_eq!(
                values.contains(&row.value(&field)),
                truth == Truth::True,
                "routed as decided"
            );
        }
        Ok(truth)
    }

    #[test]
    fn documents_are_asked_as_json_of_a_database_is() {
        let row = MemoryRow::new(
            "x",
            &json!({
                "n": 1_152_921_504_606_846_976_i64, "owner": {"name": "Ada", "tags": ["a", 2.5, null]},
                "none": null, "text": "10 % off"
            }),
        );
        let row = row.unwrap();
        for (predicate, expected) in [
            (field("n").eq(1_152_921_504_606_846_976_i64), Truth::True),
            (field("n").ne(1_152_921_504_606_846_977_i64), Truth::True),
            (field("n").eq("1".parse::<crate::query::Decimal>().unwrap()), Truth::False),
            (field("owner.name").eq("Ada"), Truth::True),
            (field("owner.name").ilike("AD_"), Truth::True),
            (field("owner.name").gt(1), Truth::Unknown),
            (field("owner.tags").contains_all(["a"]), Truth::True),
            (field("owner.tags").overlaps([2.5, 3.0]), Truth::True),
            (field("owner.tags.-2").between(2, 3), Truth::True),
            (field("owner.tags.2").is_null(), Truth::True),
            (field("owner.tags.7").is_null(), Truth::True),
            (field("owner").is_not_null(), Truth::True),
            (field("none.at.all").ne(1), Truth::Unknown),
            (field("text").like("10 \\%%"), Truth::True),
            (field("text").starts_with("10 %"), Truth::True),
            (field("_id").not_in(["y"]), Truth::True),
        ] {
            assert_eq!(truth(&row, &predicate).unwrap(), expected, "{predicate:?}");
        }
        let error = truth(&row, &field("text").like("\\")).unwrap_err();
        assert!(error.to_string().contains("backslash"), "{error}");
    }
}
