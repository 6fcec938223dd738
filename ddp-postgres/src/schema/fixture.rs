//! Layouts for unit tests, without a database.

use super::layout::{Column, Expression, Layout, Measure, Settings, Traits};
use crate::value::ValueKind;

/// A layout of the table `public.tasks`, whose first column is the key.
pub(crate) fn layout(columns: &[(&str, ValueKind)], string_ids: bool) -> Layout {
    let column = |(index, (name, kind)): (usize, &(&str, ValueKind))| Column {
        name: (*name).to_owned(),
        field: if index == 0 { "_id".into() } else { (*name).into() },
        kind: match kind.of_ids() {
            Some(ids) if index == 0 && string_ids => ids,
            _ => kind.clone(),
        },
        comparable: crate::compare::Comparable::Other,
        cast: String::new(),
        type_name: String::new(),
        nullable: index > 0,
        without_nulls: false,
        expression: Expression::Plain,
        measure: Measure::Small,
        settings: Settings::default(),
    };
    let columns = columns.iter().enumerate().map(column).collect();
    let traits = Traits { rows_max: 100, tree: false, utf8: true, row_security: false };
    Layout::new("tasks", ("public", "tasks"), columns, vec![0], traits)
}

/// The same with an integer key, which clients have as a string.
pub(crate) fn string_ids(columns: &[(&str, ValueKind)]) -> Layout {
    let mut layout = layout(columns, true);
    layout.columns[0].comparable = crate::compare::Comparable::Integer;
    layout
}

/// The same for a keys-only table.
pub(crate) fn keys_only(columns: &[(&str, ValueKind)]) -> Layout {
    let mut layout = layout(columns, false);
    layout.keys_only = true;
    layout
}

/// The same, with all columns as the key.
pub(crate) fn composite(columns: &[(&str, ValueKind)]) -> Layout {
    let mut layout = layout(columns, false);
    layout.key = (0..columns.len()).collect();
    for column in &mut layout.columns {
        column.field = column.name.as_str().into();
    }
    layout
}
