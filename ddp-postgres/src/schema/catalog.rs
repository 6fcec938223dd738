//! What the catalogs say about a table, read without locking it.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

/// The kind of relation, its partitions and the database's encoding.
const RELATION: &str = "
SELECT c.oid, c.relkind::text, c.relispartition,
    pg_catalog.current_setting('server_encoding') = 'UTF8'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

/// The columns, and for each whether it is the primary key by itself, and whether it is a key
/// that another index keeps unique at the end of each statement.
const COLUMNS: &str = "
SELECT a.attname::text, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
    COALESCE(i.is_primary, false), COALESCE(i.is_unique, false),
    COALESCE(l.collisdeterministic, true)
FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
LEFT JOIN LATERAL (
    SELECT bool_or(x.indisprimary) AS is_primary, bool_or(x.indimmediate) AS is_unique
    FROM pg_catalog.pg_index x
    WHERE x.indrelid = a.attrelid AND x.indisunique AND x.indisvalid AND x.indnkeyatts = 1
        AND x.indkey[0] = a.attnum AND x.indpred IS NULL
) i ON true
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

/// Every type that the given ones lead to, by each way that leads from a type to another.
const TYPES: &str = "
WITH RECURSIVE reached (oid) AS (
    SELECT unnest($1::oid[])
    UNION
    SELECT next.oid FROM reached JOIN pg_catalog.pg_type t ON t.oid = reached.oid, LATERAL (
        SELECT t.typbasetype AS oid WHERE t.typbasetype <> 0
        UNION ALL SELECT t.typelem WHERE t.typelem <> 0
        UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r
            WHERE r.rngtypid = t.oid OR r.rngmultitypid = t.oid
        UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0
                AND NOT a.attisdropped
    ) next
)
SELECT t.oid, t.typname::text, n.nspname = 'pg_catalog', t.typtype::text, t.typbasetype,
    CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::regproc
        THEN t.typelem ELSE 0 END,
    COALESCE((SELECT r.rngsubtype FROM pg_catalog.pg_range r
        WHERE r.rngtypid = t.oid OR r.rngmultitypid = t.oid), 0::oid),
    ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0
            AND NOT a.attisdropped),
    t.typlen::int4,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname)
FROM reached JOIN pg_catalog.pg_type t ON t.oid = reached.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace";

/// A relation of any kind.
#[derive(Debug)]
pub(super) struct RelationEntry {
    pub(super) oid: u32,
    /// PostgreSQL's letter: `r` is a table, `p` a partitioned one.
    pub(super) kind: String,
    pub(super) is_partition: bool,
    pub(super) utf8: bool,
}

#[derive(Debug)]
pub(super) struct ColumnEntry {
    pub(super) name: String,
    pub(super) type_oid: u32,
    pub(super) type_name: String,
    pub(super) not_null: bool,
    pub(super) is_primary: bool,
    pub(super) is_unique: bool,
    /// Whether only equal texts are equal by the column's collation.
    pub(super) is_deterministic: bool,
}

/// A data type. Oids of other types are 0 where it has none.
#[derive(Clone, Debug)]
pub(super) struct TypeEntry {
    pub(super) name: String,
    pub(super) is_built_in: bool,
    /// PostgreSQL's letter: `d` is a domain, `e` an enum, `c` a composite, `r` and `m` ranges.
    pub(super) kind: String,
    pub(super) base: u32,
    pub(super) element: u32,
    pub(super) range_of: u32,
    pub(super) attributes: Vec<u32>,
    /// Bytes, negative if it varies.
    pub(super) length: i32,
    /// Its name for a cast that keeps every value as it is: with its schema, without a length.
    pub(super) sql_name: String,
}

pub(super) async fn relation(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Option<RelationEntry>, tokio_postgres::Error> {
    let row = client.query_opt(RELATION, &[&schema, &table]).await?;
    row.map(|row| {
        Ok(RelationEntry {
            oid: row.try_get(0)?,
            kind: row.try_get(1)?,
            is_partition: row.try_get(2)?,
            utf8: row.try_get(3)?,
        })
    })
    .transpose()
}

pub(super) async fn columns(
    client: &Client,
    relation: u32,
) -> Result<Vec<ColumnEntry>, tokio_postgres::Error> {
    let rows = client.query(COLUMNS, &[&relation]).await?;
    rows.iter()
        .map(|row| {
            Ok(ColumnEntry {
                name: row.try_get(0)?,
                type_oid: row.try_get(1)?,
                type_name: row.try_get(2)?,
                not_null: row.try_get(3)?,
                is_primary: row.try_get(4)?,
                is_unique: row.try_get(5)?,
                is_deterministic: row.try_get(6)?,
            })
        })
        .collect()
}

/// Types by their oids.
#[derive(Debug, Default)]
pub(super) struct Types(HashMap<u32, TypeEntry>);

impl Types {
    pub(super) async fn of(
        client: &Client,
        columns: &[ColumnEntry],
    ) -> Result<Self, tokio_postgres::Error> {
        let oids: HashSet<u32> = columns.iter().map(|column| column.type_oid).collect();
        let oids: Vec<u32> = oids.into_iter().collect();
        let rows = client.query(TYPES, &[&oids]).await?;
        let types = rows.iter().map(|row| {
            let entry = TypeEntry {
                name: row.try_get(1)?,
                is_built_in: row.try_get(2)?,
                kind: row.try_get(3)?,
                base: row.try_get(4)?,
                element: row.try_get(5)?,
                range_of: row.try_get(6)?,
                attributes: row.try_get(7)?,
                length: row.try_get(8)?,
                sql_name: row.try_get(9)?,
            };
            Ok((row.try_get(0)?, entry))
        });
        Ok(Self(types.collect::<Result<_, tokio_postgres::Error>>()?))
    }

    /// The type that a domain is based on, through all domains; any other type itself.
    pub(super) fn resolve(&self, oid: u32) -> Option<&TypeEntry> {
        let mut entry = self.0.get(&oid)?;
        // A domain's base exists before the domain does, so this comes to an end.
        while entry.kind == "d" {
            entry = self.0.get(&entry.base)?;
        }
        Some(entry)
    }
}
