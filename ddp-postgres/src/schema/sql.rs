//! The SQL that a published table needs.
//!
//! Nothing here depends on the writer: every function and type is named with its schema, so a
//! hostile `search_path` changes nothing; operators are called by the names of their functions for
//! the same reason. The writer needs no privilege on anything of ours, since PostgreSQL does not
//! ask for any to fire a trigger, and the functions use nothing but built-in functions and the
//! statement's own rows.

use super::layout::{Column, Expression, Layout};
use super::name::{fitting, quoted};
use super::send;
use crate::feed::Feed;
use crate::value::ValueKind;

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
    /// A row's key was changed: notes the old key for the statement's `Update`.
    Key,
}

impl Capture {
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Key => "key",
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

    /// The SQL expression for a row's key as JSON text, as it is within
    /// [`row_json_sql`](Self::row_json_sql).
    #[must_use]
    pub fn key_json_sql(&self, alias: &str) -> String {
        format!("pg_catalog.to_json({})::pg_catalog.text", self.key().sql(alias))
    }

    /// The SELECT of rows by their keys, one JSON text each, along with its snapshot. The parameters are arrays of text, one
    /// for each column of the key.
    pub(crate) fn select_by_key_sql(&self) -> String {
        let (row, relation) = (self.row_json_sql("t"), &self.relation);
        let key = self.key();
        let (column, cast) = (quoted(&key.name), &key.cast);
        let (values, value) = match key.expression {
            Expression::Base64 => ("$1::pg_catalog.text[]".to_owned(), key.sql("t")),
            _ => (format!("$1::pg_catalog.text[]::{cast}[]"), format!("t.{column}")),
        };
        format!(
            "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text
            UNION ALL SELECT {row} FROM ROWS FROM (pg_catalog.unnest({values})) AS ddp_key (key1)
            JOIN {relation} AS t ON {value} = ddp_key.key1"
        )
    }

    /// What differs for two rows if and only if their documents have different ids. `1.0` equals
    /// `1.00` in SQL, and `a` may equal `A`.
    fn key_identity_sql(&self, alias: &str) -> String {
        match self.key().kind {
            ValueKind::Boolean | ValueKind::Integer | ValueKind::BigInteger => {
                self.key().sql(alias)
            }
            _ => self.key_json_sql(alias),
        }
    }

    pub(super) fn column_list(&self, alias: &str) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} AS {}", column.sql(alias), quoted(&column.name)))
            .collect();
        columns.join(", ")
    }

    /// The triggers that the table has.
    pub(super) fn captures(&self) -> &'static [Capture] {
        use Capture::{Delete, Insert, Key, Truncate, Update};
        if self.partitioned {
            &[Insert, Update, Delete, Truncate]
        } else {
            &[Insert, Update, Delete, Truncate, Key]
        }
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

    /// The quoted names of the functions, within the schema `ddp`.
    pub(super) fn functions(&self) -> impl Iterator<Item = String> {
        self.captures().iter().map(|capture| quoted(&self.function_name(*capture)))
    }

    /// Creates or replaces the triggers and their functions. Safe to run again, but see
    /// [`install`](super::install()), which does nothing if nothing has changed.
    #[must_use]
    pub fn install_sql(&self) -> String {
        let mut sql = "CREATE SCHEMA IF NOT EXISTS ddp;\n".to_owned();
        if self.feed == Feed::Wal {
            sql.push_str(&send::publication_sql());
        }
        for capture in self.captures() {
            sql.push_str(&self.function_sql(*capture));
            sql.push_str(&self.trigger_sql(*capture));
        }
        sql
    }

    /// Removes the triggers and their functions.
    #[must_use]
    pub fn uninstall_sql(&self) -> String {
        use Capture::{Delete, Insert, Key, Truncate, Update};
        let mut sql = String::new();
        for capture in [Insert, Update, Delete, Truncate, Key] {
            let trigger = quoted(&self.trigger_name(capture));
            let function = quoted(&self.function_name(capture));
            sql.push_str(&format!(
                "DROP TRIGGER IF EXISTS {trigger} ON {};\nDROP FUNCTION IF EXISTS ddp.{function}();\n",
                self.relation
            ));
        }
        sql
    }

    fn trigger_sql(&self, capture: Capture) -> String {
        let name = quoted(&self.trigger_name(capture));
        let function = quoted(&self.function_name(capture));
        let relation = &self.relation;
        let (old, new) = (self.key_identity_sql("OLD"), self.key_identity_sql("NEW"));
        let event = match capture {
            Capture::Insert => format!("INSERT ON {relation} REFERENCING NEW TABLE AS ddp_new"),
            Capture::Update if self.partitioned => format!(
                "UPDATE ON {relation} REFERENCING OLD TABLE AS ddp_old NEW TABLE AS ddp_new"
            ),
            Capture::Update => format!("UPDATE ON {relation} REFERENCING NEW TABLE AS ddp_new"),
            Capture::Delete => format!("DELETE ON {relation} REFERENCING OLD TABLE AS ddp_old"),
            Capture::Truncate => format!("TRUNCATE ON {relation}"),
            Capture::Key => {
                format!("UPDATE ON {relation} FOR EACH ROW WHEN ({old} IS DISTINCT FROM {new})")
            }
        };
        let each = if capture == Capture::Key { "" } else { " FOR EACH STATEMENT" };
        format!(
            "CREATE OR REPLACE TRIGGER {name} AFTER {event}{each} EXECUTE FUNCTION ddp.{function}();\n"
        )
    }

    fn function_sql(&self, capture: Capture) -> String {
        let name = quoted(&self.function_name(capture));
        let settings = match capture {
            Capture::Insert | Capture::Update => self.columns.iter().any(|c| c.needs_settings),
            Capture::Delete | Capture::Key => self.key().needs_settings,
            Capture::Truncate => false,
        };
        let settings = if settings { FUNCTION_SETTINGS } else { "" };
        let body = match capture {
            Capture::Key => self.note_moved_key(),
            _ => self.emit(capture),
        };
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
