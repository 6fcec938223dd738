//! Predicates as SQL.

use std::fmt::Write;

use ddp_server::live_query::PendingRead;
use ddp_server::query::{Direction, Nulls, Predicate, Query, SortKey};

use tokio_postgres::types::ToSql;

use super::condition;
use crate::compare::{Comparable, split};
use crate::schema::{Column, Layout};

/// A parameterised SELECT. Every parameter is text, which the statement casts to the column's type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Select {
    pub(crate) sql: String,
    pub(crate) params: Vec<Param>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    One(Option<String>),
    Many(Vec<Option<String>>),
    /// Constants that only PostgreSQL can read: one as a value of this type, or a list as an array of
    /// this type.
    Doubtful {
        texts: Vec<Option<String>>,
        is_list: bool,
        cast: String,
    },
}

impl Param {
    pub(crate) fn to_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::One(text) => text,
            Self::Many(texts) | Self::Doubtful { texts, is_list: true, .. } => texts,
            Self::Doubtful { texts, .. } => texts.first().unwrap_or(&None),
        }
    }
}

/// The statement that reads the rows of a planned query, each as one JSON text.
pub(crate) fn select(layout: &Layout, load: &PendingRead) -> Select {
    select_rows(layout, &load.query, &load.plan.predicate, load.rows_max())
}

/// The statement that reads the first rows of a query, with a planned predicate.
pub(crate) fn select_rows(
    layout: &Layout,
    query: &Query,
    predicate: &Predicate,
    rows_max: Option<usize>,
) -> Select {
    let mut params = Vec::new();
    let mut sql =
        format!("SELECT {} FROM {} AS t WHERE ", layout.row_json_sql("t"), layout.relation());
    condition(layout, predicate, &mut sql, &mut params);
    if query.has_window() || !query.sort.is_empty() {
        order(layout, &query.sort, &mut sql);
    }
    if let Some(rows) = rows_max {
        params.push(Param::One(Some(rows.to_string())));
        push(&mut sql, format_args!(" LIMIT ${}::text::pg_catalog.int8", params.len()));
    }
    Select { sql, params }
}

/// A query's order, made unambiguous by the key.
fn order(layout: &Layout, keys: &[SortKey], sql: &mut String) {
    sql.push_str(" ORDER BY ");
    // Whatever follows the key makes no difference.
    for key in keys.iter().take_while(|key| &*key.field != "_id") {
        let Some(column) = layout.column_named(&key.field) else { continue };
        let nulls = if key.nulls == Nulls::First { "FIRST" } else { "LAST" };
        let (column, direction) = (quoted(column), direction(key.direction));
        push(sql, format_args!("{column} {direction} NULLS {nulls}, "));
    }
    let by_id = keys.iter().find(|key| &*key.field == "_id");
    let column = layout.id_column().map(|number| &layout.columns()[number]);
    let key = match column.map(|column| (column.comparable(), column)) {
        Some((Comparable::Text(_) | Comparable::Padded(_), column)) => {
            by_code_points(layout, &quoted(column))
        }
        Some((comparable, column)) if comparable.is_ordered_as_key() => quoted(column),
        // The same order as in memory.
        _ => by_code_points(layout, &layout.key_json_sql("t")),
    };
    let direction = direction(by_id.map_or(Direction::Ascending, |key| key.direction));
    push(sql, format_args!("{key} {direction}"));
}

/// In other encodings the order of the bytes is not that of the code points.
fn by_code_points(layout: &Layout, text: &str) -> String {
    if layout.is_utf8() {
        format!("{text} COLLATE \"C\"")
    } else {
        format!("pg_catalog.convert_to({text}::pg_catalog.text, 'UTF8')")
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

/// A planned predicate.
pub(crate) fn condition(
    layout: &Layout,
    predicate: &Predicate,
    sql: &mut String,
    params: &mut Vec<Param>,
) {
    match predicate {
        Predicate::All => sql.push_str("true"),
        Predicate::Condition(test) => {
            let (field, path) = split(&test.field);
            match layout.column_named(field) {
                Some(column) => condition::ask(column, path, &test.is, sql, params),
                None => sql.push_str("NULL"),
            }
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

pub(super) fn push(sql: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = sql.write_fmt(arguments);
}

pub(super) fn quoted(column: &Column) -> String {
    format!("t.\"{}\"", column.name().replace('"', "\"\""))
}
