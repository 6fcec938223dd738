//! Detects changes to tables, to what their documents depend on, and to their triggers.

use tokio_postgres::Client;

use super::Layout;
use super::sql::Capture;

/// One text per table, which changes when the table does, or what its documents depend on. `xmin` is
/// the transaction that last wrote a catalog row.
///
/// The catalogs look as before if a table of the family was made and dropped between two looks. Messages
/// and reads tell of that themselves. The counters of `pg_inherits` tell of children as well, late as they
/// are, whatever version installed the triggers; they are of the whole database, so that others do without.
///
/// Everything is found by an index, or by one pass for all tables. Types that come with PostgreSQL
/// do not change; the first oid of others is 16384.
const DIGESTS: &str = "
WITH RECURSIVE ddp_wanted AS MATERIALIZED (
    SELECT w.number, c.oid AS root, n.oid AS namespace,
        c.relkind <> 'p' AND c.relhassubclass AS has_child,
        pg_catalog.row_security_active(c.oid) AS has_policies
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (schema, name, number)
        LEFT JOIN pg_catalog.pg_namespace n
            ON n.nspname = w.schema::name AND n.nspname::text = w.schema
        LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name::name
            AND c.relname::text = w.name
), below (number, oid) AS (
    SELECT number, root FROM ddp_wanted WHERE root IS NOT NULL
    UNION
    SELECT b.number, i.inhrelid FROM pg_catalog.pg_inherits i JOIN below b ON i.inhparent = b.oid
    WHERE NOT i.inhdetachpending
), above (number, oid) AS (
    SELECT w.number, i.inhparent FROM pg_catalog.pg_inherits i JOIN ddp_wanted w ON i.inhrelid = w.root
    UNION
    SELECT a.number, i.inhparent FROM pg_catalog.pg_inherits i JOIN above a ON i.inhrelid = a.oid
), family (number, side, oid) AS (
    SELECT number, 'below', oid FROM below UNION ALL SELECT number, 'above', oid FROM above
), reached (number, oid) AS (
    SELECT w.number, a.atttypid
    FROM ddp_wanted w JOIN pg_catalog.pg_attribute a ON a.attrelid = w.root
    WHERE a.attnum > 0 AND a.atttypid >= 16384
    UNION
    SELECT r.number, next.oid FROM reached r JOIN pg_catalog.pg_type t ON t.oid = r.oid, LATERAL (
        SELECT t.typbasetype AS oid
        UNION ALL SELECT t.typelem
        UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g
            WHERE g.rngtypid = t.oid OR g.rngmultitypid = t.oid
        UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0
    ) next WHERE next.oid >= 16384
), held (oid) AS (
    SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
    UNION
    SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN held h ON m.member = h.oid
), ours (number, oid, version) AS (
    SELECT f.number, p.oid, p.xmin FROM unnest($3::int8[], $4::text[]) AS f (number, name)
        JOIN pg_catalog.pg_proc p ON p.proname = f.name::name AND p.proname::text = f.name
            AND p.pronamespace = pg_catalog.to_regnamespace('ddp')
), part (number, text) AS (
    SELECT w.number, concat_ws(' ', 'table', w.has_policies,
        pg_catalog.has_schema_privilege(w.namespace, 'USAGE'),
        CASE WHEN pg_catalog.has_table_privilege(w.root, 'SELECT') THEN 'all' ELSE (
            SELECT string_agg(a.attnum::text, ' ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = w.root AND a.attnum > 0
                AND pg_catalog.has_column_privilege(w.root, a.attnum, 'SELECT')) END,
        CASE WHEN w.has_child THEN
            pg_catalog.pg_stat_get_tuples_inserted('pg_catalog.pg_inherits'::regclass)
            + pg_catalog.pg_stat_get_tuples_deleted('pg_catalog.pg_inherits'::regclass) END)
    FROM ddp_wanted w
    UNION ALL
    SELECT f.number,
        concat_ws(' ', f.side, c.oid, c.relnamespace, c.relname, c.relkind, c.relhassubclass)
    FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid
    UNION ALL
    SELECT b.number, concat_ws(' ', 'inherits', i.inhrelid, i.inhparent, i.xmin)
    FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
    UNION ALL
    SELECT w.number, concat_ws(' ', 'column', a.attnum, a.xmin, l.oid, l.xmin, n.nspname)
    FROM ddp_wanted w JOIN pg_catalog.pg_attribute a ON a.attrelid = w.root AND a.attnum > 0
        LEFT JOIN (pg_catalog.pg_collation l
                JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace)
            ON l.oid = a.attcollation
    UNION ALL
    SELECT b.number, concat_ws(' ', 'index', x.indexrelid, x.xmin)
    FROM below b JOIN pg_catalog.pg_index x ON x.indrelid = b.oid AND x.indisunique
    UNION ALL
    SELECT b.number, concat_ws(' ', 'constraint', k.oid, k.xmin)
    FROM below b JOIN pg_catalog.pg_constraint k ON k.conrelid = b.oid AND k.contype = 'f'
    UNION ALL
    SELECT r.number, concat_ws(' ', 'type', t.oid, t.xmin, n.nspname)
    FROM reached r JOIN pg_catalog.pg_type t ON t.oid = r.oid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    UNION ALL
    SELECT r.number, concat_ws(' ', 'label', e.oid, e.xmin)
    FROM reached r JOIN pg_catalog.pg_enum e ON e.enumtypid = r.oid
    UNION ALL
    SELECT r.number, concat_ws(' ', 'attribute', a.attrelid, a.attnum, a.xmin)
    FROM reached r JOIN pg_catalog.pg_type t ON t.oid = r.oid AND t.typrelid <> 0
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
    UNION ALL
    SELECT r.number, concat_ws(' ', 'cast', k.oid, k.xmin)
    FROM reached r JOIN pg_catalog.pg_cast k
        ON k.castsource = r.oid AND k.casttarget = 'pg_catalog.json'::regtype
    UNION ALL
    SELECT w.number, concat_ws(' ', 'policy', y.oid, y.xmin, (
        SELECT string_agg(concat_ws(' ', p.oid, p.xmin), ' ' ORDER BY p.oid)
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = y.oid
            AND d.refclassid = 'pg_catalog.pg_proc'::regclass))
    FROM ddp_wanted w JOIN pg_catalog.pg_policy y ON y.polrelid = w.root AND w.has_policies
    UNION ALL
    SELECT w.number, concat_ws(' ', 'role', h.oid, o.rolname, o.rolinherit, m.xmin)
    FROM ddp_wanted w CROSS JOIN held h JOIN pg_catalog.pg_roles o ON o.oid = h.oid
        LEFT JOIN pg_catalog.pg_auth_members m ON m.member = h.oid
    WHERE w.has_policies
    UNION ALL
    SELECT o.number, concat_ws(' ', 'function', o.oid, o.version) FROM ours o
    UNION ALL
    SELECT b.number, concat_ws(' ', 'subscribed', s.srsubid, s.srrelid)
    FROM below b JOIN pg_catalog.pg_subscription_rel s ON s.srrelid = b.oid
    UNION ALL
    SELECT f.number, concat_ws(' ', 'trigger', t.oid, t.xmin, t.tgrelid)
    FROM family f JOIN pg_catalog.pg_trigger t ON t.tgrelid = f.oid
        JOIN ours o ON o.number = f.number AND o.oid = t.tgfoid
)
SELECT concat_ws(' ', count(p.text), sum(pg_catalog.hashtextextended(p.text, 0)))
FROM ddp_wanted w LEFT JOIN part p ON p.number = w.number
GROUP BY w.number ORDER BY w.number";

/// The tables' digests, in the same order.
pub(crate) async fn digests(
    client: &Client,
    layouts: impl Iterator<Item = &Layout>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let (mut schemas, mut names) = (Vec::new(), Vec::new());
    let (mut numbers, mut functions) = (Vec::new(), Vec::new());
    for (layout, number) in layouts.zip(1_i64..) {
        schemas.push(layout.schema.as_str());
        names.push(layout.table.as_str());
        for capture in Capture::ALL {
            numbers.push(number);
            functions.push(layout.function_name(capture));
        }
    }
    let rows = client.query(DIGESTS, &[&schemas, &names, &numbers, &functions]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
