//! The SQL that a published table needs.
//!
//! Nothing here depends on the writer: every function and type is named with its schema, so a
//! hostile `search_path` changes nothing; operators are called by the names of their functions for
//! the same reason. The writer needs no privilege on anything of ours, since PostgreSQL does not
//! ask for any to fire a trigger, and the functions use nothing but built-in functions and the
//! statement's own rows.

use super::layout::{Column, Expression, Layout};
use super::name::{fitting, literal, quoted};
use super::send;
use crate::feed::Feed;

/// What a session that selects rows by [`Layout::row_json_sql`] must be set to, so that they read
/// like those of the triggers. For the `options` of a connection.
pub const SESSION_OPTIONS: &str = "-c extra_float_digits=1 -c IntervalStyle=iso_8601 \
     -c bytea_output=hex -c DateStyle=ISO -c TimeZone=UTC";

/// The same for the triggers' functions of tables that need it; each costs the writer time.
const FUNCTION_SETTINGS: &str = "\nSET extra_float_digits = 1 SET intervalstyle = 'iso_8601' \
     SET bytea_output = 'hex' SET datestyle = 'ISO' SET timezone = 'UTC'";

/// The operations that have a trigger, each with its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    Insert,
    Update,
    Delete,
    Truncate,
    /// Rows of a table that this one inherits from were updated, perhaps some of this one.
    ParentUpdate,
    /// The same for deletion.
    ParentDelete,
}

impl Capture {
    pub(super) const ALL: [Self; 6] = [
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::ParentUpdate,
        Self::ParentDelete,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::ParentUpdate => "parent_update",
            Self::ParentDelete => "parent_delete",
        }
    }
}

impl Layout {
    /// The SQL expression for a row as JSON text, of the published columns only. `alias` is the
    /// table's name or alias in the query, as SQL writes it.
    ///
    /// Triggers use the same expression: a row reads the same in a query and in a notification.
    #[must_use]
    pub fn row_json_sql(&self, alias: &str) -> String {
        let columns = self.column_list(alias);
        format!(
            "(SELECT pg_catalog.to_json(ddp_row.*)::pg_catalog.text FROM (SELECT {columns}) AS ddp_row)"
        )
    }

    /// The SQL expression for a row's key as JSON text: the column's as it is within
    /// [`row_json_sql`](Self::row_json_sql), or an array of several columns'.
    #[must_use]
    pub fn key_json_sql(&self, alias: &str) -> String {
        self.key_json(|column| column.sql(alias))
    }

    /// The same of a row whose columns are expressions already, as [`column_list`](Self::column_list)
    /// has them.
    pub(super) fn listed_key_json_sql(&self, alias: &str) -> String {
        self.key_json(|column| format!("{alias}.{}", quoted(&column.name)))
    }

    fn key_json(&self, sql: impl Fn(&Column) -> String) -> String {
        let text = |column| format!("pg_catalog.to_json({})::pg_catalog.text", sql(column));
        let texts: Vec<String> = self.key_columns().map(text).collect();
        match texts.as_slice() {
            [text] => text.clone(),
            texts => format!("pg_catalog.concat('[', {}, ']')", texts.join(", ',', ")),
        }
    }

    /// The SELECT of rows by their keys, one JSON text each, after its snapshot. The parameters are
    /// arrays of text, one for each column of the key.
    pub(crate) fn select_by_key_sql(&self) -> String {
        let (row, relation) = (self.row_json_sql("t"), &self.relation);
        let (mut values, mut names, mut matches) = (Vec::new(), Vec::new(), Vec::new());
        for (index, key) in self.key_columns().enumerate() {
            let (number, cast) = (index + 1, &key.cast);
            let value = match key.expression {
                Expression::Base64 => {
                    values.push(format!("${number}::pg_catalog.text[]"));
                    key.sql("t")
                }
                _ => {
                    values.push(format!("${number}::pg_catalog.text[]::{cast}[]"));
                    format!("t.{}", quoted(&key.name))
                }
            };
            names.push(format!("key{number}"));
            matches.push(format!("{value} = ddp_key.key{number}"));
        }
        let (values, names, matches) = (values.join(", "), names.join(", "), matches.join(" AND "));
        format!(
            "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text
            UNION ALL SELECT {row} FROM ROWS FROM (pg_catalog.unnest({values})) AS ddp_key ({names})
            JOIN {relation} AS t ON {matches}"
        )
    }

    pub(super) fn column_list(&self, alias: &str) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} AS {}", column.sql(alias), quoted(&column.name)))
            .collect();
        columns.join(", ")
    }

    /// The triggers that the table has, and each of its partitions and children.
    pub(super) fn captures(&self) -> &'static [Capture] {
        &[Capture::Insert, Capture::Update, Capture::Delete, Capture::Truncate]
    }

    /// The triggers that each of the table's parents has.
    pub(super) fn parent_captures(&self) -> &'static [Capture] {
        if self.family.above.is_empty() {
            &[]
        } else {
            &[Capture::ParentUpdate, Capture::ParentDelete]
        }
    }

    /// Every trigger, with the quoted name of its table.
    pub(super) fn triggers(&self) -> impl Iterator<Item = (&str, Capture)> {
        let each = |relation, captures: &'static [Capture]| {
            captures.iter().map(move |capture| (relation, *capture))
        };
        // Parents before children, as statements that name a parent lock them.
        let below = std::iter::once(&self.relation).chain(&self.family.below);
        let above = self.family.above.iter();
        let above = above.flat_map(move |relation| each(relation.as_str(), self.parent_captures()));
        above.chain(below.flat_map(move |relation| each(relation.as_str(), self.captures())))
    }

    /// The name of a trigger. Triggers fire in the order of their names: these come before those
    /// of the application, whose triggers may change the table once more.
    pub(super) fn trigger_name(&self, capture: Capture) -> String {
        // A hash keeps collections apart whose names begin alike.
        let short = self.collection.len() <= 40;
        let hash = if short { String::new() } else { format!("_{}", self.hash) };
        let suffix = format!("{hash}_{}", capture.name());
        fitting(&format!("0_ddp_{}", self.collection), &suffix)
    }

    /// The name of a trigger's function, within the schema `ddp`.
    pub(super) fn function_name(&self, capture: Capture) -> String {
        let suffix = format!("_{}_{}", capture.name(), self.hash);
        fitting(&self.collection, &suffix)
    }

    /// Creates or replaces everything: the schema, the functions with their comments, and the
    /// triggers. Safe to run again, but see [`install`](super::install()), which does nothing if
    /// nothing has changed.
    #[must_use]
    pub fn install_sql(&self) -> String {
        let mut sql = "CREATE SCHEMA IF NOT EXISTS ddp;\n".to_owned();
        if self.feed == Feed::Wal {
            sql.push_str(&send::publication_sql());
        }
        sql.push_str(&self.functions_sql());
        for (relation, capture) in self.triggers() {
            sql.push_str(&self.trigger_sql(relation, capture));
        }
        sql
    }

    /// Creates or replaces the functions, with the comments that tell what they are.
    pub(super) fn functions_sql(&self) -> String {
        let comment = literal(&self.fingerprint().to_string());
        let captures = self.captures().iter().chain(self.parent_captures());
        captures.fold(String::new(), |mut sql, capture| {
            let function = quoted(&self.function_name(*capture));
            sql.push_str(&self.function_sql(*capture));
            sql.push_str(&format!("COMMENT ON FUNCTION ddp.{function}() IS {comment};\n"));
            sql
        })
    }

    /// All that decides what the triggers tell, and when.
    pub(super) fn definition(&self) -> String {
        let captures = self.captures().iter().chain(self.parent_captures());
        captures.fold(String::new(), |mut sql, capture| {
            sql.push_str(&self.function_sql(*capture));
            sql.push_str(&self.trigger_sql(&self.relation, *capture));
            sql
        })
    }

    pub(super) fn trigger_sql(&self, relation: &str, capture: Capture) -> String {
        let name = quoted(&self.trigger_name(capture));
        let function = quoted(&self.function_name(capture));
        let new = "REFERENCING NEW TABLE AS ddp_new";
        let old = "REFERENCING OLD TABLE AS ddp_old";
        let event = match capture {
            Capture::Insert => format!("INSERT ON {relation} {new}"),
            Capture::Update => format!("UPDATE ON {relation} {old} NEW TABLE AS ddp_new"),
            Capture::ParentUpdate => format!("UPDATE ON {relation} {old}"),
            Capture::Delete | Capture::ParentDelete => format!("DELETE ON {relation} {old}"),
            Capture::Truncate => format!("TRUNCATE ON {relation}"),
        };
        format!(
            "CREATE OR REPLACE TRIGGER {name} AFTER {event} FOR EACH STATEMENT EXECUTE FUNCTION ddp.{function}();\n"
        )
    }

    fn function_sql(&self, capture: Capture) -> String {
        let name = quoted(&self.function_name(capture));
        let settings = match capture {
            Capture::Insert | Capture::Update => self.columns.iter().any(|c| c.needs_settings),
            Capture::Delete => self.key_columns().any(|c| c.needs_settings),
            Capture::Truncate | Capture::ParentUpdate | Capture::ParentDelete => false,
        };
        let settings = if settings { FUNCTION_SETTINGS } else { "" };
        let body = self.emit(capture);
        // A dollar quote ends only at its own tag, which no name can contain unnoticed: the tag
        // has the hash of the names in it.
        let tag = format!("$ddp_{}$", self.hash);
        format!(
            "CREATE OR REPLACE FUNCTION ddp.{name}() RETURNS pg_catalog.trigger LANGUAGE plpgsql\
             {settings} AS {tag}\n{body}{tag};\n"
        )
    }
}

impl Column {
    pub(super) fn sql(&self, alias: &str) -> String {
        let column = format!("{alias}.{}", quoted(&self.name));
        match self.expression {
            Expression::Plain => column,
            // PostgreSQL breaks base64 into lines.
            Expression::Base64 => format!(
                "pg_catalog.replace(pg_catalog.encode({column}, 'base64'), pg_catalog.chr(10), '')"
            ),
            Expression::Utc => format!("pg_catalog.timezone('UTC', {column})"),
        }
    }
}
