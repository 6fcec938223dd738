//! Notices what is done to tables and triggers while the server runs.
//!
//! No trigger tells of an `ALTER TABLE`, of a partition that was attached, or of a trigger that
//! somebody dropped. One cheap query over the catalogs does, every few seconds: if its answer for a
//! table is another than before, the table is described anew, its triggers are installed again if
//! need be, and its live queries are planned anew and read again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use deadpool_postgres::Object;

use crate::db::Inner;
use crate::error::Error;
use crate::schema::{self, Layout, Readiness};
use crate::table::collection::{Current, Standing, TableCollection};

/// How often a table is looked at again at once, if it changes while it is looked at.
const ROUNDS: usize = 3;

/// Looks at the tables again and again, until the database handle is gone.
pub(crate) async fn run(db: Weak<Inner>, every: Duration) {
    let mut has_failed = false;
    loop {
        // Both this task and whoever else holds the database may be the last.
        let Some(must_check) = db.upgrade().map(|db| Arc::clone(&db.must_check)) else { return };
        // Until it is time, or somebody says so.
        let _ = tokio::time::timeout(every, must_check.notified()).await;
        let Some(db) = db.upgrade().filter(|db| !db.is_closed()) else { return };
        match db.check_tables().await {
            Ok(()) => has_failed = false,
            // The feed says so, too, when the database is out of reach.
            Err(error) if has_failed || error.is_transient() => {
                tracing::debug!("the tables could not be checked: {error}");
            }
            Err(error) => {
                tracing::error!("the tables could not be checked: {error}");
                has_failed = true;
            }
        }
    }
}

impl Inner {
    /// Looks at the tables now, rather than when it is time.
    pub(crate) fn check_soon(&self) {
        self.must_check.notify_one();
    }

    /// Compares the tables with what they were, and acts on what has changed.
    pub(crate) async fn check_tables(&self) -> Result<(), Error> {
        let _checking = self.checking.lock().await;
        let mut client = self.pool.get().await?;
        let collections: Vec<_> = self.collections.values().collect();
        let layouts: Vec<Arc<Layout>> = collections.iter().map(|c| c.layout()).collect();
        let digests = schema::digests(&client, layouts.iter().map(|layout| &**layout)).await?;
        for (collection, digest) in collections.into_iter().zip(digests) {
            if *collection.digest.lock() != digest {
                self.check_table(&mut client, collection, digest).await?;
            }
        }
        Ok(())
    }

    async fn check_table(
        &self,
        client: &mut Object,
        collection: &Arc<TableCollection>,
        mut digest: String,
    ) -> Result<(), Error> {
        let mut current = collection.current();
        for _ in 0..ROUNDS {
            current = self.look_at(client, collection).await?;
            let now = schema::digests(client, std::iter::once(&*current.layout)).await?;
            let is_settled = now.first() == Some(&digest);
            digest = now.into_iter().next().unwrap_or_default();
            if is_settled {
                break;
            }
        }
        let name = collection.table.collection_name();
        tracing::info!("the table of {name} has changed: {:?}", current.standing);
        self.replace(collection, Some(current));
        *collection.digest.lock() = digest;
        Ok(())
    }

    /// Goes over to what a table is now; or plans its queries anew for what was found last.
    pub(crate) fn replace(&self, collection: &Arc<TableCollection>, current: Option<Current>) {
        // Changes are applied under these locks, and belong to a layout.
        let mut assembler = self.assembler.lock();
        let mut pipeline = self.pipeline.lock();
        let current = current.unwrap_or_else(|| collection.current());
        assembler.listen(Arc::clone(&current.layout));
        let is_reading = pipeline.is_reading();
        if is_reading {
            pipeline.interrupt();
        }
        let loads = collection.replace(current);
        drop((assembler, pipeline));
        self.spawn_loads(collection, loads);
        if is_reading {
            self.read_everything_again();
        }
    }

    /// Describes the table, and gives it its triggers if they are not right.
    async fn look_at(
        &self,
        client: &mut Object,
        collection: &TableCollection,
    ) -> Result<Current, Error> {
        let before = collection.layout();
        let name = collection.table.collection_name();
        let unavailable = |layout, error: &dyn std::fmt::Display| {
            tracing::error!("collection {name} is unavailable: {error}");
            Current { layout, standing: Standing::Unavailable }
        };
        let layout = match schema::describe(client, &collection.table).await {
            Ok(layout) => Arc::new(layout.with_feed(before.feed())),
            Err(schema::Error::NoTable { relation }) => {
                tracing::warn!(
                    "table {relation} is gone: {name} has no documents until it is back"
                );
                return Ok(Current { layout: before, standing: Standing::Gone });
            }
            Err(error @ schema::Error::Database(_)) => return Err(error.into()),
            Err(error) => return Ok(unavailable(before, &error)),
        };
        if let Err(error) = layout.check_row_security() {
            return Ok(unavailable(layout, &error));
        }
        let has_changed = *layout != *before;
        let mut readiness = schema::readiness(client, &layout).await?;
        // What another server has installed for the same table is left to it, or two servers would
        // take turns.
        let must_install = match readiness {
            Readiness::Ready | Readiness::Unreadable => has_changed,
            Readiness::Unheard => false,
            Readiness::Incomplete => true,
        };
        if self.install && must_install {
            match schema::install(client, std::slice::from_ref(&*layout)).await {
                Ok(()) => readiness = schema::readiness(client, &layout).await?,
                Err(schema::Error::NewerFormat { .. }) => {}
                Err(schema::Error::Database(error)) if error.code().is_none() => {
                    return Err(error.into());
                }
                Err(error) => return Ok(unavailable(layout, &error)),
            }
        }
        let relation = layout.relation();
        let standing = match readiness {
            Readiness::Ready => Standing::Live,
            Readiness::Unreadable => {
                tracing::warn!(
                    "another server has installed other triggers on {relation}: reading {name} \
                     again after each change"
                );
                Standing::Unreadable
            }
            Readiness::Unheard => return Ok(unavailable(Arc::clone(&layout), &layout.unheard())),
            Readiness::Incomplete => {
                let relation = relation.to_owned();
                return Ok(unavailable(layout, &schema::Error::NotInstalled { relation }));
            }
        };
        Ok(Current { layout, standing })
    }
}
