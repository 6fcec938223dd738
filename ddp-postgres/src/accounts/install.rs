//! Installs the tables of accounts, each version once.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use super::error::AccountsError;
use super::mapped;
use super::tables::AccountsTables;
use super::version1;
use crate::error::Error;
use crate::schema::{self, Patience};

/// What each version installs that the one before it did not have.
type Version = fn() -> Vec<String>;

/// The versions, from 1. What has been released never changes.
const VERSIONS: &[Version] = &[version1::statements];

const CREATE_VERSIONS: &str = "CREATE TABLE IF NOT EXISTS accounts.versions (
    version integer PRIMARY KEY,
    installed_at timestamptz NOT NULL DEFAULT pg_catalog.now()
)";

const FIND_VERSION: &str = "SELECT pg_catalog.max(version) FROM accounts.versions";

/// What is there of a schema, and what this role may do with it.
const STATE: &str = "SELECT
    pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
    EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'versions'),
    (SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, p.name))
     FROM pg_catalog.pg_class c,
         pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (name)
     WHERE c.relnamespace = n.oid AND c.relkind = 'r'
         AND (c.relname IN ('users', 'emails', 'passwords', 'login_tokens', 'one_time_tokens', 'services')
             OR c.relname = 'versions' AND p.name = 'SELECT'))
FROM pg_catalog.pg_namespace n WHERE n.nspname = $1";

const NAMES: &str = "SELECT pg_catalog.quote_ident(pg_catalog.current_database()),
    pg_catalog.quote_ident(current_user)";

impl AccountsTables {
    /// The SQL that installs the tables, to review or to run with `psql` as a privileged role; it may be run
    /// any number of times. The server's role then needs what the error of
    /// [`connect`](crate::DbBuilder::connect) names, and the triggers of
    /// [`DbBuilder::install_sql`](crate::DbBuilder::install_sql), which wants the tables to be there.
    ///
    /// # Panics
    /// If the schema has a name that [`schema`](Self::schema) does not allow.
    #[must_use]
    pub fn install_sql(&self) -> String {
        assert!(
            self.has_good_name(),
            "the schema's name has at most 63 letters, digits and underscores"
        );
        match &self.existing {
            None => script(self, VERSIONS),
            Some(users) => {
                let versions = script(self, mapped::VERSIONS);
                versions.replace("COMMIT;\n", &format!("{}COMMIT;\n", mapped::script(self, users)))
            }
        }
    }
}

/// What was found of the accounts.
struct Found {
    has_schema: bool,
    version: Option<i32>,
}

/// Sees to it that the accounts are there as this version of the library has them, and may be used. Any
/// number of servers may do so at the same time.
pub(crate) async fn prepare(
    client: &mut Client,
    tables: &AccountsTables,
    install: bool,
) -> Result<(), Error> {
    if !tables.has_good_name() {
        return Err(AccountsError::Name(tables.schema.clone()).into());
    }
    mapped::check_kind(client, tables).await?;
    match &tables.existing {
        None => prepare_versions(client, tables, install, VERSIONS).await,
        Some(users) => {
            prepare_versions(client, tables, install, mapped::VERSIONS).await?;
            mapped::follow(client, tables, users, install).await?;
            if !mapped::may_write(client, tables).await? {
                return Err(may_not_use(client, tables).await?);
            }
            Ok(())
        }
    }
}

/// The same within a transaction that will be rolled back, so that nothing stays, and nobody waits for
/// it unless the accounts are not there at all.
#[cfg(feature = "import")]
pub(super) async fn rehearse(client: &Client, tables: &AccountsTables) -> Result<(), Error> {
    if !tables.has_good_name() {
        return Err(AccountsError::Name(tables.schema.clone()).into());
    }
    mapped::check_kind(client, tables).await?;
    let found = find(client, tables).await?;
    if found.version.is_none() {
        return install_missing(client, tables, &found, VERSIONS).await;
    }
    if !is_current(tables, &found, VERSIONS)? {
        let schema = tables.schema.clone();
        return Err(AccountsError::NotInstalled { schema, version: found.version }.into());
    }
    check_usable(client, tables).await
}

/// The same for these versions.
async fn prepare_versions(
    client: &mut Client,
    tables: &AccountsTables,
    install: bool,
    versions: &[Version],
) -> Result<(), Error> {
    let schema = tables.schema.clone();
    let found = find(client, tables).await?;
    if !is_current(tables, &found, versions)? {
        if !install {
            return Err(AccountsError::NotInstalled { schema, version: found.version }.into());
        }
        let transaction = schema::begin_turn(client, Patience::Long).await?;
        // Another server may have been faster.
        let found = find(&transaction, tables).await?;
        let is_missing = !is_current(tables, &found, versions)?;
        if is_missing {
            install_missing(&transaction, tables, &found, versions).await?;
        }
        transaction.commit().await?;
        if is_missing {
            tracing::info!(schema, "the tables of accounts were installed");
        }
    }
    check_usable(client, tables).await
}

/// The installation for `psql`, which runs each version once.
fn script(tables: &AccountsTables, versions: &[Version]) -> String {
    let mut script = format!(
        "BEGIN;\nSET LOCAL search_path = pg_catalog;\nSET LOCAL client_min_messages = warning;\n{};\n\
         CREATE SCHEMA IF NOT EXISTS \"{}\";\n{};\n",
        schema::turn_sql(),
        tables.schema,
        tables.sql(CREATE_VERSIONS),
    );
    for (number, version) in (1..).zip(versions) {
        let statements: Vec<_> =
            version().iter().map(|sql| format!("{};\n", tables.sql(sql))).collect();
        script.push_str(&format!(
            "DO $install$\nBEGIN\nIF NOT EXISTS (SELECT FROM \"{}\".versions WHERE version >= {number}) THEN\n\
             {}{};\nEND IF;\nEND $install$;\n",
            tables.schema,
            statements.concat(),
            tables.sql(&insert_version(number)),
        ));
    }
    script.push_str("COMMIT;\n");
    script
}

fn insert_version(number: i32) -> String {
    format!("INSERT INTO accounts.versions (version) VALUES ({number})")
}

async fn find(client: &impl GenericClient, tables: &AccountsTables) -> Result<Found, Error> {
    let state = client.query_opt(STATE, &[&tables.schema]).await?;
    let Some(state) = state else { return Ok(Found { has_schema: false, version: None }) };
    let (may_look, has_versions): (bool, bool) = (state.try_get(0)?, state.try_get(1)?);
    if !has_versions {
        return Ok(Found { has_schema: true, version: None });
    }
    if !may_look {
        return Err(may_not_use(client, tables).await?);
    }
    match client.query_one(&*tables.sql(FIND_VERSION), &[]).await {
        Ok(row) => Ok(Found { has_schema: true, version: row.try_get(0)? }),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Err(may_not_use(client, tables).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether nothing is to be installed.
fn is_current(
    tables: &AccountsTables,
    found: &Found,
    versions: &[Version],
) -> Result<bool, AccountsError> {
    let known = i32::try_from(versions.len()).unwrap_or(i32::MAX);
    match found.version {
        Some(version) if version > known => {
            Err(AccountsError::Newer { schema: tables.schema.clone(), version, known })
        }
        version => Ok(version == Some(known)),
    }
}

async fn install_missing(
    transaction: &impl GenericClient,
    tables: &AccountsTables,
    found: &Found,
    versions: &[Version],
) -> Result<(), Error> {
    let mut statements = Vec::new();
    if !found.has_schema {
        statements.push(format!("CREATE SCHEMA \"{}\"", tables.schema));
    }
    statements.push(tables.sql(CREATE_VERSIONS).into_owned());
    for (number, version) in (1..).zip(versions) {
        if found.version.is_none_or(|found| found < number) {
            statements.extend(version().iter().map(|sql| tables.sql(sql).into_owned()));
            statements.push(tables.sql(&insert_version(number)).into_owned());
        }
    }
    let names = transaction.query_one(NAMES, &[]).await?;
    for sql in statements {
        if let Err(error) = transaction.batch_execute(&sql).await {
            let (database, role) = (names.try_get(0)?, names.try_get(1)?);
            return Err(refusal(tables, found, &sql, (database, role), error));
        }
    }
    Ok(())
}

/// The error for a statement that failed.
fn refusal(
    tables: &AccountsTables,
    found: &Found,
    sql: &str,
    (database, role): (&str, &str),
    error: tokio_postgres::Error,
) -> Error {
    let Some(code) = error.code() else { return error.into() };
    let schema = tables.schema.clone();
    let statement = sql.lines().next().unwrap_or(sql).trim_end_matches(" (").to_owned();
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        let grant = if found.has_schema {
            format!("GRANT USAGE, CREATE ON SCHEMA \"{schema}\" TO {role}")
        } else {
            format!("GRANT CREATE ON DATABASE {database} TO {role}")
        };
        return AccountsError::MayNotInstall { schema, statement, grant, error }.into();
    }
    // What is there already, or is forbidden in another way; all else passes.
    if code.code().starts_with("42") || *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return AccountsError::Refused { schema, statement, error }.into();
    }
    error.into()
}

async fn check_usable(client: &Client, tables: &AccountsTables) -> Result<(), Error> {
    let state = client.query_opt(STATE, &[&tables.schema]).await?;
    let Some(state) = state else {
        let schema = tables.schema.clone();
        return Err(AccountsError::NotInstalled { schema, version: None }.into());
    };
    let (may_look, may_use): (bool, Option<bool>) = (state.try_get(0)?, state.try_get(2)?);
    if may_look && may_use == Some(true) {
        return Ok(());
    }
    Err(may_not_use(client, tables).await?)
}

async fn may_not_use(
    client: &impl GenericClient,
    tables: &AccountsTables,
) -> Result<Error, tokio_postgres::Error> {
    let role: String = client.query_one(NAMES, &[]).await?.try_get(1)?;
    let schema = tables.schema.clone();
    let grants = format!(
        "GRANT USAGE ON SCHEMA \"{schema}\" TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON ALL TABLES \
         IN SCHEMA \"{schema}\" TO {role}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA \"{schema}\" TO {role}"
    );
    Ok(AccountsError::MayNotUse { schema, role, grants }.into())
}

#[cfg(test)]
mod tests {
    use ddp_cluster::{Cluster, ClusterOptions};
    use tokio_postgres::NoTls;

    use super::*;

    /// As a later version may add something.
    fn second() -> Vec<String> {
        vec!["ALTER TABLE accounts.users ADD COLUMN locale text DEFAULT 'en'".to_owned()]
    }

    /// One that fails after its first statement.
    fn broken() -> Vec<String> {
        let statements = ["DELETE FROM accounts.users", "CREATE TABLE accounts.users ()"];
        statements.map(str::to_owned).into()
    }

    #[tokio::test]
    async fn later_versions_are_installed_over_earlier_ones() {
        let options = ClusterOptions::temporary().without_durability();
        let cluster = Cluster::start(options).expect("PostgreSQL is installed and starts");
        let (mut client, connection) =
            tokio_postgres::connect(&cluster.url(), NoTls).await.expect("it listens");
        tokio::spawn(connection);
        let tables = AccountsTables::new();
        let all: [Version; 3] = [version1::statements, second, broken];
        prepare_versions(&mut client, &tables, true, &all[..1]).await.unwrap();
        client.batch_execute("INSERT INTO accounts.users (id) VALUES ('ada')").await.unwrap();
        let error = prepare_versions(&mut client, &tables, false, &all[..2]).await.unwrap_err();
        assert!(error.to_string().contains("are of version 1, which is too old"), "{error}");
        for _ in 0..2 {
            prepare_versions(&mut client, &tables, true, &all[..2]).await.unwrap();
        }
        // What fails leaves nothing behind.
        let error = prepare_versions(&mut client, &tables, true, &all).await.unwrap_err();
        assert!(error.to_string().contains("CREATE TABLE accounts.users ()"), "{error}");
        let found =
            "SELECT id, locale, (SELECT max(version) FROM accounts.versions) FROM accounts.users";
        let row = client.query_one(found, &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1), row.get(2)), ("ada", "en", 2));
        // A server of before does not touch them.
        let error = prepare_versions(&mut client, &tables, true, &all[..1]).await.unwrap_err();
        assert!(
            error.to_string().contains("of version 2, and this server knows up to 1"),
            "{error}"
        );
        // The same by psql.
        client.batch_execute("DROP SCHEMA accounts CASCADE").await.unwrap();
        for versions in [&all[..1], &all[..2], &all[..2]] {
            client.batch_execute(&script(&tables, versions)).await.unwrap();
        }
        let row = client.query_one("SELECT count(*) FROM accounts.versions", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 2);
    }
}
