//! What the server's role may read, and what writers may call.

use tokio_postgres::Client;

use super::name::quoted;
use super::{Error, Layout};
use crate::feed::Feed;

/// Where a role lacks what it needs: the schema's privilege, or those of columns.
/// A table whose columns are all granted one by one is as good as one that is granted as a whole.
const LACKING: &str = "
SELECT w.number, pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
    pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) FILTER (
        WHERE NOT pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')),
    pg_catalog.bool_or(pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')),
    pg_catalog.quote_ident(current_user)
FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[]) AS w (schema, name, attribute, number)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema::name AND n.nspname::text = w.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name::name
        AND c.relname::text = w.name
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = w.attribute::name
        AND a.attname::text = w.attribute AND a.attnum > 0
GROUP BY w.number, n.oid, c.oid
HAVING NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')))
ORDER BY w.number";

/// Which of some functions are not for everybody.
const REVOKED: &str = "
SELECT DISTINCT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname = ANY ($1::text[]::name[])
    AND p.prokind IN ('f', 'a') AND NOT pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1";

/// Which of some functions this role may not execute.
const REFUSED: &str = "
SELECT p.function::text, pg_catalog.quote_ident(current_user)
FROM (SELECT f.name::pg_catalog.regprocedure AS function FROM unnest($1::text[]) AS f (name)) AS p
WHERE NOT pg_catalog.has_function_privilege(p.function, 'EXECUTE') ORDER BY 1";

/// What a server calls itself, besides what reads values: to send, to know what it has read, and to install.
const PG_NOTIFY: &str = "pg_catalog.pg_notify(text,text)";
/// It has more arguments from 17 on.
const PG_LOGICAL_EMIT_MESSAGE: &str = "3577";
const PG_CURRENT_SNAPSHOT: &str = "pg_catalog.pg_current_snapshot()";
const INSTALLS: [&str; 4] = [
    PG_NOTIFY,
    PG_LOGICAL_EMIT_MESSAGE,
    "pg_catalog.pg_try_advisory_xact_lock(bigint)",
    "pg_catalog.pg_advisory_xact_lock(bigint)",
];

/// Refuses a role that may not call what its server has to.
pub(crate) async fn check_calls(client: &Client, feed: Feed, installs: bool) -> Result<(), Error> {
    let sends = match feed {
        Feed::Notify => PG_NOTIFY,
        Feed::Wal => PG_LOGICAL_EMIT_MESSAGE,
    };
    let mut names = vec![sends, PG_CURRENT_SNAPSHOT];
    names.extend(INSTALLS.iter().filter(|name| installs && **name != sends));
    let rows = client.query(REFUSED, &[&names]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let role = row.try_get(1)?;
    let functions: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Err(Error::MayNotExecute {
        role,
        functions: functions.join(", ").replace(',', ", ").replace(",  ", ", "),
    })
}

/// Refuses tables that this role may not read, and says what to grant.
pub(crate) async fn check_readable(client: &Client, layouts: &[&Layout]) -> Result<(), Error> {
    let (mut schemas, mut names) = (Vec::new(), Vec::new());
    let (mut columns, mut numbers) = (Vec::new(), Vec::new());
    for (layout, number) in layouts.iter().zip(0_i64..) {
        for column in &layout.columns {
            schemas.push(layout.schema.as_str());
            names.push(layout.table.as_str());
            columns.push(column.name.as_str());
            numbers.push(number);
        }
    }
    let rows = client.query(LACKING, &[&schemas, &names, &columns, &numbers]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let number: i64 = row.try_get(0)?;
    let layout = usize::try_from(number).ok().and_then(|number| layouts.get(number));
    let Some(layout) = layout else { return Ok(()) };
    let (has_schema, lacking, has_any): (bool, Option<Vec<String>>, Option<bool>) =
        (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let (relation, role): (_, String) = (layout.relation(), row.try_get(4)?);
    let mut grants = Vec::new();
    if !has_schema {
        grants.push(format!("GRANT USAGE ON SCHEMA {} TO {role}", quoted(&layout.schema)));
    }
    if let Some(lacking) = lacking {
        let columns: Vec<String> = lacking.iter().map(|name| quoted(name)).collect();
        let columns = if has_any == Some(true) {
            format!(" ({})", columns.join(", "))
        } else {
            String::new()
        };
        grants.push(format!("GRANT SELECT{columns} ON {relation} TO {role}"));
    }
    let relation = relation.to_owned();
    Err(Error::MayNotRead { relation, role, grants: grants.join("; ") })
}

/// Warns if writers may lack what the triggers call: their changes are then not told.
pub(crate) async fn check_functions(
    client: &Client,
    layouts: &[Layout],
) -> Result<(), tokio_postgres::Error> {
    let definitions: Vec<String> = layouts.iter().map(Layout::definition).collect();
    let mut names: Vec<&str> = definitions.iter().flat_map(|sql| called(sql)).collect();
    names.sort_unstable();
    names.dedup();
    let rows = client.query(REVOKED, &[&names]).await?;
    let functions: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if !functions.is_empty() {
        let functions = functions.join(", ");
        tracing::warn!(
            remedy = format!("GRANT EXECUTE ON FUNCTION {functions} TO PUBLIC"),
            "writers that may not execute some functions of PostgreSQL change tables without telling \
             their rows, or anything"
        );
    }
    Ok(())
}

/// The names of PostgreSQL's functions that are called in a text of ours.
fn called(sql: &str) -> impl Iterator<Item = &str> {
    sql.split("pg_catalog.").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        rest[end..].starts_with('(').then_some(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_in_a_text() {
        let sql =
            "SELECT pg_catalog.max(a::pg_catalog.text), pg_catalog.int8eq(pg_catalog.count(*), 1)";
        assert_eq!(called(sql).collect::<Vec<_>>(), ["max", "int8eq", "count"]);
    }
}
