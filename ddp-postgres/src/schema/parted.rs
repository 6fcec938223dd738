//! How tables are partitioned.

use std::collections::HashMap;

use tokio_postgres::{Client, Error};

use super::name::{qualified, quoted};

/// The partitioned tables among the tables and their descendants, and by which columns they are
/// partitioned. What has a unique key is not partitioned by expressions.
const PARTED: &str = "
WITH RECURSIVE member (root, oid) AS (
    SELECT w.oid, w.oid FROM unnest($1::oid[]) AS w (oid)
    UNION
    SELECT m.root, i.inhrelid FROM pg_catalog.pg_inherits i JOIN member m ON i.inhparent = m.oid
    WHERE NOT i.inhdetachpending
)
SELECT m.root, n.nspname::text, c.relname::text, a.attname::text
FROM member m JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = m.oid
    JOIN pg_catalog.pg_class c ON c.oid = m.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = m.oid AND a.attnum = ANY (p.partattrs::int2[])
ORDER BY m.root, a.attname::text COLLATE \"C\"";

/// How a table is partitioned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parted {
    /// The quoted names of what is partitioned: the table, and partitions of it.
    pub(super) relations: Vec<String>,
    /// The quoted names of the columns, each once.
    pub(super) columns: Vec<String>,
}

/// Those that are partitioned.
pub(super) async fn parted(
    client: &Client,
    relations: &[u32],
) -> Result<HashMap<u32, Parted>, Error> {
    let mut found: HashMap<u32, Parted> = HashMap::new();
    for row in client.query(PARTED, &[&relations]).await? {
        let parted = found.entry(row.try_get(0)?).or_default();
        let relation = qualified(row.try_get(1)?, row.try_get(2)?);
        let column = quoted(row.try_get(3)?);
        if !parted.relations.contains(&relation) {
            parted.relations.push(relation);
        }
        if parted.columns.last() != Some(&column) {
            parted.columns.push(column);
        }
    }
    Ok(found)
}
