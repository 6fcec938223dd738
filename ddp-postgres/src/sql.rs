//! Predicates as SQL.

use std::fmt::Write;

use ddp_server::live_query::Load;
use ddp_server::query::{Comparison, Direction, Is, Nulls, Predicate, SortKey, Value};

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

/// The statement that reads the rows of a query, as it was planned, one JSON text each.
pub(crate) fn select(layout: &Layout, load: &Load) -> Select {
    let mut params = Vec::new();
    let mut sql =
        format!("SELECT {} FROM {} AS t WHERE ", layout.row_json_sql("t"), layout.relation());
    condition(layout, &load.plan.predicate, &mut sql, &mut params);
    if load.query.has_window() {
        order(layout, &load.query.sort, &mut sql);
    }
    if let Some(rows) = load.rows_max() {
        params.push(Param::One(Some(rows.to_string())));
        push(&mut sql, format_args!(" LIMIT ${}::text::pg_catalog.int8", params.len()));
    }
    Select { sql, params }
}

/// The order of a query, made unambiguous by the key.
fn order(layout: &Layout, keys: &[SortKey], sql: &mut String) {
    sql.push_str(" ORDER BY ");
    // What comes after the key makes no difference.
    for key in keys.iter().take_while(|key| &*key.field != "_id") {
        let Some(column) = layout.column_named(&key.field) else { continue };
        let nulls = if key.nulls == Nulls::First { "FIRST" } else { "LAST" };
        let (column, direction) = (quoted(column), direction(key.direction));
        push(sql, format_args!("{column} {direction} NULLS {nulls}, "));
    }
    let by_id = keys.iter().find(|key| &*key.field == "_id");
    let column = layout.id_column().map(|number| &layout.columns()[number]);
    let key = match column.map(|column| (column.comparable(), column)) {
        Some((Comparable::Text, column)) => format!("{} COLLATE \"C\"", quoted(column)),
        // As rows are ordered in memory.
        Some((Comparable::Other | Comparable::Enum, _)) | None => {
            format!("{} COLLATE \"C\"", layout.key_json_sql("t"))
        }
        Some((_, column)) => quoted(column),
    };
    let direction = direction(by_id.map_or(Direction::Ascending, |key| key.direction));
    push(sql, format_args!("{key} {direction}"));
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

fn condition(layout: &Layout, predicate: &Predicate, sql: &mut String, params: &mut Vec<Param>) {
    match predicate {
        Predicate::All => sql.push_str("true"),
        Predicate::Test(test) => {
            let Some(column) = layout.column_named(&test.field) else {
                return sql.push_str("NULL");
            };
            ask(column, &test.is, sql, params);
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

fn ask(column: &Column, is: &Is, sql: &mut String, params: &mut Vec<Param>) {
    match is {
        Is::Null => push(sql, format_args!("{} IS NULL", quoted(column))),
        Is::Compare(comparison, value) => {
            params.push(Param::One(text(value)));
            let (number, cast) = (params.len(), cast(column, value));
            let operator = operator(*comparison);
            push(sql, format_args!("{} {operator} ${number}::text::{cast}", quoted(column)));
        }
        Is::In(values) => {
            // What is left as a float is no integer, and equals none.
            let is_float = |value: &&Value| matches!(value, Value::Float(_));
            let is_integer_column = column.comparable() == Comparable::Integer;
            let values = values.iter().filter(|value| !(is_integer_column && is_float(value)));
            params.push(Param::Many(values.map(text).collect()));
            let (number, cast) = (params.len(), cast(column, &Value::Null));
            push(sql, format_args!("{} = ANY (${number}::text[]::{cast}[])", quoted(column)));
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
