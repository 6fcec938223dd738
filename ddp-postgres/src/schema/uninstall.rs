//! Takes away what was installed.

use tokio_postgres::Client;

use super::install::{Action, TABLE_LOCK_TIMEOUT, with_retries};
use super::installed::{Installed, installed};
use super::send::PUBLICATION;
use super::turn::Patience;
use super::{Error, Layout, foreign, turn};

/// Of what all collections have in common, what is there, and whether this role may drop it: the
/// function for foreign parts, the schema if it has nothing else in it, and the publication if it has
/// no tables.
const SHARED: &str = "SELECT
    (SELECT pg_catalog.pg_has_role(p.proowner, 'USAGE') FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = pg_catalog.to_regnamespace('ddp') AND p.proname = $1),
    (SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') FROM pg_catalog.pg_namespace n
        WHERE n.nspname = 'ddp' AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_proc p
                ON p.oid = d.objid AND d.classid = 'pg_catalog.pg_proc'::regclass
            WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
                AND p.proname IS DISTINCT FROM $1)),
    (SELECT pg_catalog.pg_has_role(p.pubowner, 'USAGE') FROM pg_catalog.pg_publication p
        WHERE p.pubname = $2 AND NOT p.puballtables AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d
            WHERE d.refclassid = 'pg_catalog.pg_publication'::regclass AND d.refobjid = p.oid))";

/// Drops the triggers, and the schema `ddp` once it is empty. Does nothing for tables without
/// triggers, and leaves what other roles own and all collections have in common.
///
/// # Errors
///
/// If the database reports an error, or a long transaction keeps a table locked.
pub async fn uninstall(client: &mut Client, layouts: &[Layout]) -> Result<(), Error> {
    for installed in installed(client).await? {
        if layouts.iter().any(|layout| installed.is_of(layout)) {
            with_retries(client, Action::Uninstall(&installed), Patience::Long).await?;
        }
    }
    drop_shared(client, false).await?;
    Ok(())
}

/// Drops everything of every table, and tells what it was.
///
/// # Errors
///
/// The same, if something is another role's, or if a server installs it again meanwhile.
pub(crate) async fn uninstall_all(client: &mut Client) -> Result<Vec<Installed>, Error> {
    let all = installed(client).await?;
    for installed in &all {
        with_retries(client, Action::Uninstall(installed), Patience::Long).await?;
    }
    if drop_shared(client, true).await? { Ok(all) } else { Err(Error::Reinstalled) }
}

/// Drops what all collections have in common, or of that what this role may. False if a collection
/// is still there, which needs it.
async fn drop_shared(client: &mut Client, must: bool) -> Result<bool, Error> {
    let transaction = turn::begin(client, Patience::Long).await?;
    if !installed(&transaction).await?.is_empty() {
        return Ok(false);
    }
    let row = transaction.query_one(SHARED, &[&foreign::FUNCTION, &PUBLICATION]).await?;
    let (function, schema, publication): (Option<bool>, Option<bool>, Option<bool>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    // A schema with a function in it cannot be dropped.
    let schema = if function == Some(false) && !must { None } else { schema };
    let drops = [
        (function, foreign::DROP),
        (schema, "DROP SCHEMA ddp;"),
        (publication, "DROP PUBLICATION ddp;"),
    ];
    let is_due = |(may, _): &(Option<bool>, _)| may.is_some_and(|may| may || must);
    let drops: Vec<String> = drops.into_iter().filter(is_due).map(|(_, sql)| sql.into()).collect();
    let dropped = turn::finish(transaction, TABLE_LOCK_TIMEOUT, &drops).await;
    dropped.map_err(|(_, error)| error)?;
    Ok(true)
}
