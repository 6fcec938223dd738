//! Has our table of users follow another one.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use super::sql::{literal, quote};
use super::users_table::UsersTable;
use super::version1;
use crate::accounts::error::AccountsError;
use crate::accounts::tables::AccountsTables;
use crate::error::Error;
use crate::schema::{self, Patience};

/// The versions, from 1. What has been released never changes.
pub(in crate::accounts) const VERSIONS: &[fn() -> Vec<String>] = &[version1::statements];

/// Whether a schema has accounts, and whether they follow a table.
const KIND: &str = "SELECT
    EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'users'),
    EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'mapping')
FROM pg_catalog.pg_namespace n WHERE n.nspname = $1";

/// What was made, how many triggers of it work, and whether all columns are there. The server's role may
/// lack USAGE on the other table's schema.
const FOLLOWED: &str = "SELECT
    (SELECT pg_catalog.min(sql) FROM accounts.mapping),
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
        JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
        WHERE n.nspname = $1 AND p.proname = 'follow_users' AND t.tgenabled <> 'D'
            AND s.nspname = $2 AND c.relname = $3),
    NOT EXISTS (SELECT FROM pg_catalog.unnest($4::text[]) AS w (name) WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
        WHERE s.nspname = $2 AND c.relname = $3 AND a.attname = w.name AND NOT a.attisdropped))";

/// The triggers on other tables that were followed before.
const STRAYS: &str =
    "SELECT pg_catalog.format('DROP TRIGGER %I ON %I.%I', t.tgname, s.nspname, c.relname)
FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
    JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
WHERE n.nspname = $1 AND p.proname = 'follow_users' AND NOT (s.nspname = $2 AND c.relname = $3)
ORDER BY s.nspname, c.relname, t.tgname";

/// Whether this role may write by the function that knows the columns.
const MAY_WRITE: &str =
    "SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE'))
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = $1 AND p.proname = 'write_user'";

/// One each for INSERT, UPDATE, DELETE and TRUNCATE.
const TRIGGERS: i64 = 4;

/// Whether the accounts that are there are of the kind that is wanted.
pub(in crate::accounts) async fn check_kind(
    client: &Client,
    tables: &AccountsTables,
) -> Result<(), Error> {
    let Some(row) = client.query_opt(KIND, &[&tables.schema]).await? else { return Ok(()) };
    let (is_there, is_mapped): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if is_there && is_mapped != tables.existing.is_some() {
        return Err(AccountsError::OtherKind { schema: tables.schema.clone(), is_mapped }.into());
    }
    Ok(())
}

/// Sees to it that the users follow this table, as its columns are named.
pub(in crate::accounts) async fn follow(
    client: &mut Client,
    tables: &AccountsTables,
    users: &UsersTable,
    install: bool,
) -> Result<(), Error> {
    if is_followed(client, tables, users).await? {
        return Ok(());
    }
    let (schema, table) = (tables.schema.clone(), users.quoted());
    if !install {
        return Err(AccountsError::NotFollowing { schema, table }.into());
    }
    for number in 1..=schema::ATTEMPTS {
        let transaction = schema::begin_turn(client, Patience::Long).await?;
        // Another server may have been faster.
        if is_followed(&transaction, tables, users).await? {
            return Ok(transaction.commit().await?);
        }
        let Err(error) = transaction.batch_execute(&script(tables, users)).await else {
            transaction.commit().await?;
            tracing::info!(schema, table, "the accounts follow this table of users");
            return Ok(());
        };
        if !schema::is_busy(&error) {
            return Err(refusal((schema, table), error));
        }
        drop(transaction);
        if number < schema::ATTEMPTS {
            tokio::time::sleep(schema::PAUSE).await;
        }
    }
    Err(schema::Error::Busy { relation: table }.into())
}

/// For what is not there, or may not be done; all else passes.
fn refusal((schema, table): (String, String), error: tokio_postgres::Error) -> Error {
    let is_refused = error.code().is_some_and(|code| {
        code.code().starts_with("42") || *code == SqlState::INVALID_SCHEMA_NAME
    });
    if is_refused {
        return AccountsError::MayNotFollow { schema, table, error }.into();
    }
    error.into()
}

/// Whether the server's role may write to the other table, by our function.
pub(in crate::accounts) async fn may_write(
    client: &Client,
    tables: &AccountsTables,
) -> Result<bool, Error> {
    let row = client.query_one(MAY_WRITE, &[&tables.schema]).await?;
    Ok(row.try_get::<_, Option<bool>>(0)? == Some(true))
}

async fn is_followed(
    client: &impl GenericClient,
    tables: &AccountsTables,
    users: &UsersTable,
) -> Result<bool, Error> {
    let sql = tables.sql(FOLLOWED);
    let columns = users.columns();
    let row =
        client.query_one(&*sql, &[&tables.schema, &users.schema, &users.table, &columns]).await?;
    let (made, triggers): (Option<String>, i64) = (row.try_get(0)?, row.try_get(1)?);
    let has_columns: bool = row.try_get(2)?;
    Ok(made.as_deref() == Some(&*mapping(tables, users)) && triggers == TRIGGERS && has_columns)
}

/// All that is made for a table.
fn mapping(tables: &AccountsTables, users: &UsersTable) -> String {
    let statements = users.statements(&tables.schema);
    let statements = statements.iter().map(|sql| format!("{};\n", tables.sql(sql)));
    statements.collect()
}

/// The SQL that makes the users follow this table. Nobody writes there meanwhile, and nobody waits long for
/// us to begin. The other table is locked before ours, as its writers do.
pub(in crate::accounts) fn script(tables: &AccountsTables, users: &UsersTable) -> String {
    let (mapping, table) = (mapping(tables, users), users.quoted());
    let kept = mapping.replace('\'', "''");
    let schema = &tables.schema;
    let columns: Vec<_> = users.columns().into_iter().map(quote).collect();
    let columns = columns.join(", ");
    let strays = STRAYS
        .replace("$1", &literal(schema))
        .replace("$2", &literal(&users.schema))
        .replace("$3", &literal(&users.table));
    format!(
        "SET LOCAL lock_timeout = '{timeout}';\n\
         LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;\nSELECT {columns} FROM {table} LIMIT 0;\n\
         {mapping}DO $strays$ DECLARE ddp_sql text; BEGIN\nFOR ddp_sql IN {strays} LOOP\n\
         EXECUTE ddp_sql; END LOOP;\nEND $strays$;\nDELETE FROM \"{schema}\".mapping;\n\
         INSERT INTO \"{schema}\".mapping (sql) VALUES ('{kept}');\nSELECT \"{schema}\".follow_all();\n",
        timeout = schema::TABLE_LOCK_TIMEOUT,
    )
}
