//! Gives the registered tables their triggers, and takes them away.

use ddp_server::log::Log;
use deadpool_postgres::Object;

use super::collection::TableCollection;
use super::{Table, secret};
use crate::error::Error;
use crate::feed::Feed;
use crate::schema::{self, Installed, Layout, Patience, Readiness};

/// How often to start over when tables change while they are examined.
const ROUNDS: usize = 5;

/// The SQL that installs what tables need.
pub(crate) async fn install_sql(
    client: &Object,
    tables: &[Table],
    feed: Feed,
) -> Result<String, Error> {
    let layouts = describe(client, tables, feed).await?;
    Ok(schema::install_sql(client, &layouts).await?)
}

/// Removes what was installed for tables, whether they still exist or not.
pub(crate) async fn uninstall(
    client: &mut Object,
    tables: impl Iterator<Item = &Table>,
) -> Result<(), Error> {
    let layouts: Vec<Layout> = tables.map(Layout::of_names).collect();
    Ok(schema::uninstall(client, &layouts).await?)
}

/// What is installed for any table.
pub(crate) async fn installed(client: &Object) -> Result<Vec<Installed>, Error> {
    Ok(schema::installed(&***client).await?)
}

/// Removes everything, and tells what it was.
pub(crate) async fn uninstall_all(client: &mut Object) -> Result<Vec<Installed>, Error> {
    Ok(schema::uninstall_all(client).await?)
}

/// Describes tables. Installs their triggers if wanted; otherwise they must have them.
pub(crate) async fn collections(
    client: &mut Object,
    tables: &[Table],
    feed: Feed,
    install: bool,
) -> Result<Vec<TableCollection>, Error> {
    let names: Vec<Layout> = tables.iter().map(Layout::of_names).collect();
    let mut before = schema::digests(client, names.iter()).await?;
    let mut layouts = Vec::new();
    for _ in 0..ROUNDS {
        layouts = prepare(client, tables, feed, install).await?;
        let after = schema::digests(client, names.iter()).await?;
        let is_settled = before == after;
        before = after;
        if is_settled {
            break;
        }
    }
    let log = Log::default();
    for (table, layout) in tables.iter().zip(&layouts) {
        secret::warn(&log, table, None, layout);
    }
    let collections = tables.iter().zip(layouts).zip(before);
    let collection = |((table, layout), digest): ((&Table, Layout), String)| {
        TableCollection::new(table.clone(), layout, digest)
    };
    Ok(collections.map(collection).collect())
}

async fn prepare(
    client: &mut Object,
    tables: &[Table],
    feed: Feed,
    install: bool,
) -> Result<Vec<Layout>, Error> {
    let layouts = describe_or_stop(client, tables, feed).await?;
    for layout in &layouts {
        layout.check_row_security()?;
    }
    schema::check_readable(client, &layouts.iter().collect::<Vec<_>>()).await?;
    schema::check_functions(client, &layouts).await?;
    schema::check_calls(client, feed, install).await?;
    if install {
        schema::install(client, &layouts).await?;
        return Ok(layouts);
    }
    for (layout, found) in layouts.iter().zip(schema::inspect_all(client, &layouts).await?) {
        match found.readiness(layout) {
            Readiness::Ready => {}
            Readiness::Unheard => return Err(layout.unheard().into()),
            Readiness::Unreadable | Readiness::Incomplete => {
                found.check_format(layout)?;
                let relation = layout.relation().to_owned();
                return Err(schema::Error::NotInstalled { relation }.into());
            }
        }
    }
    Ok(layouts)
}

/// Of tables that cannot be published, drops the triggers of an earlier time: they would fail, or
/// cost, the statements of all others.
async fn describe_or_stop(
    client: &mut Object,
    tables: &[Table],
    feed: Feed,
) -> Result<Vec<Layout>, Error> {
    let catalogs = schema::Catalogs::read(client, tables).await?;
    let mut layouts = Vec::with_capacity(tables.len());
    for table in tables {
        match catalogs.describe(table) {
            Ok(layout) => layouts.push(layout.with_feed(feed)),
            Err(error) => {
                if error.is_of_table() {
                    schema::stop(client, &Layout::of_names(table), Patience::Long).await?;
                }
                return Err(error.into());
            }
        }
    }
    Ok(layouts)
}

async fn describe(client: &Object, tables: &[Table], feed: Feed) -> Result<Vec<Layout>, Error> {
    let catalogs = schema::Catalogs::read(client, tables).await?;
    let layout = |table| Ok(catalogs.describe(table)?.with_feed(feed));
    tables.iter().map(layout).collect()
}
