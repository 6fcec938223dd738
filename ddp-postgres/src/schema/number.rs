//! SQL for the numbers that stand for tables and their families.

/// A table and all its descendants, as one number: those that other numbers stand for differ in at
/// least one of them. A partition that is being detached is not among them. `root` is SQL for the table's oid.
pub(super) fn family_sql(root: &str) -> String {
    format!("({} SELECT {NUMBER} FROM ddp_part WHERE NOT ddp_part.leaves)", descendants(root))
}

/// The same of a table that is alone.
pub(super) fn number_sql(table: &str) -> String {
    format!("pg_catalog.hashoidextended({table}, 0)")
}

/// The same of a partitioned table for a statement that writes to it: null if it has written to a
/// partition that is being detached. It may have begun before that, and a transaction with one snapshot
/// for all its statements goes on to write to such partitions.
pub(super) fn family_of_statement_sql(root: &str) -> String {
    family_unless_left(root, "ddp_part")
}

/// The same with the partitions that this statement writes to, even if the transaction's snapshot is
/// older. No lock is taken, and so nobody waited for: what is written to is
/// locked by now, and PostgreSQL tells a backend's locks, and whose partition something is, as they are at the
/// moment.
pub(super) fn family_of_writer_sql(root: &str) -> String {
    let written = format!(
        "SELECT l.relation, false FROM {LOCKS}
            AND pg_catalog.pg_partition_root(l.relation::pg_catalog.regclass)::pg_catalog.oid OPERATOR(pg_catalog.=) {root}"
    );
    let members = "SELECT ddp_part.oid, ddp_part.leaves FROM ddp_part";
    family_unless_left(root, &format!("({members} UNION {written}) AS ddp_part (oid, leaves)"))
}

/// What stands for the members of `ddp_part`.
const NUMBER: &str = "pg_catalog.bit_xor(pg_catalog.hashoidextended(ddp_part.oid, 0))";

/// The tables that this backend has locked for more than reading.
const LOCKS: &str = "pg_catalog.pg_lock_status() AS l
            WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
            AND l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.mode OPERATOR(pg_catalog.<>) 'AccessShareLock'";

fn family_unless_left(root: &str, members: &str) -> String {
    let is_written =
        format!("EXISTS (SELECT FROM {LOCKS} AND l.relation OPERATOR(pg_catalog.=) ddp_part.oid)");
    format!(
        "({} SELECT CASE WHEN NOT pg_catalog.bool_or(ddp_part.leaves AND {is_written})
            THEN {NUMBER} FILTER (WHERE NOT ddp_part.leaves) END FROM {members})",
        descendants(root)
    )
}

/// The table and its descendants as `ddp_part`, down to those that are being detached.
fn descendants(root: &str) -> String {
    format!(
        "WITH RECURSIVE ddp_part (oid, leaves) AS (SELECT {root}, false
            UNION SELECT i.inhrelid, i.inhdetachpending FROM pg_catalog.pg_inherits i
            JOIN ddp_part ON i.inhparent OPERATOR(pg_catalog.=) ddp_part.oid AND NOT ddp_part.leaves)"
    )
}
