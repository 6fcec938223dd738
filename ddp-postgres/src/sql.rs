//! Predicates as SQL.

use std::fmt::Write;

use ddp_server::query::{Comparison, Predicate, Value};

use tokio_postgres::types::ToSql;

use crate::compare::Comparable;
use crate::schema::{Column, Layout};

/// A parameterised SELECT. Every parameter is text, cast to the column's type by the statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Select {
    pub(crate) sql: String,
    pub(crate) params: Vec<Param>,
}

/// A parameter of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    One(Option<String>),
    Many(Vec<Option<String>>),
}

impl Param {
    pub(crate) fn to_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::One(text) => text,
            Self::Many(texts) => texts,
        }
    }
}

/// The statement that reads the rows of a predicate, one JSON text each.
pub(crate) fn select(layout: &Layout, predicate: &Predicate) -> Select {
    let mut params = Vec::new();
    let mut sql =
        format!("SELECT {} FROM {} AS t WHERE ", layout.row_json_sql("t"), layout.relation());
    condition(layout, predicate, &mut sql, &mut params);
    Select { sql, params }
}

fn condition(layout: &Layout, predicate: &Predicate, sql: &mut String, params: &mut Vec<Param>) {
    match predicate {
        Predicate::All => sql.push_str("true"),
        Predicate::Compare(field, comparison, value) => {
            let Some(column) = layout.column_named(field) else { return sql.push_str("NULL") };
            params.push(Param::One(text(value)));
            let (number, cast) = (params.len(), cast(column, value));
            let operator = operator(*comparison);
            push(sql, format_args!("{} {operator} ${number}::text::{cast}", quoted(column)));
        }
        Predicate::In(field, values) => {
            let Some(column) = layout.column_named(field) else { return sql.push_str("NULL") };
            // What is left as a float is no integer, and equals none.
            let is_float = |value: &&Value| matches!(value, Value::Float(_));
            let is_integer_column = column.comparable() == Comparable::Integer;
            let values = values.iter().filter(|value| !(is_integer_column && is_float(value)));
            params.push(Param::Many(values.map(text).collect()));
            let (number, cast) = (params.len(), cast(column, &Value::Null));
            push(sql, format_args!("{} = ANY (${number}::text[]::{cast}[])", quoted(column)));
        }
        Predicate::IsNull(field) => {
            let Some(column) = layout.column_named(field) else { return sql.push_str("NULL") };
            push(sql, format_args!("{} IS NULL", quoted(column)));
        }
        Predicate::And(all) => join(layout, all, " AND ", "true", sql, params),
        Predicate::Or(all) => join(layout, all, " OR ", "false", sql, params),
        Predicate::Not(one) => {
            sql.push_str("NOT (");
            condition(layout, one, sql, params);
            sql.push(')');
        }
    }
}

fn join(
    layout: &Layout,
    predicates: &[Predicate],
    separator: &str,
    empty: &str,
    sql: &mut String,
    params: &mut Vec<Param>,
) {
    if predicates.is_empty() {
        return sql.push_str(empty);
    }
    for (index, predicate) in predicates.iter().enumerate() {
        sql.push_str(if index == 0 { "(" } else { separator });
        condition(layout, predicate, sql, params);
    }
    sql.push(')');
}

fn push(sql: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = sql.write_fmt(arguments);
}

fn quoted(column: &Column) -> String {
    format!("t.\"{}\"", column.name().replace('"', "\"\""))
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Eq => "=",
        Comparison::Ne => "<>",
        Comparison::Lt => "<",
        Comparison::Lte => "<=",
        Comparison::Gt => ">",
        Comparison::Gte => ">=",
    }
}

/// The type that a constant is cast to. Numbers keep their width, so that a constant beyond the
/// column's range is compared and not refused.
fn cast<'a>(column: &'a Column, value: &Value) -> &'a str {
    match (column.comparable(), value) {
        (Comparable::Integer, Value::Float(_)) | (Comparable::Real | Comparable::Double, _) => {
            "pg_catalog.float8"
        }
        (Comparable::Integer, _) => "pg_catalog.int8",
        _ => column.cast(),
    }
}

/// A constant as PostgreSQL reads it.
fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Time(microseconds) => crate::value::timestamp_text(*microseconds),
        Value::Float(value) if value.is_infinite() => {
            if *value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        Value::Float(value) => value.to_string(),
        Value::Text(value) => value.to_string(),
        // Refused by `Comparable::constant`.
        Value::Binary(_) => return None,
    })
}
