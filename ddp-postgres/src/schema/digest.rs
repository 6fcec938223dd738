//! Detects changes to tables and their triggers.

use tokio_postgres::Client;

use super::Layout;

/// One text per table. It changes when the name refers to another table, when the table's columns,
/// unique and foreign keys, enums, policies, partitions, children or parents change, or when our functions or
/// triggers do. `xmin` is the transaction that last wrote a catalog row.
const DIGESTS: &str = "
WITH RECURSIVE ddp_wanted AS MATERIALIZED (
    SELECT w.number, w.hash, (
        SELECT c.oid FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = w.schema AND c.relname = w.name) AS root
    FROM unnest($1::text[], $2::text[], $3::text[])
        WITH ORDINALITY AS w (schema, name, hash, number)
), below (number, oid) AS (
    SELECT number, root FROM ddp_wanted WHERE root IS NOT NULL
    UNION
    SELECT b.number, i.inhrelid FROM pg_catalog.pg_inherits i JOIN below b ON i.inhparent = b.oid
), above (number, oid) AS (
    SELECT number, root FROM ddp_wanted WHERE root IS NOT NULL
    UNION
    SELECT a.number, i.inhparent FROM pg_catalog.pg_inherits i JOIN above a ON i.inhrelid = a.oid
), family (number, side, oid) AS (
    SELECT number, 'b', oid FROM below UNION ALL SELECT number, 'a', oid FROM above
)
SELECT pg_catalog.hashtextextended(concat_ws('|',
    (SELECT string_agg(concat_ws(' ', f.side, c.oid, c.relnamespace, c.relname, c.relkind),
            ',' ORDER BY f.side, c.oid)
        FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid WHERE f.number = w.number),
    pg_catalog.row_security_active(w.root),
    (SELECT string_agg(concat_ws(' ', a.attnum, a.xmin), ',' ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = w.root AND a.attnum > 0),
    (SELECT string_agg(concat_ws(' ', x.indexrelid, x.xmin), ',' ORDER BY x.indexrelid)
        FROM pg_catalog.pg_index x WHERE x.indisunique AND x.indrelid IN (
            SELECT f.oid FROM family f WHERE f.number = w.number AND f.side = 'b')),
    (SELECT string_agg(concat_ws(' ', k.oid, k.xmin), ',' ORDER BY k.oid)
        FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid IN (
            SELECT f.oid FROM family f WHERE f.number = w.number AND f.side = 'b')),
    (SELECT string_agg(concat_ws(' ', e.oid, e.xmin), ',' ORDER BY e.oid)
        FROM pg_catalog.pg_enum e WHERE e.enumtypid IN (
            SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = w.root)),
    (SELECT string_agg(concat_ws(' ', p.oid, p.xmin, t.oid, t.xmin, t.tgrelid, t.tgenabled),
            ',' ORDER BY p.oid, t.oid)
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace
            LEFT JOIN pg_catalog.pg_trigger t ON t.tgfoid = p.oid
        WHERE s.nspname = 'ddp' AND right(p.proname::text, 16) = w.hash)
), 0)::text
FROM ddp_wanted w ORDER BY w.number";

/// The tables' digests, in the same order.
pub(crate) async fn digests(
    client: &Client,
    layouts: impl Iterator<Item = &Layout>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let (mut schemas, mut names, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for layout in layouts {
        schemas.push(layout.schema.as_str());
        names.push(layout.table.as_str());
        hashes.push(layout.hash.as_str());
    }
    let rows = client.query(DIGESTS, &[&schemas, &names, &hashes]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
