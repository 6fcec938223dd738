//! What writers may call.

use tokio_postgres::Client;

use super::Layout;

/// Which of some functions are not for everybody.
const REVOKED: &str = "
SELECT DISTINCT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname = ANY ($1::text[]::name[])
    AND p.prokind IN ('f', 'a') AND NOT pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1";

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
