//! Installs triggers. Leaves a table alone if it already has the right ones.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::inspect::{Functions, Inspection, inspect, inspect_all};
use super::installed::{self, Installed};
use super::name::quoted;
use super::turn::{self, Patience, prepare_sql};
use super::{Error, Layout, autovacuum, foreign, send};
use crate::feed::Feed;

/// How long writers may queue behind us. Less than PostgreSQL's `deadlock_timeout`, so that in a
/// deadlock we give up rather than a writer's statement fail.
pub(crate) const TABLE_LOCK_TIMEOUT: &str = "800ms";
/// How long they may if we only try whether the table is free.
const TRIAL_TIMEOUT: &str = "5ms";
pub(crate) const ATTEMPTS: u32 = 6;
/// Lets queued writers go first before the next attempt.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

/// Whether the schema exists, and which role and database this is.
const HAS_SCHEMA: &str = "SELECT pg_catalog.to_regnamespace('ddp') IS NOT NULL,
    pg_catalog.quote_ident(pg_catalog.current_database()),
    pg_catalog.quote_ident(current_user)";

/// Installs the triggers that report the tables' changes.
///
/// A table that already has the right triggers is neither changed nor locked. Any number of servers
/// may do this at the same time. Otherwise the table is locked against writers for a few
/// milliseconds, each table in its own transaction, since locking two could deadlock. Triggers are
/// also installed on partitions, on tables that inherit from this one, and on tables that it
/// inherits from.
///
/// The database role must own the tables, or have the `TRIGGER` privilege on them, and be allowed
/// to create the schema `ddp` or objects in it.
///
/// # Errors
///
/// If the database reports an error, a long transaction keeps a table locked, or a newer version of
/// this library installed a table's triggers. The tables before that one then have theirs.
pub async fn install(client: &mut Client, layouts: &[Layout]) -> Result<(), Error> {
    for (layout, found) in layouts.iter().zip(inspect_all(client, layouts).await?) {
        found.check_format(layout)?;
        if !found.is_right() {
            with_retries(client, Action::Install(layout), Patience::Long).await?;
        }
    }
    if !layouts.is_empty() {
        watch_foreign_parts(client, Patience::Long).await?;
    }
    Ok(())
}

/// The same for one table, with some patience.
pub(crate) async fn install_one(
    client: &mut Client,
    layout: &Layout,
    patience: Patience,
) -> Result<(), Error> {
    let found = inspect(client, layout).await?;
    found.check_format(layout)?;
    if found.is_right() {
        return Ok(());
    }
    with_retries(client, Action::Install(layout), patience).await?;
    watch_foreign_parts(client, patience).await
}

/// Creates the event trigger if it is missing and this role may.
async fn watch_foreign_parts(client: &mut Client, patience: Patience) -> Result<(), Error> {
    if foreign::is_there(client).await? {
        return Ok(());
    }
    let transaction = turn::begin(client, patience).await?;
    let created = turn::finish(transaction, TABLE_LOCK_TIMEOUT, &[foreign::sql()]).await;
    created.map_err(|(_, error)| error.into())
}

/// Drops the triggers of a table that cannot be published any more. Does nothing if it has none.
///
/// # Errors
///
/// If others keep the table locked, or the role owns neither the table nor the functions.
pub(crate) async fn stop(
    client: &mut Client,
    layout: &Layout,
    patience: Patience,
) -> Result<(), Error> {
    if inspect(client, layout).await?.triggers.is_empty() {
        return Ok(());
    }
    with_retries(client, Action::Stop(layout), patience).await
}

/// The most that [`install`] would do, as commands for `psql`. They may be run repeatedly, by any
/// role with the privileges.
///
/// # Errors
///
/// If the database does not answer, or a newer version of this library installed a table's
/// triggers.
pub async fn install_sql(client: &Client, layouts: &[Layout]) -> Result<String, Error> {
    let mut sql = "\\set ON_ERROR_STOP on\n".to_owned();
    for (layout, found) in layouts.iter().zip(inspect_all(client, layouts).await?) {
        found.check_format(layout)?;
        let (relation, collection) = (layout.relation(), layout.collection());
        let title = format!("{relation} as the collection {collection}").replace(['\n', '\r'], " ");
        sql.push_str(&format!("\n-- {title}\n"));
        let mut relations: Vec<&str> = layout.triggers().map(|(relation, _)| relation).collect();
        relations.dedup();
        relations.iter().for_each(|relation| sql.push_str(&autovacuum::give_way_sql(relation)));
        sql.push_str(&format!("BEGIN;\n{}\n", prepare_sql(TABLE_LOCK_TIMEOUT)));
        sql.push_str(&layout.install_sql());
        sql.push_str(&drop_triggers_sql(&found.strays));
        sql.push_str(&layout.tell_installation_sql());
        sql.push_str("COMMIT;\n");
    }
    let prepare = prepare_sql(TABLE_LOCK_TIMEOUT);
    sql.push_str(&format!("\n-- foreign parts\nBEGIN;\n{prepare}\n{}COMMIT;\n", foreign::sql()));
    Ok(sql)
}

/// What is done to a table while other servers are locked out.
#[derive(Clone, Copy)]
pub(super) enum Action<'a> {
    Install(&'a Layout),
    /// Drops what fails or costs writers, by whatever right the role has.
    Stop(&'a Layout),
    Uninstall(&'a Installed),
}

impl Action<'_> {
    fn relation(&self) -> &str {
        match self {
            Self::Install(layout) | Self::Stop(layout) => layout.relation(),
            Self::Uninstall(installed) => installed.relation(),
        }
    }

    /// The tables that will be locked.
    fn relations(&self) -> Vec<&str> {
        match self {
            Self::Install(layout) | Self::Stop(layout) => {
                layout.triggers().map(|(relation, _)| relation).collect()
            }
            Self::Uninstall(installed) => {
                installed.triggers_on.iter().map(String::as_str).collect()
            }
        }
    }
}

pub(super) async fn with_retries(
    client: &mut Client,
    action: Action<'_>,
    patience: Patience,
) -> Result<(), Error> {
    let (attempts, lock_timeout) = match patience {
        Patience::Long => (ATTEMPTS, TABLE_LOCK_TIMEOUT),
        Patience::Short => (1, TABLE_LOCK_TIMEOUT),
        Patience::None => (1, TRIAL_TIMEOUT),
    };
    for number in 1..=attempts {
        // Whoever tries only once asks first.
        if number > 1 || patience == Patience::Short {
            autovacuum::give_way(client, &action.relations()).await;
        }
        match attempt(client, action, patience, lock_timeout).await {
            Err(Error::Database(error)) if may_retry(&error) && number < attempts => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(Error::Database(error)) if is_busy(&error) => break,
            outcome => return outcome,
        }
    }
    Err(Error::Busy { relation: action.relation().to_owned() })
}

/// Whether others had a table, or somebody or the limit of time ended a statement.
fn may_retry(error: &tokio_postgres::Error) -> bool {
    is_busy(error) || error.code() == Some(&SqlState::QUERY_CANCELED)
}

pub(crate) fn is_busy(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&(SqlState::LOCK_NOT_AVAILABLE | SqlState::T_R_DEADLOCK_DETECTED)))
}

async fn attempt(
    client: &mut Client,
    action: Action<'_>,
    patience: Patience,
    lock_timeout: &str,
) -> Result<(), Error> {
    let transaction = turn::begin(client, patience).await?;
    // Another server may have been faster.
    match action {
        Action::Install(layout) => {
            let found = inspect(&transaction, layout).await?;
            found.check_format(layout)?;
            install_within(transaction, layout, &found, lock_timeout).await
        }
        Action::Stop(layout) => {
            let found = inspect(&transaction, layout).await?;
            let functions = [drop_functions_sql(found.present.into_iter())];
            match turn::finish(transaction, lock_timeout, &functions).await {
                Ok(()) => Ok(()),
                Err((_, error)) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    let transaction = turn::begin(client, patience).await?;
                    stop_as_owner_of_table(transaction, layout, lock_timeout).await
                }
                Err((_, error)) => Err(error.into()),
            }
        }
        Action::Uninstall(installed) => {
            let names = installed::functions(&transaction, installed).await?;
            let quoted = names.iter().map(|name| quoted(name));
            let functions = [drop_functions_sql(quoted)];
            let dropped = turn::finish(transaction, lock_timeout, &functions).await;
            dropped.map_err(|(_, error)| installed.refusal(error))
        }
    }
}

/// The owner of a function may drop the triggers that run it, whoever owns their tables.
fn drop_functions_sql(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("DROP FUNCTION ddp.{name}() CASCADE;\n")).collect()
}

async fn stop_as_owner_of_table(
    transaction: Transaction<'_>,
    layout: &Layout,
    lock_timeout: &str,
) -> Result<(), Error> {
    let triggers = [drop_triggers_sql(&inspect(&transaction, layout).await?.triggers)];
    let dropped = turn::finish(transaction, lock_timeout, &triggers).await;
    dropped.map_err(|(_, error)| {
        let relation = layout.relation().to_owned();
        refusal(layout, "DROP TRIGGER", error, |error| Error::MayNotStop { relation, error })
    })
}

async fn install_within(
    transaction: Transaction<'_>,
    layout: &Layout,
    found: &Inspection,
    lock_timeout: &str,
) -> Result<(), Error> {
    let row = transaction.query_one(HAS_SCHEMA, &[]).await?;
    let (has_schema, database, role): (bool, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    // Even `CREATE SCHEMA IF NOT EXISTS` needs a privilege on the database.
    let schema = (!has_schema).then(|| ("schema", "CREATE SCHEMA ddp".to_owned()));
    let publication = (layout.feed == Feed::Wal).then(|| ("publication", send::publication_sql()));
    for (what, sql) in schema.into_iter().chain(publication) {
        transaction.batch_execute(&sql).await.map_err(|error| {
            let (database, role) = (database.clone(), role.clone());
            let of_privilege = |error| Error::MayNotCreate { what, database, role, error };
            let statement = format!("CREATE {} ddp", what.to_uppercase());
            refusal(layout, &statement, error, of_privilege)
        })?;
    }
    let statements = install_missing(layout, found);
    turn::finish(transaction, lock_timeout, &statements).await.map_err(|(sql, error)| {
        let relation = layout.relation().to_owned();
        let of_privilege = |error| Error::MayNotInstall { relation, role, error };
        refusal(layout, beginning(&sql), error, of_privilege)
    })
}

/// The beginning of a statement, with the name of what it makes.
fn beginning(sql: &str) -> &str {
    let ends = [" RETURNS", " AFTER", "(", ";", "\n"];
    let end = ends.iter().filter_map(|end| sql.find(end)).min();
    &sql[..end.unwrap_or(sql.len())]
}

/// The error for a privilege that is lacking, or for what is forbidden in another way; other errors
/// stay themselves.
fn refusal(
    layout: &Layout,
    statement: &str,
    error: tokio_postgres::Error,
    of_privilege: impl FnOnce(tokio_postgres::Error) -> Error,
) -> Error {
    let Some(code) = error.code() else { return error.into() };
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return of_privilege(error);
    }
    // Those of conflicts, lacks of resources, locks and interventions pass.
    if ["08", "40", "53", "55", "57"].iter().any(|class| code.code().starts_with(class)) {
        return error.into();
    }
    if *code == SqlState::UNDEFINED_TABLE {
        // A part that the catalogs had when they were read.
        return Error::Changed { relation: layout.relation().to_owned() };
    }
    let (relation, statement) = (layout.relation().to_owned(), statement.to_owned());
    Error::Refused { relation, statement, error }
}

/// Installs only what is missing, and locks only the tables that lack something.
fn install_missing(layout: &Layout, found: &Inspection) -> Vec<String> {
    let mut statements = Vec::new();
    if found.functions == Functions::Right {
        let missing = found.missing.iter();
        statements
            .extend(missing.map(|(relation, capture)| layout.trigger_sql(relation, *capture)));
    } else {
        statements.extend(layout.functions_sql());
        let triggers = layout.triggers();
        statements
            .extend(triggers.map(|(relation, capture)| layout.trigger_sql(relation, capture)));
    }
    statements.push(drop_triggers_sql(&found.strays));
    statements.push(layout.tell_installation_sql());
    statements
}

fn drop_triggers_sql(triggers: &[(String, String)]) -> String {
    let drop = |(name, relation): &(String, String)| {
        format!("DROP TRIGGER IF EXISTS {name} ON {relation};\n")
    };
    triggers.iter().map(drop).collect()
}
