//! Installation as the application asks for it.

use deadpool_postgres::Object;

use crate::db::{Db, DbBuilder};
use crate::error::Error;
use crate::schema::{self, Layout, Readiness};
use crate::table::collection::TableCollection;

/// How often to begin anew when tables change while they are looked at.
const ROUNDS: usize = 5;

impl DbBuilder {
    /// The SQL that gives the registered tables what they need, for `psql`: to be read, or to be run
    /// by a role that may. Nothing is changed. The SQL may be run any number of times.
    ///
    /// # Errors
    /// A database that is out of reach, a table that is not there or has no usable key, triggers of a
    /// newer version of this library.
    pub async fn install_sql(&self) -> Result<String, Error> {
        let client = self.pool()?.2.get().await?;
        let mut layouts = Vec::new();
        for table in &self.tables {
            layouts.push(schema::describe(&client, table).await?.with_feed(self.feed));
        }
        Ok(schema::install_sql(&client, &layouts).await?)
    }

    /// Takes away what was installed for the registered tables, whether or not they are still there,
    /// and the schema `ddp` when nothing is left in it. Servers that still run install it again,
    /// unless they are [without installation](Self::without_install).
    ///
    /// # Errors
    /// A database that is out of reach, a role that does not own what was installed, a table that
    /// long transactions keep locked.
    pub async fn uninstall(&self) -> Result<(), Error> {
        let mut client = self.pool()?.2.get().await?;
        let layouts: Vec<Layout> = self.tables.iter().map(Layout::of_names).collect();
        Ok(schema::uninstall(&mut client, &layouts).await?)
    }

    /// Describes the tables and gives them their triggers.
    pub(crate) async fn collections(
        &self,
        client: &mut Object,
    ) -> Result<Vec<TableCollection>, Error> {
        let names: Vec<Layout> = self.tables.iter().map(Layout::of_names).collect();
        let mut before = schema::digests(client, names.iter()).await?;
        let mut layouts = Vec::new();
        for _ in 0..ROUNDS {
            layouts = self.prepare(client).await?;
            let after = schema::digests(client, names.iter()).await?;
            let is_settled = before == after;
            before = after;
            if is_settled {
                break;
            }
        }
        let collections = self.tables.iter().zip(layouts).zip(before);
        let collection = |((table, layout), digest): ((&crate::Table, Layout), String)| {
            TableCollection::new(table.clone(), layout, digest)
        };
        Ok(collections.map(collection).collect())
    }

    async fn prepare(&self, client: &mut Object) -> Result<Vec<Layout>, Error> {
        let mut layouts = Vec::new();
        for table in &self.tables {
            let layout = schema::describe(client, table).await?.with_feed(self.feed);
            layout.check_row_security()?;
            layouts.push(layout);
        }
        if self.install {
            schema::install(client, &layouts).await?;
            return Ok(layouts);
        }
        for layout in &layouts {
            match schema::readiness(client, layout).await? {
                Readiness::Ready => {}
                Readiness::Unheard => return Err(layout.unheard().into()),
                Readiness::Unreadable | Readiness::Incomplete => {
                    schema::check_format(client, layout).await?;
                    let relation = layout.relation().to_owned();
                    return Err(schema::Error::NotInstalled { relation }.into());
                }
            }
        }
        Ok(layouts)
    }
}

impl Db {
    /// Looks at once whether tables or triggers were altered, as the server does every few
    /// [seconds](DbBuilder::check_every) by itself. Live queries then read again on their own.
    ///
    /// # Errors
    /// A database that is out of reach.
    pub async fn check(&self) -> Result<(), Error> {
        self.0.check_tables().await
    }

    /// [Closes](Self::close) the database, and takes away what was installed for its tables, as
    /// [`DbBuilder::uninstall`] does.
    ///
    /// # Errors
    /// As with [`DbBuilder::uninstall`]. The database is closed all the same.
    pub async fn uninstall(&self) -> Result<(), Error> {
        let client = self.pool().get().await;
        // Whoever compares the tables with what they were would install it again.
        let checking = self.0.checking.lock().await;
        self.close().await;
        drop(checking);
        let collections = self.0.collections.values();
        let layouts: Vec<Layout> = collections.map(|c| Layout::of_names(&c.table)).collect();
        let mut client = client?;
        Ok(schema::uninstall(&mut client, &layouts).await?)
    }
}
