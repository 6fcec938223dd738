//! Notices changes to tables and triggers while the server is running.
//!
//! No trigger reports an `ALTER TABLE`, an attached partition or a dropped trigger. A cheap query
//! over the catalogs does, every few seconds: if its answer for a table has changed, the table is
//! described again, its triggers are reinstalled if needed, and its live queries are planned and
//! read again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::sync::mpsc;

use super::collection::{Current, TableCollection, TableState};
use crate::error::Error;
use crate::intake::dispatch::Intake;
use crate::read::reader::Check;
use crate::schema::{self, Layout, Readiness};

/// How often a table is checked again at once if it changes during the check.
const ROUNDS: usize = 3;

/// Compares the tables with their last known state, periodically and on request.
pub(crate) struct Watch {
    pub(crate) intake: Weak<Intake>,
    pub(crate) checks: mpsc::Receiver<Check>,
    pub(crate) every: Duration,
    /// Whether triggers may be installed while the server runs.
    pub(crate) install: bool,
}

impl Watch {
    /// Checks the tables repeatedly, until the database handle is closed or dropped.
    pub(crate) async fn run(mut self) {
        let mut has_failed = false;
        loop {
            let asked = match tokio::time::timeout(self.every, self.checks.recv()).await {
                Ok(Some(check)) => check,
                Ok(None) => return,
                Err(_) => None,
            };
            let intake = self.intake.upgrade().filter(|intake| !intake.reader().is_closed());
            let Some(intake) = intake else { return };
            match (self.check_tables(&intake).await, asked) {
                (outcome, Some(asked)) => {
                    // The receiver is gone if the check was cancelled.
                    let _ = asked.send(outcome);
                }
                (Ok(()), None) => has_failed = false,
                // The feed says so, too, when the database is out of reach.
                (Err(error), None) if has_failed || error.is_transient() => {
                    tracing::debug!(%error, "the tables could not be checked");
                }
                (Err(error), None) => {
                    tracing::error!(%error, "the tables could not be checked");
                    has_failed = true;
                }
            }
        }
    }

    /// Compares the tables with what they were, and acts on what has changed.
    async fn check_tables(&self, intake: &Arc<Intake>) -> Result<(), Error> {
        let mut client = intake.reader().pool.get().await?;
        let collections: Vec<_> = intake.collections().collect();
        let layouts: Vec<Arc<Layout>> = collections.iter().map(|c| c.layout()).collect();
        let digests = schema::digests(&client, layouts.iter().map(|layout| &**layout)).await?;
        for (collection, digest) in collections.into_iter().zip(digests) {
            if *collection.digest.lock() != digest {
                self.check_table(intake, &mut client, collection, digest).await?;
            }
        }
        Ok(())
    }

    async fn check_table(
        &self,
        intake: &Arc<Intake>,
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
        tracing::info!(collection = name, state = ?current.state, "the table has changed");
        intake.replace(collection, Some(current));
        *collection.digest.lock() = digest;
        Ok(())
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
            tracing::error!(collection = name, %error, "the collection is unavailable");
            Current { layout, state: TableState::Unavailable }
        };
        let layout = match schema::describe(client, &collection.table).await {
            Ok(layout) => Arc::new(layout.with_feed(before.feed())),
            Err(schema::Error::NoTable { relation }) => {
                let collection = name;
                tracing::warn!(
                    collection,
                    relation,
                    "the table is gone: no documents until it is back"
                );
                return Ok(Current { layout: before, state: TableState::Missing });
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
        let state = match readiness {
            Readiness::Ready => TableState::Live,
            Readiness::Unreadable => {
                tracing::warn!(
                    collection = name,
                    relation,
                    "another server has installed other triggers: reading again after each change"
                );
                TableState::ForeignTriggers
            }
            Readiness::Unheard => return Ok(unavailable(Arc::clone(&layout), &layout.unheard())),
            Readiness::Incomplete => {
                let relation = relation.to_owned();
                return Ok(unavailable(layout, &schema::Error::NotInstalled { relation }));
            }
        };
        Ok(Current { layout, state })
    }
}
