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
    COALESCE(l.collisdeterministic, true), COALESCE(l.sql_name, ''),
    COALESCE(l.provider = 'b' OR l.provider = 'c' AND l.collate IN ('C', 'POSIX'), false),
    COALESCE(l.provider = 'b' AND l.locale = 'C'
        OR l.provider = 'c' AND l.ctype IN ('C', 'POSIX'), false)
FROM pg_catalog.pg_attribute a LEFT JOIN LATERAL (
    SELECT x.collisdeterministic,
        pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(x.collname) AS sql_name,
        CASE WHEN is_default THEN COALESCE(d.row->>'datlocprovider', 'c')
            ELSE x.collprovider::text END AS provider,
        CASE WHEN is_default THEN d.row->>'datcollate' ELSE x.collcollate END AS collate,
        CASE WHEN is_default THEN d.row->>'datctype' ELSE x.collctype END AS ctype,
        CASE WHEN is_default THEN d.row->>'datlocale'
            ELSE pg_catalog.to_jsonb(x)->>'colllocale' END AS locale
    FROM pg_catalog.pg_collation x JOIN pg_catalog.pg_namespace n ON n.oid = x.collnamespace,
        LATERAL (SELECT pg_catalog.to_jsonb(b) AS row FROM pg_catalog.pg_database b
            WHERE b.datname = pg_catalog.current_database()) d,
        LATERAL (SELECT x.collprovider = 'd' AS is_default) e
    WHERE x.oid = a.attcollation
) l ON true
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
    /// The collation as SQL names it; empty if there is none.
    pub(super) collation: String,
    /// Whether text is ordered by its bytes.
    pub(super) is_bytewise: bool,
    /// Whether only A to Z are changed by `lower`.
    pub(super) lowers_ascii_only: bool,
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
                collation: row.try_get(7)?,
                is_bytewise: row.try_get(8)?,
                lowers_ascii_only: row.try_get(9)?,
            })
        })
        .collect()
}

/// Those of the columns' collations whose `lower` makes A to Z into a to z. In Turkish it does not,
/// and no catalog says so.
pub(super) async fn lowering(
    client: &Client,
    columns: &[ColumnEntry],
) -> Result<HashSet<String>, tokio_postgres::Error> {
    let names: HashSet<&str> = columns.iter().map(|column| &*column.collation).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(HashSet::new());
    }
    let lower = |name: &&str| format!("pg_catalog.lower($1::text COLLATE {name})");
    let sql = format!("SELECT {}", names.iter().map(lower).collect::<Vec<_>>().join(", "));
    let alphabet: String = ('A'..='Z').collect();
    let row = client.query_one(&sql, &[&alphabet]).await?;
    let mut lowering = HashSet::new();
    for (index, name) in names.into_iter().enumerate() {
        if row.try_get::<_, String>(index)? == alphabet.to_ascii_lowercase() {
            lowering.insert(name.to_owned());
        }
    }
    Ok(lowering)
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

    /// A type itself, be it a domain.
    pub(super) fn get(&self, oid: u32) -> Option<&TypeEntry> {
        self.0.get(&oid)
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
