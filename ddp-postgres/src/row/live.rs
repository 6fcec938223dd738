//! Rows in the form that live queries need.

use std::sync::{Arc, OnceLock};

use ddp_core::{Document, FieldName};
use ddp_server::live_query;
use ddp_server::query::{Condition, Truth, Value};

use crate::compare::split;
use crate::row::{Row, RowError};
use crate::schema::Layout;

/// A row with its table's layout, and the document that it becomes.
#[derive(Clone, Debug)]
pub(crate) struct LiveRow {
    layout: Arc<Layout>,
    row: Row,
    document: Arc<Document>,
    /// The columns' values, read when predicates ask about them: mostly, if at all, many do.
    values: OnceLock<Box<[OnceLock<Option<Value>>]>>,
}

impl LiveRow {
    pub(crate) fn new(layout: &Arc<Layout>, row: Row) -> Result<Self, RowError> {
        let document = Arc::new(row.document(layout, None)?);
        Ok(Self { layout: Arc::clone(layout), row, document, values: OnceLock::new() })
    }

    /// A column's value; `None` if it cannot be read here.
    fn column(&self, index: usize) -> Option<&Value> {
        let columns = self.layout.columns();
        let values = self.values.get_or_init(|| columns.iter().map(|_| OnceLock::new()).collect());
        let json = || self.row.value(index).unwrap_or("null");
        let read = || columns[index].comparable().value(None, json());
        values[index].get_or_init(read).as_ref()
    }

    pub(crate) fn id(&self) -> &ddp_core::DocumentId {
        self.row.id()
    }
}

impl live_query::Row for LiveRow {
    fn value(&self, field: &str) -> Value {
        let (name, path) = split(field);
        let Some(index) = self.layout.column_of_field(name) else {
            // A key of several columns is sorted by its text, too.
            return if field == "_id" { Value::from(self.id().as_str()) } else { Value::Null };
        };
        let json = self.row.value(index).unwrap_or("null");
        let comparable = self.layout.columns()[index].comparable();
        // Keys that only PostgreSQL can compare are sorted by their text.
        let is_text = Some(index) == self.layout.id_column() && !comparable.is_ordered_as_key();
        if is_text { Value::from(json) } else { comparable.value_or_null(path, json) }
    }

    fn meets(&self, test: &Condition) -> Truth {
        let (name, path) = split(&test.field);
        let Some(index) = self.layout.column_of_field(name) else { return Truth::Undecided };
        let comparable = self.layout.columns()[index].comparable();
        match path {
            None => comparable.answer_of(test, self.column(index)),
            Some(_) => comparable.answer(test, self.row.value(index).unwrap_or("null")),
        }
    }

    fn is_exact(&self, field: &str) -> bool {
        let column = self.layout.column_of_field(field);
        column.is_some_and(|index| self.layout.columns()[index].kind().is_exact())
    }

    fn document(&self, fields: Option<&[FieldName]>) -> Arc<Document> {
        match fields {
            Some(fields) => Arc::new(self.document.project(fields)),
            None => Arc::clone(&self.document),
        }
    }

    /// The row's text, about as much for its document, and as much again for values that predicates ask
    /// about.
    fn bytes(&self) -> usize {
        let values = self.layout.columns().len() * size_of::<OnceLock<Option<Value>>>();
        3 * self.row.text().len() + values
    }
}

#[cfg(test)]
mod tests {
    use ddp_server::live_query::Row as _;

    use super::*;
    use crate::schema::fixture;
    use crate::value::ValueKind;

    /// Of narrow columns they take more than the texts.
    #[test]
    fn what_predicates_asked_about_is_counted() {
        let names: Vec<String> = (0..1000).map(|number| format!("c{number}")).collect();
        let columns: Vec<_> = names.iter().map(|name| (&**name, ValueKind::Integer)).collect();
        let layout = Arc::new(fixture::layout(&columns, false));
        let text: Vec<_> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        let row = Row::parse(&layout, &format!("{{{}}}", text.join(","))).expect("a row");
        let row = LiveRow::new(&layout, row).expect("a document");
        (0..names.len()).for_each(|index| _ = row.column(index));
        let values = row.values.get().expect("they were asked about");
        let document = row.document.iter().map(|(name, value)| name.len() + value.len());
        let text = row.row.text().len() + size_of_val(&*row.row.values);
        let held = text + document.sum::<usize>() + size_of_val(&**values);
        assert!(row.bytes() >= held, "{} of {held}", row.bytes());
    }
}
