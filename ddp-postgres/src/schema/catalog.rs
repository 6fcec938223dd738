//! What the catalogs say about tables, read without locking them: a few queries for any number.

use std::collections::{HashMap, HashSet};

use tokio_postgres::{Client, Error, Row};

use super::name::qualified;
use super::number::family_sql;

/// The relations' kinds, whether policies limit what the current role sees, the database's encoding, and
/// before `FROM_RELATIONS` the numbers of their families.
const RELATIONS: &str = "
SELECT w.schema, w.name, c.oid, c.relkind::text, c.relispartition, c.relpersistence = 't',
    pg_catalog.row_security_active(c.oid),
    pg_catalog.current_setting('server_encoding') = 'UTF8', ";

const FROM_RELATIONS: &str = "
FROM unnest($1::text[], $2::text[]) AS w (schema, name)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema::name AND n.nspname::text = w.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name::name
        AND c.relname::text = w.name";

const COLUMNS: &str = "
SELECT a.attrelid, a.attname::text, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
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
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

/// The unique indexes that cover all rows by plain columns: whether each is the primary key,
/// whether it is checked at the end of each statement, and its columns in order.
const UNIQUE_INDEXES: &str = "
SELECT x.indrelid, x.indisprimary, x.indimmediate, ARRAY(
    SELECT a.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (attnum, number)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
    WHERE k.number <= x.indnkeyatts ORDER BY k.number)
FROM pg_catalog.pg_index x
WHERE x.indrelid = ANY ($1) AND x.indisunique AND x.indisvalid AND x.indpred IS NULL
    AND x.indexprs IS NULL";

/// The columns that foreign keys of tables, of their partitions and their children set when a row that
/// they refer to gets another key, or goes.
const CASCADING_COLUMNS: &str = "
WITH RECURSIVE member (root, oid) AS (
    SELECT w.oid, w.oid FROM unnest($1::oid[]) AS w (oid)
    UNION
    SELECT m.root, i.inhrelid FROM pg_catalog.pg_inherits i JOIN member m ON i.inhparent = m.oid
    WHERE NOT i.inhdetachpending
)
SELECT DISTINCT m.root, a.attname::text
FROM member m JOIN pg_catalog.pg_constraint c ON c.conrelid = m.oid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
WHERE c.contype = 'f' AND (c.confupdtype NOT IN ('a', 'r') OR c.confdeltype IN ('n', 'd'))";

/// For each table and all of its descendants: whether it is a child by inheritance, which knows nothing
/// of the others' keys, and the columns of its unique keys that are checked at once, sorted and
/// separated by U+0001. The index of a partition may be deferrable where the table's is not.
const MEMBER_KEYS: &str = "
WITH RECURSIVE member (root, oid) AS (
    SELECT r.oid, r.oid FROM unnest($1::oid[]) AS r (oid)
    UNION
    SELECT m.root, i.inhrelid FROM pg_catalog.pg_inherits i JOIN member m ON i.inhparent = m.oid
    WHERE NOT i.inhdetachpending
)
SELECT m.root, m.oid <> m.root AND NOT c.relispartition, ARRAY(
    SELECT (SELECT string_agg(a.attname::text, pg_catalog.chr(1) ORDER BY a.attname::text COLLATE \"C\")
        FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (attnum, number)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
        WHERE k.number <= x.indnkeyatts)
    FROM pg_catalog.pg_index x
    WHERE x.indrelid = c.oid AND x.indisunique AND x.indimmediate AND x.indisvalid
        AND x.indpred IS NULL AND x.indexprs IS NULL)
FROM member m JOIN pg_catalog.pg_class c ON c.oid = m.oid";

/// All descendants of the tables (their rows are also their rows, but for those that are being detached)
/// and all their ancestors. Temporary tables of other sessions cannot be reached.
const FAMILIES: &str = "
WITH RECURSIVE below (root, oid, is_leaving) AS (
    SELECT i.inhparent, i.inhrelid, i.inhdetachpending
    FROM pg_catalog.pg_inherits i WHERE i.inhparent = ANY ($1)
    UNION
    SELECT b.root, i.inhrelid, b.is_leaving OR i.inhdetachpending
    FROM pg_catalog.pg_inherits i JOIN below b ON i.inhparent = b.oid
), above (root, oid) AS (
    SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = ANY ($1)
    UNION
    SELECT a.root, i.inhparent FROM pg_catalog.pg_inherits i JOIN above a ON i.inhrelid = a.oid
), member (root, oid, is_below, is_leaving) AS (
    SELECT root, oid, true, is_leaving FROM below UNION ALL SELECT root, oid, false, false FROM above
)
SELECT m.root, m.is_below, m.is_leaving, c.relkind::text, c.relpersistence = 't', n.nspname::text, c.relname::text
FROM member m JOIN pg_catalog.pg_class c ON c.oid = m.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY n.nspname::text, c.relname::text";

/// Tables whose rows, or those of their descendants, a subscription applies, with the first of these
/// and the subscription. Not every role may read its name.
const SUBSCRIBED: &str = "
WITH RECURSIVE member (root, oid) AS (
    SELECT w.oid, w.oid FROM unnest($1::oid[]) AS w (oid)
    UNION
    SELECT m.root, i.inhrelid FROM pg_catalog.pg_inherits i JOIN member m ON i.inhparent = m.oid
    WHERE NOT i.inhdetachpending
)
SELECT DISTINCT ON (m.root) m.root, n.nspname::text, c.relname::text,
    CASE WHEN pg_catalog.has_column_privilege('pg_catalog.pg_subscription', 'subname', 'SELECT')
        THEN (SELECT s.subname::text FROM pg_catalog.pg_subscription s WHERE s.oid = r.srsubid) END,
    r.srsubid
FROM member m JOIN pg_catalog.pg_subscription_rel r ON r.srrelid = m.oid
    JOIN pg_catalog.pg_class c ON c.oid = m.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY m.root, n.nspname, c.relname";

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
    /// The number of its family.
    pub(super) family: i64,
}

impl RelationEntry {
    /// Whether it is a table, partitioned or not.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.kind.as_str(), "r" | "p")
    }
}

#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) is_primary: bool,
    pub(super) is_immediate: bool,
    pub(super) columns: Vec<String>,
}

/// The unique keys of a table, or of a partition or child of it.
#[derive(Debug)]
pub(super) struct MemberKeys {
    /// Whether it is a child by inheritance.
    is_child: bool,
    /// Those that are checked at once.
    keys: Vec<String>,
}

impl MemberKeys {
    /// Whether two rows of the table may have this key, at least until the transaction ends.
    pub(super) fn may_repeat(&self, key: &[String]) -> bool {
        let mut names: Vec<&str> = key.iter().map(String::as_str).collect();
        names.sort_unstable();
        self.is_child || !self.keys.contains(&names.join("\u{1}"))
    }
}

/// A table's partitions, other descendants and ancestors, by their quoted names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) below: Vec<String>,
    pub(super) above: Vec<String>,
    /// Partitions that are being detached, but not yet are. Their rows are not the table's any more, and
    /// they cannot be locked until they are detached.
    pub(super) leaving: Vec<String>,
    /// A partition or child that is a foreign table.
    pub(super) foreign: Option<String>,
    /// Whether some session has a temporary child of it, whose rows nobody else sees, although they
    /// are among those that its triggers get.
    pub(super) has_temporary: bool,
    /// A number for the table and all its descendants.
    pub(super) number: i64,
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

/// Tables by their schemas and names.
pub(super) async fn relations(
    client: &Client,
    names: impl Iterator<Item = (&str, &str)>,
) -> Result<HashMap<(String, String), RelationEntry>, Error> {
    let (schemas, tables): (Vec<&str>, Vec<&str>) = names.unzip();
    let sql = format!("{RELATIONS}{}{FROM_RELATIONS}", family_sql("c.oid"));
    let rows = client.query(&sql, &[&schemas, &tables]).await?;
    let relation = |row: &Row| {
        let entry = RelationEntry {
            oid: row.try_get(2)?,
            kind: row.try_get(3)?,
            is_partition: row.try_get(4)?,
            is_temporary: row.try_get(5)?,
            has_row_security: row.try_get(6)?,
            utf8: row.try_get(7)?,
            family: row.try_get(8)?,
        };
        Ok(((row.try_get(0)?, row.try_get(1)?), entry))
    };
    rows.iter().map(relation).collect()
}

/// The relations' columns, in their order.
pub(super) async fn columns(
    client: &Client,
    relations: &[u32],
) -> Result<HashMap<u32, Vec<ColumnEntry>>, Error> {
    let rows = client.query(COLUMNS, &[&relations]).await?;
    grouped(&rows, |row| {
        Ok(ColumnEntry {
            name: row.try_get(1)?,
            type_oid: row.try_get(2)?,
            type_name: row.try_get(3)?,
            not_null: row.try_get(4)?,
            is_virtual: row.try_get(5)?,
            is_deterministic: row.try_get(6)?,
            collation: row.try_get(7)?,
            is_bytewise: row.try_get(8)?,
            lowers_ascii_only: row.try_get(9)?,
        })
    })
}

pub(super) async fn unique_indexes(
    client: &Client,
    relations: &[u32],
) -> Result<HashMap<u32, Vec<IndexEntry>>, Error> {
    let rows = client.query(UNIQUE_INDEXES, &[&relations]).await?;
    grouped(&rows, |row| {
        Ok(IndexEntry {
            is_primary: row.try_get(1)?,
            is_immediate: row.try_get(2)?,
            columns: row.try_get(3)?,
        })
    })
}

pub(super) async fn member_keys(
    client: &Client,
    relations: &[u32],
) -> Result<HashMap<u32, Vec<MemberKeys>>, Error> {
    let rows = client.query(MEMBER_KEYS, &[&relations]).await?;
    grouped(&rows, |row| Ok(MemberKeys { is_child: row.try_get(1)?, keys: row.try_get(2)? }))
}

pub(super) async fn cascading_columns(
    client: &Client,
    relations: &[u32],
) -> Result<HashMap<u32, Vec<String>>, Error> {
    let rows = client.query(CASCADING_COLUMNS, &[&relations]).await?;
    grouped(&rows, |row| row.try_get(1))
}

/// Those that have a family.
pub(super) async fn families(
    client: &Client,
    relations: &[u32],
) -> Result<HashMap<u32, Family>, Error> {
    let mut families: HashMap<u32, Family> = HashMap::new();
    for row in client.query(FAMILIES, &[&relations]).await? {
        let family = families.entry(row.try_get(0)?).or_default();
        let (is_below, is_leaving): (bool, bool) = (row.try_get(1)?, row.try_get(2)?);
        let (kind, is_temporary): (String, bool) = (row.try_get(3)?, row.try_get(4)?);
        let name = qualified(row.try_get(5)?, row.try_get(6)?);
        if is_temporary {
            family.has_temporary |= is_below;
        } else if is_below && kind == "f" {
            // Statements with an older snapshot still reach it while it is being detached.
            family.foreign = Some(name);
        } else if is_leaving {
            family.leaving.push(name);
        } else if is_below {
            family.below.push(name);
        } else {
            family.above.push(name);
        }
    }
    Ok(families)
}

/// Those to which a subscription applies rows: to which of their members, and which subscription.
pub(super) async fn subscribed(
    client: &Client,
    relations: &[u32],
) -> Result<HashMap<u32, (String, String)>, Error> {
    let rows = client.query(SUBSCRIBED, &[&relations]).await?;
    let subscribed = |row: &Row| {
        let (name, number): (Option<String>, u32) = (row.try_get(3)?, row.try_get(4)?);
        let member = qualified(row.try_get(1)?, row.try_get(2)?);
        Ok((row.try_get(0)?, (member, name.unwrap_or_else(|| number.to_string()))))
    };
    rows.iter().map(subscribed).collect()
}

/// Rows by their first column, in their order.
fn grouped<T>(
    rows: &[Row],
    entry: impl Fn(&Row) -> Result<T, Error>,
) -> Result<HashMap<u32, Vec<T>>, Error> {
    let mut groups: HashMap<u32, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(row.try_get(0)?).or_default().push(entry(row)?);
    }
    Ok(groups)
}

/// Those of the columns' collations in which `lower` maps A–Z to a–z. Turkish does not, and no
/// catalog says so.
pub(super) async fn lowering(
    client: &Client,
    columns: impl Iterator<Item = &ColumnEntry>,
) -> Result<HashSet<String>, Error> {
    let names: HashSet<&str> = columns.map(|column| &*column.collation).collect();
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
        columns: impl Iterator<Item = &ColumnEntry>,
    ) -> Result<Self, Error> {
        let oids: HashSet<u32> = columns.map(|column| column.type_oid).collect();
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
        Ok(Self(types.collect::<Result<_, Error>>()?))
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
