//! The SQL that a published table needs.
//!
//! Nothing here depends on the writer: every function and type is named with its schema, so a
//! hostile `search_path` changes nothing; operators are called by the names of their functions for
//! the same reason. The writer needs no privilege on anything of ours, since PostgreSQL does not
//! ask for any to fire a trigger, and the functions use nothing but built-in functions and the
//! statement's own rows.

use super::layout::{Column, Expression, Layout, Measure};
use super::name::{fitting, literal, quoted};
use crate::value::ValueKind;

/// What a session that selects rows by [`Layout::row_json_sql`] must be set to, so that they read
/// like those of the triggers. For the `options` of a connection.
pub const SESSION_OPTIONS: &str = "-c extra_float_digits=1 -c IntervalStyle=iso_8601 \
     -c bytea_output=hex -c DateStyle=ISO -c TimeZone=UTC";

/// The same for the triggers' functions of tables that need it; each costs the writer time.
const FUNCTION_SETTINGS: &str = "\nSET extra_float_digits = 1 SET intervalstyle = 'iso_8601' \
     SET bytea_output = 'hex' SET datestyle = 'ISO' SET timezone = 'UTC'";

/// A statement's rows are not broadcast beyond this.
const BODY_BYTES_MAX: u32 = 1 << 20;
/// `NOTIFY` takes 7,999 bytes. The header needs less than 64.
const PART_BYTES_MAX: u32 = 7_900;
/// The same, measured in UTF-8, for databases whose own encoding may need a third more.
const PART_BYTES_MAX_OTHER_ENCODING: u32 = 5_900;
/// Old keys that fit into one message.
const MOVED_BYTES_MAX: u32 = 7_800;

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

    fn column_list(&self, alias: &str) -> String {
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

    /// Transaction-local settings hold what a function must remember until the next statement.
    /// Rolling back to a savepoint reverts them along with the notifications.
    fn variable(&self, letter: char) -> String {
        format!("'ddp.{letter}_{}'", self.hash)
    }

    fn note_moved_key(&self) -> String {
        let (moved, key) = (self.variable('k'), self.key_json_sql("OLD"));
        format!(
            "DECLARE
    moved pg_catalog.text := pg_catalog.current_setting({moved}, true);
    key pg_catalog.text := {key};
BEGIN
    PERFORM pg_catalog.set_config({moved}, CASE
        WHEN pg_catalog.texteq(moved, '!') THEN '!'
        WHEN pg_catalog.int4gt(pg_catalog.octet_length(pg_catalog.concat(moved, key)), {MOVED_BYTES_MAX}) THEN '!'
        WHEN pg_catalog.int4gt(pg_catalog.octet_length(moved), 0) THEN pg_catalog.concat(moved, ',', key)
        ELSE key END, true);
    RETURN NULL;
END
"
        )
    }

    /// The body of a statement trigger's function.
    ///
    /// `state` is `64 * sequence + depth` of the collection's last message in the transaction. A
    /// last message from deeper within triggers may come from a statement that ran inside of this
    /// one and changed the same rows later than this one did, although its message is first. Which
    /// row is the newest cannot be told then, so the collection is read again.
    fn emit(&self, capture: Capture) -> String {
        let state = self.variable('s');
        let channel = literal(&self.channel);
        let (kind, gather) = match capture {
            Capture::Insert | Capture::Update => ("u", self.gather_rows()),
            Capture::Delete => ("d", self.gather_keys()),
            Capture::Truncate | Capture::Key => ("t", "    body := '';\n".to_owned()),
        };
        let moved = if capture == Capture::Update { self.send_moved_keys() } else { String::new() };
        let send_parts = self.send_parts();
        format!(
            "DECLARE
    kind pg_catalog.text := '{kind}';
    touched pg_catalog.int8;
    state pg_catalog.int8;
    body pg_catalog.text;
    moved pg_catalog.text;
    sent pg_catalog.text;
    bytes pg_catalog.bytea;
    first pg_catalog.int4 := 1;
    last pg_catalog.int4;
    parts pg_catalog.text[] := '{{}}';
BEGIN
{gather}    state := pg_catalog.concat('0', pg_catalog.current_setting({state}, true));
    IF body IS NULL OR pg_catalog.int4gt(pg_catalog.octet_length(body), {BODY_BYTES_MAX})
        OR pg_catalog.int84gt(pg_catalog.int8mod(state, 64), pg_catalog.pg_trigger_depth()) THEN
        kind := 'r';
        body := '';
    END IF;
{moved}    state := pg_catalog.int8pl(pg_catalog.int8mul(pg_catalog.int8div(state, 64), 64), pg_catalog.int8pl(64, LEAST(pg_catalog.pg_trigger_depth(), 63)));
    IF pg_catalog.int4le(pg_catalog.octet_length(body), {PART_BYTES_MAX}) THEN
        sent := pg_catalog.concat(pg_catalog.set_config({state}, state::pg_catalog.text, true),
            pg_catalog.pg_notify({channel}, pg_catalog.concat(pg_catalog.pg_current_xact_id(), ' ',
                pg_catalog.int8div(state, 64), ' 1 1 ', kind, ' ', body)));
        RETURN NULL;
    END IF;
{send_parts}    RETURN NULL;
END
"
        )
    }

    /// The new rows, unless they are too many or too large. Never looks at more rows than needed
    /// to know that.
    fn gather_rows(&self) -> String {
        let rows_max = self.rows_max;
        let probe = u64::from(rows_max) + 1;
        let sizes: Vec<String> = self.columns.iter().filter_map(Column::size_sql).collect();
        let (total, limit, size) = if sizes.is_empty() {
            // Small columns cannot get large by being few.
            (String::new(), String::new(), String::new())
        } else {
            (
                ", pg_catalog.sum(ddp_some.size)::pg_catalog.int8 AS size".to_owned(),
                format!(" AND pg_catalog.int8le(ddp_seen.size, {BODY_BYTES_MAX})"),
                format!("{} AS size", sizes.join(" OPERATOR(pg_catalog.+) ")),
            )
        };
        let columns = self.column_list("ddp_new");
        format!(
            "    SELECT ddp_seen.number, CASE WHEN pg_catalog.int8le(ddp_seen.number, {rows_max}){limit}
        THEN (SELECT pg_catalog.string_agg(pg_catalog.to_json(ddp_row.*)::pg_catalog.text, ',')
            FROM (SELECT {columns} FROM ddp_new) AS ddp_row) END
        INTO touched, body
        FROM (SELECT pg_catalog.count(*) AS number{total}
            FROM (SELECT {size} FROM ddp_new LIMIT {probe}) AS ddp_some) AS ddp_seen;
    IF pg_catalog.int8eq(touched, 0) THEN
        RETURN NULL;
    END IF;
"
        )
    }

    fn gather_keys(&self) -> String {
        let rows_max = self.rows_max;
        let probe = u64::from(rows_max) + 1;
        let key = self.key_json_sql("ddp_some");
        let column = quoted(&self.key().name);
        format!(
            "    SELECT pg_catalog.count(*), CASE WHEN pg_catalog.int8le(pg_catalog.count(*), {rows_max})
        THEN pg_catalog.string_agg({key}, ',') END
        INTO touched, body
        FROM (SELECT ddp_old.{column} FROM ddp_old LIMIT {probe}) AS ddp_some;
    IF pg_catalog.int8eq(touched, 0) THEN
        RETURN NULL;
    END IF;
"
        )
    }

    /// Sends the old keys of rows whose key was changed as deleted, before the rows.
    fn send_moved_keys(&self) -> String {
        let (moved, state) = (self.variable('k'), self.variable('s'));
        let channel = literal(&self.channel);
        let (gather, forget) = if self.partitioned {
            let (old, new) = (self.key_json_sql("ddp_old"), self.key_json_sql("ddp_new"));
            let gather = format!(
                "    IF pg_catalog.texteq(kind, 'u') THEN
        moved := (SELECT pg_catalog.string_agg(ddp_moved.key, ',') FROM
            (SELECT {old} AS key FROM ddp_old EXCEPT SELECT {new} FROM ddp_new) AS ddp_moved);
    END IF;\n"
            );
            (gather, String::new())
        } else {
            (
                format!("    moved := pg_catalog.current_setting({moved}, true);\n"),
                format!("        PERFORM pg_catalog.set_config({moved}, '', true);\n"),
            )
        };
        format!(
            "{gather}    IF pg_catalog.int4gt(pg_catalog.octet_length(moved), 0) THEN
{forget}        IF pg_catalog.texteq(moved, '!') OR pg_catalog.int4gt(pg_catalog.octet_length(moved), {MOVED_BYTES_MAX}) THEN
            kind := 'r';
            body := '';
        ELSIF pg_catalog.texteq(kind, 'u') THEN
            state := pg_catalog.int8pl(state, 64);
            PERFORM pg_catalog.pg_notify({channel}, pg_catalog.concat(pg_catalog.pg_current_xact_id(), ' ',
                pg_catalog.int8div(state, 64), ' 1 1 d ', moved));
            PERFORM pg_catalog.set_config({state}, state::pg_catalog.text, true);
        END IF;
    END IF;
"
        )
    }

    /// Cuts a long body between characters, and sends the parts.
    fn send_parts(&self) -> String {
        let part_bytes_max = if self.utf8 { PART_BYTES_MAX } else { PART_BYTES_MAX_OTHER_ENCODING };
        let (state, channel) = (self.variable('s'), literal(&self.channel));
        format!(
            "    bytes := pg_catalog.convert_to(body, 'UTF8');
    WHILE pg_catalog.int4le(first, pg_catalog.octet_length(bytes)) LOOP
        last := LEAST(pg_catalog.int4pl(first, {part_bytes_max}), pg_catalog.int4pl(pg_catalog.octet_length(bytes), 1));
        WHILE pg_catalog.int4le(last, pg_catalog.octet_length(bytes)) AND pg_catalog.int4eq(pg_catalog.int4and(
            pg_catalog.get_byte(bytes, pg_catalog.int4mi(last, 1)), 192), 128) LOOP
            last := pg_catalog.int4mi(last, 1);
        END LOOP;
        parts := pg_catalog.array_append(parts, pg_catalog.convert_from(
            pg_catalog.substring(bytes, first, pg_catalog.int4mi(last, first)), 'UTF8'));
        first := last;
    END LOOP;
    PERFORM pg_catalog.set_config({state}, state::pg_catalog.text, true);
    FOR part IN 1 .. pg_catalog.cardinality(parts) LOOP
        PERFORM pg_catalog.pg_notify({channel}, pg_catalog.concat(pg_catalog.pg_current_xact_id(), ' ',
            pg_catalog.int8div(state, 64), ' ', part, ' ', pg_catalog.cardinality(parts), ' ', kind, ' ', parts[part]));
    END LOOP;
"
        )
    }
}

impl Column {
    fn sql(&self, alias: &str) -> String {
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

    /// How many bytes the column has in a new row.
    fn size_sql(&self) -> Option<String> {
        let column = format!("ddp_new.{}", quoted(&self.name));
        match self.measure {
            Measure::Small => None,
            Measure::OctetLength => Some(format!("COALESCE(pg_catalog.octet_length({column}), 0)")),
            Measure::ColumnSize => {
                Some(format!("COALESCE(pg_catalog.pg_column_size({column}), 0)"))
            }
        }
    }
}
