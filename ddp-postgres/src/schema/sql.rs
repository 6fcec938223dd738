//! The SQL that a published table needs.
//!
//! Nothing here depends on the writer: every function and type is qualified with its schema, and
//! operators are called through their functions, so a hostile `search_path` has no effect. The
//! writer needs no privileges on our objects, since PostgreSQL requires none to fire a trigger, and
//! the functions use only built-in functions and the statement's own rows.

use std::sync::LazyLock;

use super::layout::{Column, Expression, Layout, Settings};
use super::name::{fitting, literal, quoted};
use super::send;
use crate::feed::Feed;

/// Settings for a session that selects rows with [`Layout::row_json_sql`], so that they look like
/// those of the triggers. For the `options` of a connection.
pub const SESSION_OPTIONS: &str = "-c extra_float_digits=1 -c IntervalStyle=iso_8601 \
     -c bytea_output=hex -c DateStyle=ISO -c TimeZone=UTC -c lc_monetary=C \
     -c quote_all_identifiers=off -c array_nulls=on";

/// The same as statements, since a pooler may take no options, or leave them out.
pub(crate) fn session_sql() -> String {
    set_sql("SET")
}

/// The same for one transaction, on a connection that others may have left as they like.
pub(crate) static TRANSACTION_SQL: LazyLock<String> = LazyLock::new(|| set_sql("SET LOCAL"));

/// For the session of a feed, which is idle for as long as nothing changes, and may wait for others when
/// it begins: no timeouts, of those that this version of PostgreSQL has.
pub(crate) const UNTIMED_SQL: &str = "SET statement_timeout = 0; SET lock_timeout = 0; \
     SELECT pg_catalog.set_config(s.name, '0', false) FROM pg_catalog.pg_settings AS s \
     WHERE s.name IN ('idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')";

fn set_sql(set: &str) -> String {
    let settings =
        SESSION_OPTIONS.split("-c ").filter_map(|setting| setting.trim().split_once('='));
    settings.map(|(name, value)| format!("{set} {name} = '{value}';")).collect()
}

/// The same for trigger functions that need it; each setting costs the writer time.
const FUNCTION_SETTINGS: &str = "\nSET extra_float_digits = 1 SET intervalstyle = 'iso_8601' \
     SET bytea_output = 'hex' SET datestyle = 'ISO' SET timezone = 'UTC'";

/// For columns of the type `money`.
const MONEY_SETTING: &str = " SET lc_monetary = 'C'";

/// For columns that are written with names of objects.
const NAMES_SETTING: &str = " SET quote_all_identifiers = off";

/// For columns whose text is read as an array.
const NULLS_SETTING: &str = " SET array_nulls = on";

/// The operations with a trigger, each with its own function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    Insert,
    Update,
    Delete,
    Truncate,
    /// Rows of a parent table were updated, possibly including some of this one.
    ParentUpdate,
    /// The same for deletion.
    ParentDelete,
    /// What tells the partitions apart was set, which a MERGE may do unseen.
    Merge,
}

impl Capture {
    pub(super) const ALL: [Self; 7] = [
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::ParentUpdate,
        Self::ParentDelete,
        Self::Merge,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::ParentUpdate => "parent_update",
            Self::ParentDelete => "parent_delete",
            Self::Merge => "merge",
        }
    }
}

impl Layout {
    /// The SQL expression for a row as JSON text, with the published columns only. `alias` is the
    /// table's name or alias in the query, quoted if need be.
    ///
    /// Triggers use the same expression, so a row looks the same in a query and in a notification.
    #[must_use]
    pub fn row_json_sql(&self, alias: &str) -> String {
        let columns = self.column_list(alias);
        format!(
            "(SELECT pg_catalog.to_json(ddp_row.*)::pg_catalog.text FROM (SELECT {columns}) AS ddp_row)"
        )
    }

    /// The SQL expression for a row's key as JSON text: the column as in
    /// [`row_json_sql`](Self::row_json_sql), or an array of several columns.
    #[must_use]
    pub fn key_json_sql(&self, alias: &str) -> String {
        self.key_json(|column| column.sql(alias))
    }

    /// The same for a row whose columns are already expressions, as in
    /// [`column_list`](Self::column_list).
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

    /// Selects rows by their keys, each as one JSON text, preceded by the snapshot. The parameters
    /// are arrays of text, one for each key column.
    pub(crate) fn select_by_key_sql(&self) -> String {
        let (row, relation, snapshot) =
            (self.row_json_sql("t"), &self.relation, self.snapshot_sql());
        let (mut values, mut names, mut matches) = (Vec::new(), Vec::new(), Vec::new());
        for (index, key) in self.key_columns().enumerate() {
            let (number, cast) = (index + 1, &key.cast);
            let value = match key.expression {
                Expression::Base64 | Expression::Identity(_) => {
                    values.push(format!("pg_catalog.unnest(${number}::pg_catalog.text[])"));
                    key.sql("t")
                }
                _ => {
                    values
                        .push(format!("pg_catalog.unnest(${number}::pg_catalog.text[]::{cast}[])"));
                    format!("t.{}", quoted(&key.name))
                }
            };
            names.push(format!("key{number}"));
            matches.push(format!("{value} = ddp_key.key{number}"));
        }
        let (values, names, matches) = (values.join(", "), names.join(", "), matches.join(" AND "));
        // Of several arrays only an `unnest` without its schema could make rows.
        format!(
            "SELECT {snapshot}
            UNION ALL SELECT {row} FROM ROWS FROM ({values}) AS ddp_key ({names})
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

    /// The triggers on the table itself, and on each of its partitions and children.
    pub(super) fn captures(&self) -> &'static [Capture] {
        &[Capture::Insert, Capture::Update, Capture::Delete, Capture::Truncate]
    }

    /// The triggers on each of the table's parents.
    pub(super) fn parent_captures(&self) -> &'static [Capture] {
        if self.family.above.is_empty() {
            &[]
        } else {
            &[Capture::ParentUpdate, Capture::ParentDelete]
        }
    }

    /// The operations that have a function.
    pub(super) fn all_captures(&self) -> impl Iterator<Item = Capture> {
        let captures = [self.captures(), self.parent_captures(), self.merge_captures()];
        captures.into_iter().flatten().copied()
    }

    /// Every trigger, with its table's quoted name.
    pub(super) fn triggers(&self) -> impl Iterator<Item = (&str, Capture)> {
        let each = |relation, captures: &'static [Capture]| {
            captures.iter().map(move |capture| (relation, *capture))
        };
        // Parents before children, in the order in which statements on a parent lock them.
        let below = std::iter::once(&self.relation).chain(&self.family.below);
        let above = self.family.above.iter();
        let above = above.flat_map(move |relation| each(relation.as_str(), self.parent_captures()));
        let below = below.map(String::as_str).flat_map(move |relation| {
            each(relation, self.captures()).chain(each(relation, self.merge_captures_on(relation)))
        });
        above.chain(below)
    }

    /// The name of a trigger. Triggers fire in alphabetical order: ours run before the
    /// application's, which may change the table once more.
    pub(super) fn trigger_name(&self, capture: Capture) -> String {
        // A hash keeps apart collections whose names start alike.
        let short = self.collection.len() <= 40;
        let hash = if short { String::new() } else { format!("_{}", self.hash) };
        let suffix = format!("{hash}_{}", capture.name());
        fitting(&format!("0_ddp_{}", self.collection), &suffix)
    }

    /// The name of a trigger function in the schema `ddp`.
    pub(super) fn function_name(&self, capture: Capture) -> String {
        let suffix = format!("_{}_{}", capture.name(), self.hash);
        fitting(&self.collection, &suffix)
    }

    /// Creates or replaces everything: the schema, the functions with their comments, and the
    /// triggers. Safe to repeat, but [`install`](super::install()) does nothing if nothing has
    /// changed.
    #[must_use]
    pub fn install_sql(&self) -> String {
        let mut sql = "CREATE SCHEMA IF NOT EXISTS ddp;\n".to_owned();
        if self.feed == Feed::Wal {
            sql.push_str(&send::publication_sql());
        }
        sql.extend(self.functions_sql());
        for (relation, capture) in self.triggers() {
            sql.push_str(&self.trigger_sql(relation, capture));
        }
        sql
    }

    /// Creates or replaces the functions, with the comments that describe them.
    pub(super) fn functions_sql(&self) -> impl Iterator<Item = String> {
        let comment = literal(&self.fingerprint().to_string());
        self.all_captures().map(move |capture| {
            let (name, sql) = (quoted(&self.function_name(capture)), self.function_sql(capture));
            format!("{sql}COMMENT ON FUNCTION ddp.{name}() IS {comment};\n")
        })
    }

    /// Everything that determines what the triggers send, and when.
    pub(super) fn definition(&self) -> String {
        self.all_captures().fold(String::new(), |mut sql, capture| {
            sql.push_str(&self.function_sql(capture));
            sql.push_str(&self.trigger_sql(&self.relation, capture));
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
            Capture::ParentUpdate => format!("UPDATE ON {relation}"),
            Capture::Delete => format!("DELETE ON {relation} {old}"),
            Capture::ParentDelete => format!("DELETE ON {relation}"),
            Capture::Truncate => format!("TRUNCATE ON {relation}"),
            Capture::Merge => format!("UPDATE OF {} ON {relation}", self.moving_columns()),
        };
        format!(
            "CREATE OR REPLACE TRIGGER {name} AFTER {event} FOR EACH STATEMENT EXECUTE FUNCTION ddp.{function}();\n"
        )
    }

    fn function_sql(&self, capture: Capture) -> String {
        let name = quoted(&self.function_name(capture));
        let settings = match capture {
            Capture::Insert | Capture::Update => settings_sql(self.columns.iter()),
            Capture::Delete => settings_sql(self.key_columns()),
            Capture::Truncate | Capture::ParentUpdate | Capture::ParentDelete | Capture::Merge => {
                String::new()
            }
        };
        let body = self.emit(capture);
        // A dollar quote ends only at its own tag. No name can contain this one by chance, since it
        // includes a hash of the names.
        let tag = format!("$ddp_{}$", self.hash);
        format!(
            "CREATE OR REPLACE FUNCTION ddp.{name}() RETURNS pg_catalog.trigger LANGUAGE plpgsql\
             {settings} AS {tag}\n{body}{tag};\n"
        )
    }
}

/// The clauses of a function that writes these columns.
fn settings_sql<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    let all = columns.map(|column| column.settings).fold(Settings::default(), Settings::and);
    let clauses = [
        (all.common, FUNCTION_SETTINGS),
        (all.money, MONEY_SETTING),
        (all.names, NAMES_SETTING),
        (all.nulls, NULLS_SETTING),
    ];
    clauses.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, clause)| clause).collect()
}

impl Column {
    pub(super) fn sql(&self, alias: &str) -> String {
        let column = format!("{alias}.{}", quoted(&self.name));
        match self.expression {
            Expression::Plain => column,
            // PostgreSQL wraps base64 into lines.
            Expression::Base64 => format!(
                "pg_catalog.replace(pg_catalog.encode({column}, 'base64'), pg_catalog.chr(10), '')"
            ),
            Expression::Utc => format!("pg_catalog.timezone('UTC', {column})"),
            // It calls the type's output function; a cast to text may be of somebody's own.
            Expression::Text => {
                format!("CASE WHEN {column} IS NOT NULL THEN pg_catalog.concat({column}) END")
            }
            Expression::Texts => format!(
                "CASE WHEN {column} IS NOT NULL THEN pg_catalog.concat({column})::pg_catalog.text[] END"
            ),
            // One that is gone has only its number.
            Expression::Identity(catalog) => format!(
                "COALESCE((SELECT ddp_object.identity FROM pg_catalog.pg_identify_object(\
                 'pg_catalog.{catalog}'::pg_catalog.regclass, {column}::pg_catalog.oid, 0) AS ddp_object), \
                 {column}::pg_catalog.oid::pg_catalog.text)"
            ),
            Expression::Oids => format!("{column}::pg_catalog.oid[]"),
        }
    }
}
