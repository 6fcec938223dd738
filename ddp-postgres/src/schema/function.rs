//! The bodies of the trigger functions, in PL/pgSQL.

use super::layout::{Column, Layout, Measure};
use super::name::{literal, quoted};
use super::send::payload;
use super::sql::Capture;
use crate::feed::Feed;

/// If a statement's rows take more, they are not broadcast.
const BODY_BYTES_MAX: u32 = 1 << 20;
/// How many bytes of old keys fit into one message.
const MOVED_BYTES_MAX: u32 = 7_800;
/// Up to this many rows are turned into JSON without counting them first.
const FEW_ROWS: u32 = 100;

/// A statement that touched no row sends nothing.
const NOTHING_TOUCHED: &str = "    IF pg_catalog.int8eq(touched, 0) THEN
        RETURN NULL;
    END IF;
";
/// If an update leaves no new rows, triggers on the partitions that the rows moved to may have
/// dropped them. The message then has no body, which means "read again".
const NOTHING_UPDATED: &str =
    "    IF pg_catalog.int8eq(touched, 0) AND NOT EXISTS (SELECT FROM ddp_old) THEN
        RETURN NULL;
    END IF;
";

impl Layout {
    /// What a function must remember until the next statement is in transaction-local settings.
    /// Rolling back to a savepoint reverts them along with the notifications.
    pub(super) fn variable(&self, letter: char) -> String {
        format!("'ddp.{letter}_{}'", self.hash)
    }

    /// The state after the collection's previous message in the transaction: [`state_after`] without
    /// its sign; 0 before the first.
    ///
    /// [`state_after`]: Self::state_after
    fn state_before(&self) -> String {
        let state = self.variable('s');
        format!(
            "pg_catalog.concat('0', pg_catalog.ltrim(pg_catalog.current_setting({state}, true), '-'))::pg_catalog.int8"
        )
    }

    /// The state after one more message: `4294967296 * sequence + statement`, negative if the previous
    /// message has the same statement.
    ///
    /// PostgreSQL fires a statement's triggers at its end, one for each kind of change, and those of
    /// statements within it (functions, other triggers) before. So messages of the same statement may
    /// come in another order than the changes. When the client sent the statement identifies it:
    /// whatever runs within it has the same time, and what the client sends next comes when all of
    /// it has ended. Two that happen to have the same time are taken for one, which only costs a read.
    ///
    /// If several rows may have the same key until the transaction ends, the order says nothing: all
    /// its messages count as one statement.
    fn state_after(&self, before: &str) -> String {
        let statement = if self.shares_keys {
            "0"
        } else {
            "pg_catalog.int8mod((pg_catalog.float8mul(pg_catalog.date_part('epoch', \
             pg_catalog.statement_timestamp()), 1000000))::pg_catalog.int8, 4294967296)"
        };
        let next = format!(
            "pg_catalog.int8pl(pg_catalog.int8shl(pg_catalog.int8pl(pg_catalog.int8shr({before}, 32), 1), 32), {statement})"
        );
        format!(
            "CASE WHEN pg_catalog.int8eq(pg_catalog.int8and({before}, 4294967295), {statement}) \
             THEN pg_catalog.int8um({next}) ELSE {next} END"
        )
    }

    /// The body of the function of a statement trigger.
    ///
    /// A failure here must never fail the writer's statement: a column may have been dropped or
    /// renamed since, or a row may exceed the limits of text.
    pub(super) fn emit(&self, capture: Capture) -> String {
        let state = self.variable('s');
        let nothing = if capture == Capture::Update { NOTHING_UPDATED } else { NOTHING_TOUCHED };
        let (kind, gather) = match capture {
            Capture::Insert | Capture::Update if self.sends_keys() => {
                ("k", self.gather_keys("ddp_new", nothing))
            }
            Capture::Insert | Capture::Update => ("u", self.gather_rows(nothing)),
            Capture::Delete => ("d", self.gather_keys("ddp_old", nothing)),
            // Whether they touched a row is not known without a transition table, and with one
            // PostgreSQL refuses statements that touch rows of a parent's foreign child.
            Capture::ParentUpdate | Capture::ParentDelete => ("r", "    body := '';\n".to_owned()),
            Capture::Merge => ("r", self.unless_merge()),
            // Some of the rows may be in other tables of the tree.
            Capture::Truncate if self.tree => ("r", "    body := '';\n".to_owned()),
            Capture::Truncate => ("t", "    body := '';\n".to_owned()),
        };
        let gather = gather + &self.doubt(capture);
        let one_row = self.tell_one_row(capture, kind);
        let moved = if capture == Capture::Update { self.send_moved_keys() } else { String::new() };
        let (send_body, send_requery) = (self.send_body(), self.send("' 1 1 r '"));
        let (family, remember_family) = self.remember_family();
        let before = self.state_before();
        let advance = format!("state := {};", self.state_after("pg_catalog.int8abs(state)"));
        let (relation, from_the_start) = (literal(&self.relation), self.tell_from_the_start());
        format!(
            "DECLARE
    body pg_catalog.text;
BEGIN
{one_row}DECLARE
    kind pg_catalog.text := '{kind}';
    touched pg_catalog.int8;
    complete pg_catalog.int8;
    state pg_catalog.int8;
    moved pg_catalog.text;
    sent pg_catalog.text;
    bytes pg_catalog.bytea;
    first pg_catalog.int4 := 1;
    last pg_catalog.int4;
    parts pg_catalog.text[] := '{{}}';
{family}BEGIN
{gather}{remember_family}    state := {before};
    IF body IS NULL OR pg_catalog.int4gt(pg_catalog.octet_length(body), {BODY_BYTES_MAX}) THEN
        kind := 'r';
        body := '';
    END IF;
{moved}    {advance}
{send_body}    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE LOG 'changes of % are told without their rows: %', {relation}, SQLERRM;
    BEGIN
        state := {before};
        {advance}
        PERFORM pg_catalog.set_config({state}, state::pg_catalog.text, true);
        PERFORM {send_requery};
    EXCEPTION WHEN OTHERS THEN
{from_the_start}    END;
    RETURN NULL;
END;
END
"
        )
    }

    /// What the writer has put into our settings may be no number. Servers then hear a number that
    /// does not follow, and read again.
    fn tell_from_the_start(&self) -> String {
        let (state, send_requery) = (self.variable('s'), self.send("' 1 1 r '"));
        let (after, relation) = (self.state_after("0"), literal(&self.relation));
        format!(
            "        BEGIN
            state := pg_catalog.int8abs({after});
            PERFORM pg_catalog.set_config({state}, state::pg_catalog.text, true);
            PERFORM {send_requery};
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'nobody is told of changes of %: %', {relation}, SQLERRM;
        END;
"
        )
    }

    /// Reports the usual statement, which changed one row and no key, as cheaply as possible: each
    /// query costs the writer some 10 microseconds, any other statement some 3. The rest of the
    /// function handles everything else.
    ///
    /// At most two rows are read to find out whether there is exactly one. Nothing is sent within
    /// the block that catches errors, since a message in the WAL would assign an id to the
    /// subtransaction. So whatever may fail is done there, and whether the writer may send at all is
    /// asked: functions can be revoked from PUBLIC, and our settings can hold anything.
    fn tell_one_row(&self, capture: Capture, kind: &str) -> String {
        // In other encodings the conversion to UTF-8 may fail, which only the code below catches.
        if self.rows_max == 0 || (self.feed == Feed::Wal && !self.utf8) {
            return String::new();
        }
        let row = "pg_catalog.to_json(ddp_row.*)::pg_catalog.text";
        let rows =
            |source| format!("(SELECT {} FROM {source}) AS ddp_row", self.column_list(source));
        let (new, old) = (self.key_json_sql("ddp_new"), self.key_json_sql("ddp_old"));
        let same_key = format!("pg_catalog.texteq({old}, {})", self.listed_key_json_sql("ddp_row"));
        let small = self.size_sql("ddp_row");
        let small = small.map(|size| format!("pg_catalog.int4le({size}, {BODY_BYTES_MAX})"));
        let (value, source) = match (capture, kind) {
            (Capture::Insert, "k") => (new, "ddp_new".to_owned()),
            (Capture::Update, "k") => (
                format!("CASE WHEN pg_catalog.texteq({old}, {new}) THEN {new} END"),
                "ddp_new, ddp_old".to_owned(),
            ),
            (Capture::Delete, _) => (old, "ddp_old".to_owned()),
            (Capture::Insert, _) => (guarded(small, row), rows("ddp_new")),
            (Capture::Update, _) => {
                let conditions: Vec<String> = std::iter::once(same_key).chain(small).collect();
                (guarded(Some(conditions.join(" AND ")), row), rows("ddp_new") + ", ddp_old")
            }
            _ => return String::new(),
        };
        let (name, schema) = (literal(&self.table), literal(&self.schema));
        let state = self.variable('s');
        let after = self.state_after(&self.state_before());
        // The number is read back from the setting, so that the order of evaluation does not
        // matter.
        let number = format!(
            "pg_catalog.int8div(pg_catalog.set_config({state}, ({after})::pg_catalog.text, true)::pg_catalog.int8, 4294967296)"
        );
        let family = self.tell_family();
        let rest = format!("' 1 1 {kind}{family} ', pg_catalog.max(ddp_one.value)");
        let payload = self.checked(&payload(&number, &rest));
        let is_alone = self.has_no_temporary_child(capture);
        let (send, may_send) = (self.send_checked("body"), self.may_send());
        let bytes_max = self.message_bytes_max().min(BODY_BYTES_MAX);
        format!(
            "    BEGIN
        SELECT CASE WHEN pg_catalog.int4le(pg_catalog.octet_length(pg_catalog.max(ddp_one.value)), {bytes_max})
                AND pg_catalog.nameeq(TG_TABLE_NAME, {name}) AND pg_catalog.nameeq(TG_TABLE_SCHEMA, {schema})
                {is_alone}AND {may_send} THEN {payload} END
            INTO body FROM (SELECT {value} AS value FROM {source} LIMIT 2) AS ddp_one
            HAVING pg_catalog.int8eq(pg_catalog.count(*), 1);
    EXCEPTION WHEN OTHERS THEN
        body := NULL;
    END;
    IF body IS NOT NULL THEN
        IF {send} IS NOT NULL THEN
            RETURN NEW;
        END IF;
    END IF;
"
        )
    }

    /// The new rows, unless they are too many or too large.
    ///
    /// A few rows are read just once. More are counted and measured first, but only as far as
    /// needed to decide.
    fn gather_rows(&self, nothing: &str) -> String {
        let rows_max = self.rows_max;
        let probe = u64::from(rows_max) + 1;
        let columns = self.column_list("ddp_new");
        let rows = "pg_catalog.string_agg(pg_catalog.to_json(ddp_row.*)::pg_catalog.text, ',')";
        let (Some(row_size), Some(new_size)) = (self.size_sql("ddp_row"), self.size_sql("ddp_new"))
        else {
            return format!(
                "    SELECT pg_catalog.count(*), CASE WHEN pg_catalog.int8le(pg_catalog.count(*), {rows_max}) THEN {rows} END
        INTO touched, body
        FROM (SELECT {columns} FROM ddp_new LIMIT {probe}) AS ddp_row;
{nothing}"
            );
        };
        let few = rows_max.min(FEW_ROWS);
        let few_probe = u64::from(few) + 1;
        let small = format!("pg_catalog.int4le({row_size}, {BODY_BYTES_MAX})");
        format!(
            "    SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {small}), {rows} FILTER (WHERE {small})
        INTO touched, complete, body
        FROM (SELECT {columns} FROM ddp_new LIMIT {few_probe}) AS ddp_row;
{nothing}    IF pg_catalog.int8gt(touched, {few}) OR pg_catalog.int8lt(complete, touched) THEN
        body := (SELECT CASE WHEN pg_catalog.int8le(ddp_seen.number, {rows_max})
                AND pg_catalog.int8le(ddp_seen.size, {BODY_BYTES_MAX})
            THEN (SELECT {rows} FROM (SELECT {columns} FROM ddp_new) AS ddp_row) END
            FROM (SELECT pg_catalog.count(*) AS number, pg_catalog.sum(ddp_some.size)::pg_catalog.int8 AS size
                FROM (SELECT {new_size} AS size FROM ddp_new LIMIT {probe}) AS ddp_some) AS ddp_seen);
    END IF;
"
        )
    }

    /// How many bytes the variable-size columns of a row take; `None` if there are none.
    fn size_sql(&self, alias: &str) -> Option<String> {
        let sizes: Vec<String> =
            self.columns.iter().filter_map(|column| column.size_sql(alias)).collect();
        (!sizes.is_empty()).then(|| sizes.join(" OPERATOR(pg_catalog.+) "))
    }

    fn gather_keys(&self, rows: &str, nothing: &str) -> String {
        let rows_max = self.rows_max;
        let probe = u64::from(rows_max) + 1;
        let key = self.key_json_sql("ddp_some");
        let columns = self.key_columns().map(|column| format!("{rows}.{}", quoted(&column.name)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        format!(
            "    SELECT pg_catalog.count(*), CASE WHEN pg_catalog.int8le(pg_catalog.count(*), {rows_max})
        THEN pg_catalog.string_agg({key}, ',') END
        INTO touched, body
        FROM (SELECT {columns} FROM {rows} LIMIT {probe}) AS ddp_some;
{nothing}"
        )
    }

    /// Reports the old keys of rows whose key changed as deleted, before the rows. A row trigger
    /// could do this more cheaply, but its condition would prevent the key column from being
    /// altered.
    fn send_moved_keys(&self) -> String {
        let (state, family) = (self.variable('s'), self.tell_remembered_family());
        let send = self.send(&format!("' 1 1 d{family} ', moved"));
        let after = self.state_after("state");
        let (old, new) = (self.key_json_sql("ddp_old"), self.key_json_sql("ddp_new"));
        let reads_keys = if self.sends_keys() {
            String::new()
        } else {
            self.read_if_several(&self.gather_keys("ddp_new", ""))
        };
        format!(
            "    IF pg_catalog.textne(kind, 'r') THEN
        IF pg_catalog.int8eq(touched, 1) THEN
            moved := (SELECT {old} FROM ddp_old WHERE pg_catalog.textne({old}, (SELECT {new} FROM ddp_new)));
        ELSE
            moved := (SELECT pg_catalog.string_agg(ddp_moved.key, ',') FROM
                (SELECT {old} AS key FROM ddp_old EXCEPT SELECT {new} FROM ddp_new) AS ddp_moved);
        END IF;
        IF pg_catalog.int4gt(pg_catalog.octet_length(moved), {MOVED_BYTES_MAX}) THEN
            kind := 'r';
            body := '';
        ELSIF pg_catalog.int4gt(pg_catalog.octet_length(moved), 0) THEN
            state := {after};
            PERFORM {send};
            PERFORM pg_catalog.set_config({state}, state::pg_catalog.text, true);
        END IF;
    END IF;
{reads_keys}"
        )
    }

    /// A row that cascades change may have moved twice in one statement, and the key that it had in
    /// between looks like that of a row. So if several rows move, servers read which there are; if
    /// cascades set a key's columns, also if none seems to have moved in the end.
    fn read_if_several(&self, gather_keys: &str) -> String {
        let moves = if self.key_cascades {
            ""
        } else {
            " AND pg_catalog.int4gt(pg_catalog.octet_length(moved), 0)"
        };
        format!(
            "    IF pg_catalog.int8gt(touched, 1) AND pg_catalog.textne(kind, 'r'){moves} THEN
        kind := 'k';
{gather_keys}        IF body IS NULL OR pg_catalog.int4gt(pg_catalog.octet_length(body), {BODY_BYTES_MAX}) THEN
            kind := 'r';
            body := '';
        END IF;
    END IF;
"
        )
    }
}

/// A value that is only computed if a condition holds.
fn guarded(condition: Option<String>, value: &str) -> String {
    match condition {
        Some(condition) => format!("CASE WHEN {condition} THEN {value} END"),
        None => value.to_owned(),
    }
}

impl Column {
    /// How many bytes the column takes in a row.
    fn size_sql(&self, alias: &str) -> Option<String> {
        let column = format!("{alias}.{}", quoted(&self.name));
        match self.measure {
            Measure::Small => None,
            Measure::OctetLength => Some(format!("COALESCE(pg_catalog.octet_length({column}), 0)")),
            Measure::ColumnSize => {
                Some(format!("COALESCE(pg_catalog.pg_column_size({column}), 0)"))
            }
        }
    }
}
