//! From what table, and under what family of tables, something was told or read.
//!
//! A partition or child may come and go between two looks at the catalogs, which then look as before.
//! So each message of a table with partitions or children says which tables had rows of it when it was
//! made, and each read says it, too. Each read of a table that is alone says which table that was: for a
//! moment another one, or a view, may have had its name. Whoever knows of another family trusts neither:
//! rows of such a message are read, and after such a read the catalogs are looked at, and all is read
//! again.

use super::layout::Layout;
use super::name::literal;
use super::number::{family_of_statement_sql, family_of_writer_sql, family_sql, number_sql};
use super::sql::Capture;

impl Layout {
    /// The number of the family, as messages tell it; `None` for a table that is alone.
    pub(crate) fn family_number(&self) -> Option<i64> {
        self.tree.then_some(self.family.number)
    }

    /// The number that reads tell: of the table, or of its family if it has one.
    pub(crate) fn number_of_reads(&self) -> i64 {
        self.family.number
    }

    /// SQL for a read's snapshot, and for [that number](Self::number_of_reads) as that snapshot shows it.
    /// A statement of a READ COMMITTED transaction takes its snapshot after it has locked all that it
    /// reads.
    ///
    /// The name is a constant, which PostgreSQL looks up when it looks up that of the table to be read:
    /// a prepared statement means the same table by both, whatever has the name by then.
    pub(crate) fn snapshot_sql(&self) -> String {
        let table = format!("{}::pg_catalog.regclass::pg_catalog.oid", literal(&self.relation));
        let number = if self.tree { family_sql(&table) } else { number_sql(&table) };
        format!("pg_catalog.concat(pg_catalog.pg_current_snapshot(), ' ', {number})")
    }

    fn root(&self) -> String {
        format!("pg_catalog.to_regclass({})::pg_catalog.oid", literal(&self.relation))
    }

    /// What a trigger function sends of the family.
    ///
    /// The statement has locked the tables whose rows it touched, so they are still in the family, or
    /// being detached. But a transaction with one snapshot for all its statements does not see those that were added since,
    /// although the statement does. Of a partitioned table, those that it writes to are looked for among
    /// its locks; of another, nothing is told, which is no family that anybody knows of.
    fn family_of_statement(&self) -> String {
        let root = &self.root();
        let (seen, newest) = if self.partitioned {
            (family_of_statement_sql(root), family_of_writer_sql(root))
        } else {
            (family_sql(root), "NULL::pg_catalog.int8".to_owned())
        };
        format!(
            "CASE WHEN pg_catalog.starts_with(pg_catalog.current_setting('transaction_isolation'), 'read ')
            THEN {seen} ELSE {newest} END"
        )
    }

    /// What follows the letter of the operation within a literal of the arguments of `concat`.
    pub(super) fn tell_family(&self) -> String {
        if self.tree { format!("', {}, '", self.family_of_statement()) } else { String::new() }
    }

    /// A variable of a trigger function, and the statement that sets it.
    pub(super) fn remember_family(&self) -> (&'static str, String) {
        if !self.tree {
            return ("", String::new());
        }
        let remember = format!("    family := {};\n", self.family_of_statement());
        ("    family pg_catalog.int8;\n", remember)
    }

    /// As [`tell_family`](Self::tell_family), from that variable.
    pub(super) fn tell_remembered_family(&self) -> &'static str {
        if self.tree { "', family, '" } else { "" }
    }

    /// A renamed or detached table keeps its triggers until they are dropped. Its rows no longer
    /// belong to the collection, which must be read again.
    pub(super) fn doubt(&self, capture: Capture) -> String {
        if matches!(capture, Capture::ParentUpdate | Capture::ParentDelete | Capture::Merge) {
            return String::new();
        }
        let (name, schema) = (literal(&self.table), literal(&self.schema));
        let is_part = if self.tree {
            let relation = literal(&self.relation);
            format!(
                " AND NOT EXISTS (WITH RECURSIVE ddp_part (oid) AS (SELECT TG_RELID
            UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN ddp_part ON i.inhrelid OPERATOR(pg_catalog.=) ddp_part.oid
                AND NOT i.inhdetachpending)
            SELECT FROM ddp_part WHERE ddp_part.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation}))"
            )
        } else {
            String::new()
        };
        let unknown = self.doubt_children(capture);
        format!(
            "    IF (pg_catalog.namene(TG_TABLE_NAME, {name}) OR pg_catalog.namene(TG_TABLE_SCHEMA, {schema})){is_part} THEN
        body := NULL;
    END IF;
{unknown}"
        )
    }

    /// A table that was alone when its triggers were made may have its first child by now. If that is a
    /// temporary one of this session, nobody else may read the rows that the statement touched; and a
    /// TRUNCATE may have left those of a child.
    fn doubt_children(&self, capture: Capture) -> String {
        let condition = match capture {
            Capture::Update | Capture::Delete if !self.tree => {
                "pg_catalog.oidne(pg_catalog.pg_my_temp_schema(), 0::pg_catalog.oid) AND "
            }
            Capture::Truncate if !self.tree => "",
            _ => return String::new(),
        };
        format!(
            "    IF {condition}EXISTS (SELECT FROM pg_catalog.pg_inherits i
        WHERE i.inhparent OPERATOR(pg_catalog.=) TG_RELID) THEN
        body := NULL;
    END IF;
"
        )
    }

    /// A condition of the usual statement for which nothing in [`doubt`](Self::doubt) needs to be looked
    /// up. Most sessions never have temporary tables.
    pub(super) fn has_no_temporary_child(&self, capture: Capture) -> &'static str {
        if self.tree || !matches!(capture, Capture::Update | Capture::Delete) {
            return "";
        }
        "AND pg_catalog.oideq(pg_catalog.pg_my_temp_schema(), 0::pg_catalog.oid) "
    }
}
