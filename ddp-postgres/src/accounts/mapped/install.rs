//! Has our table of users follow another one.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

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

/// What was made, and how many triggers of it work.
const FOLLOWED: &str = "SELECT
    (SELECT pg_catalog.min(sql) FROM accounts.mapping),
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = $1 AND p.proname = 'follow_users' AND t.tgenabled <> 'D'
            AND t.tgrelid = pg_catalog.to_regclass($2))";

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
    let transaction = schema::begin_turn(client, Patience::Long).await?;
    // Another server may have been faster.
    if !is_followed(&transaction, tables, users).await? {
        if let Err(error) = transaction.batch_execute(&script(tables, users)).await {
            // What is not there, or may not be done; all else passes.
            let is_refused = error.code().is_some_and(|code| {
                code.code().starts_with("42") || *code == SqlState::INVALID_SCHEMA_NAME
            });
            if is_refused {
                return Err(AccountsError::MayNotFollow { schema, table, error }.into());
            }
            return Err(error.into());
        }
        tracing::info!(schema, table, "the accounts follow this table of users");
    }
    transaction.commit().await?;
    Ok(())
}

async fn is_followed(
    client: &impl GenericClient,
    tables: &AccountsTables,
    users: &UsersTable,
) -> Result<bool, Error> {
    let sql = tables.sql(FOLLOWED);
    let row = client.query_one(&*sql, &[&tables.schema, &users.quoted()]).await?;
    let (made, triggers): (Option<String>, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(made.as_deref() == Some(&*mapping(tables, users)) && triggers == TRIGGERS)
}

/// All that is made for a table.
fn mapping(tables: &AccountsTables, users: &UsersTable) -> String {
    let statements = users.statements(&tables.schema);
    let statements = statements.iter().map(|sql| format!("{};\n", tables.sql(sql)));
    statements.collect()
}

/// The SQL that makes the users follow this table. Nobody writes there meanwhile.
pub(in crate::accounts) fn script(tables: &AccountsTables, users: &UsersTable) -> String {
    let (mapping, table) = (mapping(tables, users), users.quoted());
    let kept = mapping.replace('\'', "''");
    let schema = &tables.schema;
    format!(
        "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;\n{mapping}DELETE FROM \"{schema}\".mapping;\n\
         INSERT INTO \"{schema}\".mapping (sql) VALUES ('{kept}');\nSELECT \"{schema}\".follow_all();\n"
    )
}
