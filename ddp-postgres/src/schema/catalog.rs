//! What the catalogs say about a table, read without locking it.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::name::qualified;

/// The relation's kind, whether policies limit what the current role sees, and the database's
/// encoding.
const RELATION: &str = "
SELECT c.oid, c.relkind::text, c.relispartition, c.relpersistence = 't',
    pg_catalog.row_security_active(c.oid),
    pg_catalog.current_setting('server_encoding') = 'UTF8'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

const COLUMNS: &str = "
SELECT a.attname::text, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.attgenerated = 'v', COALESCE(l.collisdeterministic, true), COALESCE(l.sql_name, ''),
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
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

/// The unique indexes that cover all rows by plain columns: whether each is the primary key,
/// whether it is checked at the end of each statement, and its columns in order.
const UNIQUE_INDEXES: &str = "
SELECT x.indisprimary, x.indimmediate, ARRAY(
    SELECT a.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (attnum, number)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
    WHERE k.number <= x.indnkeyatts ORDER BY k.number)
FROM pg_catalog.pg_index x
WHERE x.indrelid = $1 AND x.indisunique AND x.indisvalid AND x.indpred IS NULL
    AND x.indexprs IS NULL";

/// The columns that foreign keys of a table, its partitions and its children set when a row that they
/// refer to gets another key, or goes.
const CASCADING_COLUMNS: &str = "
WITH RECURSIVE member (oid) AS (
    SELECT $1::oid
    UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN member ON i.inhparent = member.oid
)
SELECT DISTINCT a.attname::text
FROM member JOIN pg_catalog.pg_constraint c ON c.conrelid = member.oid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
WHERE c.contype = 'f' AND (c.confupdtype NOT IN ('a', 'r') OR c.confdeltype IN ('n', 'd'))";

/// Whether two rows of a table may have the same key, at least until the transaction ends: a child by
/// inheritance knows nothing of the others' keys, and the index of a partition may be deferrable.
const SHARES_KEYS: &str = "
WITH RECURSIVE member (oid) AS (
    SELECT $1::oid
    UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN member ON i.inhparent = member.oid
)
SELECT EXISTS (
    SELECT FROM member JOIN pg_catalog.pg_class c ON c.oid = member.oid
    WHERE (member.oid <> $1 AND NOT c.relispartition) OR NOT EXISTS (
        SELECT FROM pg_catalog.pg_index x
        WHERE x.indrelid = c.oid AND x.indisunique AND x.indimmediate AND x.indisvalid
            AND x.indpred IS NULL AND x.indexprs IS NULL AND x.indnkeyatts = cardinality($2::text[])
            AND NOT EXISTS (
                SELECT FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (attnum, number)
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                WHERE k.number <= x.indnkeyatts AND a.attname <> ALL ($2))))";

/// All descendants of a table (their rows are also its rows) and all its ancestors. Temporary
/// tables of other sessions cannot be reached.
const FAMILY: &str = "
WITH RECURSIVE below (oid) AS (
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = $1
    UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN below ON i.inhparent = below.oid
), above (oid) AS (
    SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = $1
    UNION
    SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN above ON i.inhrelid = above.oid
), member (oid, is_below) AS (SELECT oid, true FROM below UNION ALL SELECT oid, false FROM above)
SELECT member.is_below, c.relkind::text, n.nspname::text, c.relname::text
FROM member JOIN pg_catalog.pg_class c ON c.oid = member.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't'
ORDER BY 3, 4";

/// Every type reachable from the given ones.
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
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
    EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castsource = t.oid
        AND c.casttarget = 'pg_catalog.json'::regtype AND c.castmethod = 'f')
        AND n.nspname <> 'pg_catalog',
    t.typdelim::text
FROM reached JOIN pg_catalog.pg_type t ON t.oid = reached.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace";

/// A relation of any kind.
#[derive(Debug)]
pub(super) struct RelationEntry {
    pub(super) oid: u32,
    /// PostgreSQL's letter: `r` is a table, `p` a partitioned one.
    pub(super) kind: String,
    pub(super) is_partition: bool,
    pub(super) is_temporary: bool,
    /// Whether policies may hide rows from the current role.
    pub(super) has_row_security: bool,
    pub(super) utf8: bool,
}

#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) is_primary: bool,
    pub(super) is_immediate: bool,
    pub(super) columns: Vec<String>,
}

/// A table's partitions, other descendants and ancestors, by their quoted names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) below: Vec<String>,
    pub(super) above: Vec<String>,
    /// A partition or child that is a foreign table.
    pub(super) foreign: Option<String>,
}

#[derive(Debug)]
pub(super) struct ColumnEntry {
    pub(super) name: String,
    pub(super) type_oid: u32,
    pub(super) type_name: String,
    pub(super) not_null: bool,
    /// A virtual generated column: computed on read, so triggers never see it.
    pub(super) is_virtual: bool,
    /// Whether the column's collation treats only identical texts as equal.
    pub(super) is_deterministic: bool,
    /// The collation's name in SQL; empty if there is none.
    pub(super) collation: String,
    /// Whether text is sorted bytewise.
    pub(super) is_bytewise: bool,
    /// Whether `lower` changes only A to Z.
    pub(super) lowers_ascii_only: bool,
}

/// A data type. Related oids that it lacks are 0.
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
    /// In bytes; negative if it varies.
    pub(super) length: i32,
    /// Its name in a cast that changes no value: with its schema, without a length.
    pub(super) sql_name: String,
    /// Whether `to_json` calls a function that casts it to json.
    pub(super) has_json_cast: bool,
    /// What separates its values in the text of an array.
    pub(super) delimiter: String,
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
            is_temporary: row.try_get(3)?,
            has_row_security: row.try_get(4)?,
            utf8: row.try_get(5)?,
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
                is_virtual: row.try_get(4)?,
                is_deterministic: row.try_get(5)?,
                collation: row.try_get(6)?,
                is_bytewise: row.try_get(7)?,
                lowers_ascii_only: row.try_get(8)?,
            })
        })
        .collect()
}

pub(super) async fn unique_indexes(
    client: &Client,
    relation: u32,
) -> Result<Vec<IndexEntry>, tokio_postgres::Error> {
    let rows = client.query(UNIQUE_INDEXES, &[&relation]).await?;
    let index = |row: &tokio_postgres::Row| {
        Ok(IndexEntry {
            is_primary: row.try_get(0)?,
            is_immediate: row.try_get(1)?,
            columns: row.try_get(2)?,
        })
    };
    rows.iter().map(index).collect()
}

pub(super) async fn shares_keys(
    client: &Client,
    relation: u32,
    key: &[String],
) -> Result<bool, tokio_postgres::Error> {
    client.query_one(SHARES_KEYS, &[&relation, &key]).await?.try_get(0)
}

pub(super) async fn cascading_columns(
    client: &Client,
    relation: u32,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client.query(CASCADING_COLUMNS, &[&relation]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

pub(super) async fn family(
    client: &Client,
    relation: u32,
) -> Result<Family, tokio_postgres::Error> {
    let mut family = Family::default();
    for row in client.query(FAMILY, &[&relation]).await? {
        let (is_below, kind): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
        let name = qualified(row.try_get(2)?, row.try_get(3)?);
        if is_below && kind == "f" {
            family.foreign = Some(name);
        } else if is_below {
            family.below.push(name);
        } else {
            family.above.push(name);
        }
    }
    Ok(family)
}

/// Those of the columns' collations in which `lower` maps A–Z to a–z. Turkish does not, and no
/// catalog says so.
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
                has_json_cast: row.try_get(10)?,
                delimiter: row.try_get(11)?,
            };
            Ok((row.try_get(0)?, entry))
        });
        Ok(Self(types.collect::<Result<_, tokio_postgres::Error>>()?))
    }

    /// The type itself, even if it is a domain.
    pub(super) fn get(&self, oid: u32) -> Option<&TypeEntry> {
        self.0.get(&oid)
    }

    /// A domain's base type, through any number of domains; any other type itself.
    pub(super) fn resolve(&self, oid: u32) -> Option<&TypeEntry> {
        let mut entry = self.0.get(&oid)?;
        // A domain's base exists before the domain, so this ends.
        while entry.kind == "d" {
            entry = self.0.get(&entry.base)?;
        }
        Some(entry)
    }
}
