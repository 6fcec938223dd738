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
            let type_name = cast(column, value);
            let parameter = parameter(column, params.len(), "", &type_name);
            push(sql, format_args!("{} {} {parameter}", quoted(column), operator(*comparison)));
        }
        Predicate::In(field, values) => {
            let Some(column) = layout.column_named(field) else { return sql.push_str("NULL") };
            params.push(Param::Many(values.iter().map(text).collect()));
            // One type for all: that of the widest constant.
            let widest = values.iter().find(|value| matches!(value, Value::Float(_)));
            let type_name = cast(column, widest.or(values.first()).unwrap_or(&Value::Null));
            let parameter = parameter(column, params.len(), "[]", &type_name);
            push(sql, format_args!("{} = ANY ({parameter})", quoted(column)));
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
fn cast(column: &Column, value: &Value) -> String {
    match (column.comparable(), value) {
        (Comparable::Integer, Value::Float(_)) | (Comparable::Real | Comparable::Double, _) => {
            "double precision".to_owned()
        }
        (Comparable::Integer, _) => "bigint".to_owned(),
        _ => column.type_name().to_owned(),
    }
}

/// A parameter of text as an expression of the column's type.
fn parameter(column: &Column, number: usize, array: &str, type_name: &str) -> String {
    let is_time = matches!(column.comparable(), Comparable::Timestamp | Comparable::TimestampTz);
    if is_time && array.is_empty() {
        // Microseconds survive the division: a double holds them exactly for 285 years around 1970,
        // and constants come in milliseconds.
        let time = format!("pg_catalog.to_timestamp(${number}::text::double precision / 1000000)");
        return match column.comparable() {
            Comparable::Timestamp => format!("({time} AT TIME ZONE 'UTC')"),
            _ => time,
        };
    }
    if is_time {
        let one = match column.comparable() {
            Comparable::Timestamp => {
                "pg_catalog.to_timestamp(v::double precision / 1000000) AT TIME ZONE 'UTC'"
            }
            _ => "pg_catalog.to_timestamp(v::double precision / 1000000)",
        };
        return format!("ARRAY(SELECT {one} FROM pg_catalog.unnest(${number}::text[]) AS v)");
    }
    format!("${number}::text{array}::{type_name}{array}")
}

/// A constant as PostgreSQL reads it.
fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Time(i64::MAX) => "Infinity".to_owned(),
        Value::Time(i64::MIN) => "-Infinity".to_owned(),
        Value::Time(value) => value.to_string(),
        Value::Float(value) if value.is_infinite() => {
            if *value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        Value::Float(value) => value.to_string(),
        Value::Text(value) => value.to_string(),
        // Refused by `Comparable::constant`.
        Value::Binary(_) => return None,
    })
}
