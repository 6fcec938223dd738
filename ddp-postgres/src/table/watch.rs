//! Notices changes to tables and triggers while the server is running.
//!
//! No trigger reports an `ALTER TABLE`, an attached partition or a dropped trigger. A cheap query
//! over the catalogs does, every few seconds: if its answer for a table has changed, the table is
//! described again, its triggers are reinstalled if needed, and its live queries are planned and
//! read again. So it is if queries have read another table of its name, or parts of it, that the last
//! look did not see: they may have come and gone in the meantime. A table that cannot be published is looked at again from time to time, since what is
//! wrong may be put right without the catalogs' showing it.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ddp_server::log::{Count, Log};
use deadpool_postgres::Object;
use tokio::sync::mpsc;

use super::collection::{Current, TableCollection, TableState};
use super::queue::Queue;
use super::repeat::{self, Repeated};
use super::retry::Failure;
use super::{Table, secret};
use crate::error::Error;
use crate::intake::dispatch::Intake;
use crate::read::reader::Check;
use crate::schema::{self, Layout, Patience, Readiness};

/// How often a table is checked again at once if it changes during the check.
const ROUNDS: usize = 3;

/// Compares the tables with their last known state, periodically and on request.
pub(crate) struct Watch {
    pub(crate) intake: Weak<Intake>,
    pub(crate) every: Duration,
    /// Whether triggers may be installed while the server runs.
    pub(crate) install: bool,
    /// Whether changes come through the queue of notifications.
    pub(crate) notifies: bool,
}

/// A watch under way.
struct Watching {
    watch: Watch,
    queue: Queue,
    log: Log,
    /// Whether the last check failed that nobody asked for.
    has_failed: bool,
}

impl Repeated for Watching {
    async fn look(&mut self) -> ControlFlow<(), Result<(), Error>> {
        let intake = self.watch.intake.upgrade().filter(|intake| !intake.reader().is_closed());
        let Some(intake) = intake else { return ControlFlow::Break(()) };
        if self.watch.notifies
            && let Ok(client) = intake.reader().pool.get().await
            && let Err(error) = self.queue.look(&client).await
        {
            tracing::debug!(%error, "the queue of notifications could not be looked at");
        }
        ControlFlow::Continue(self.watch.check_tables(&intake).await)
    }

    fn tell(&mut self, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => self.has_failed = false,
            // The feed says so, too, when the database is out of reach.
            Err(error) if self.has_failed || error.is_transient() => {
                tracing::debug!(%error, "the tables could not be checked");
            }
            Err(error) => {
                self.log.line("no check", "", error, |_, error, count| {
                    tracing::error!(%error, count, "the tables could not be checked");
                });
                self.has_failed = true;
            }
        }
    }
}

impl Watch {
    /// Checks the tables repeatedly, until the database handle is closed or dropped.
    pub(crate) async fn run(self, checks: mpsc::Receiver<Check>) {
        let of = |intake: Arc<Intake>| {
            (intake.reader().log.clone(), Arc::clone(&intake.reader().announced))
        };
        let Some((log, announced)) = self.intake.upgrade().map(of) else { return };
        let every = self.every;
        let watching = Watching { watch: self, queue: Queue::default(), log, has_failed: false };
        repeat::run(checks, announced, every, watching).await;
    }

    /// Compares the tables with what they were, and acts on what has changed. What goes wrong with one
    /// table does not keep others from being checked.
    async fn check_tables(&self, intake: &Arc<Intake>) -> Result<(), Error> {
        let mut client = intake.reader().pool.get().await?;
        let collections: Vec<_> = intake.collections().collect();
        collections.iter().for_each(|collection| collection.watched.lock().begin_check());
        let layouts: Vec<Arc<Layout>> = collections.iter().map(|c| c.layout()).collect();
        let digests = schema::digests(&client, layouts.iter().map(|layout| &**layout)).await?;
        let mut outcome = Ok(());
        for (collection, digest) in collections.into_iter().zip(digests) {
            let look = collection.watched.lock().next_look(&digest);
            if let Some(patience) = look {
                let checked =
                    self.check_table(intake, &mut client, collection, digest, patience).await;
                outcome = outcome.and(checked);
            } else if collection.current().state == TableState::Partial {
                intake.replace(collection, None);
            }
        }
        outcome
    }

    async fn check_table(
        &self,
        intake: &Arc<Intake>,
        client: &mut Object,
        collection: &Arc<TableCollection>,
        mut digest: String,
        patience: Patience,
    ) -> Result<(), Error> {
        let mut found = self.look_at(intake, client, collection, patience).await?;
        for _ in 1..ROUNDS {
            let now = schema::digests(client, std::iter::once(&*found.current.layout)).await?;
            let is_settled = now.first() == Some(&digest) && !found.is_passed;
            digest = now.into_iter().next().unwrap_or_default();
            if is_settled {
                break;
            }
            found = self.look_at(intake, client, collection, patience).await?;
        }
        let Found { current, failure, .. } = found;
        let before = collection.current();
        let log = &intake.reader().log;
        let mut watched = collection.watched.lock();
        let name = collection.table.collection_name();
        let is_new = watched.is_doubted() || watched.digest != digest || current != before;
        if let Some(failure) = &failure
            && watched.is_new_failure(failure)
        {
            let (now, error) = (current.state.words(), failure.text.as_str());
            let count: Count = |collection, error, count| {
                tracing::error!(collection, error, count, "the table cannot be published as it is");
            };
            if log.admits("unpublishable table", name, error, count) {
                tracing::error!(
                    collection = name,
                    now,
                    error,
                    "the table cannot be published as it is"
                );
            }
        } else if is_new {
            let (changed, now) = (before.layout.difference(&current.layout), current.state.words());
            let count: Count = |collection, changed, count| {
                tracing::info!(collection, changed, count, "the table has changed several times");
            };
            if log.admits("changed table", name, &changed, count) {
                tracing::info!(collection = name, changed, now, "the table has changed");
            }
            secret::warn(log, &collection.table, Some(&before.layout), &current.layout);
        }
        watched.note(digest, failure, patience);
        drop(watched);
        if is_new || current.state == TableState::Partial {
            if current.layout.has_policies() {
                intake.reader().forget_statements();
            }
            intake.replace(collection, Some(current));
        }
        Ok(())
    }

    /// Describes the table, and gives it its triggers if they are not right.
    async fn look_at(
        &self,
        intake: &Intake,
        client: &mut Object,
        collection: &TableCollection,
        patience: Patience,
    ) -> Result<Found, Error> {
        let before = collection.layout();
        let layout = match schema::describe(client, &collection.table).await {
            Ok(layout) => Arc::new(layout.with_feed(before.feed())),
            Err(schema::Error::NoTable { relation, .. }) => {
                let name = collection.table.collection_name();
                tell_that_it_is_gone(&intake.reader().log, name, &relation);
                // One of another name may still have the triggers.
                return Ok(match schema::stop(client, &before, patience).await {
                    Ok(()) => Found::new(before, TableState::Missing),
                    Err(error) => Found::failed(before, TableState::Missing, &error),
                });
            }
            Err(error @ schema::Error::Database(_)) => return Err(error.into()),
            Err(error) if error.is_of_table() => {
                return Ok(match schema::stop(client, &before, patience).await {
                    Ok(()) => Found::unavailable(before, &error),
                    Err(stop) => {
                        let failure = Some(Failure::new(&error).and(&stop));
                        Found { failure, ..Found::unavailable(before, &error) }
                    }
                });
            }
            Err(error) => return Ok(Found::unavailable(before, &error)),
        };
        if let Err(error) = layout.check_row_security() {
            return Ok(Found::unavailable(layout, &error));
        }
        match schema::check_readable(client, &[&layout]).await {
            Err(error @ schema::Error::Database(_)) => return Err(error.into()),
            Err(error) => return Ok(Found::unavailable(layout, &error)),
            Ok(()) => {}
        }
        self.make_ready(intake, client, collection, layout, patience).await
    }

    /// Gives a table that can be published its triggers if they are not right.
    async fn make_ready(
        &self,
        intake: &Intake,
        client: &mut Object,
        collection: &TableCollection,
        layout: Arc<Layout>,
        patience: Patience,
    ) -> Result<Found, Error> {
        let is_wanted = *layout != *collection.layout() || collection.watched.lock().has_failed();
        let mut readiness = schema::inspect(&***client, &layout).await?.readiness(&layout);
        // What another server has installed for the same table is left to it, or two servers would
        // take turns.
        let must_install = match readiness {
            Readiness::Ready | Readiness::Unreadable => is_wanted,
            Readiness::Unheard => false,
            Readiness::Incomplete => true,
        };
        if self.install && must_install {
            match schema::install_one(client, &layout, patience).await {
                Ok(()) => {
                    readiness = schema::inspect(&***client, &layout).await?.readiness(&layout);
                    if readiness == Readiness::Incomplete {
                        // Of what they were installed for something is gone.
                        let relation = layout.relation().to_owned();
                        let changed = schema::Error::Changed { relation };
                        return Ok(Found::not_installed(layout, readiness, &changed));
                    }
                }
                Err(schema::Error::NewerFormat { .. }) => {}
                Err(error) if error.is_of_connection() => return Err(error.into()),
                Err(error) => return Ok(Found::not_installed(layout, readiness, &error)),
            }
        }
        if readiness == Readiness::Incomplete
            && !is_still_so(client, &collection.table, &layout).await?
        {
            // What lacks its triggers is gone, or others have just come.
            let changed = schema::Error::Changed { relation: layout.relation().to_owned() };
            return Ok(Found::not_installed(layout, readiness, &changed));
        }
        let (name, log) = (collection.table.collection_name(), &intake.reader().log);
        Ok(Found::installed(layout, readiness, name, log))
    }
}

fn tell_that_it_is_gone(log: &Log, collection: &str, relation: &str) {
    log.line("no table", collection, relation, |collection, relation, count| {
        tracing::warn!(
            collection,
            relation,
            count,
            "the table is gone: no documents until it is back"
        );
    });
}

/// Whether a table is still as it was described.
async fn is_still_so(client: &Object, table: &Table, layout: &Layout) -> Result<bool, Error> {
    match schema::describe(client, table).await {
        Ok(now) => Ok(now.with_feed(layout.feed()) == *layout),
        Err(schema::Error::Database(error)) => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// What a look at a table found.
struct Found {
    current: Current,
    failure: Option<Failure>,
    /// Whether the table was altered meanwhile, even if the catalogs look as before.
    is_passed: bool,
}

impl Found {
    fn new(layout: Arc<Layout>, state: TableState) -> Self {
        Self { current: Current { layout, state }, failure: None, is_passed: false }
    }

    fn failed(layout: Arc<Layout>, state: TableState, error: &schema::Error) -> Self {
        let is_passed = matches!(error, schema::Error::Changed { .. });
        let failure = Some(Failure::new(error));
        Self { failure, is_passed, ..Self::new(layout, state) }
    }

    fn unavailable(layout: Arc<Layout>, error: &schema::Error) -> Self {
        Self::failed(layout, TableState::Unavailable, error)
    }

    /// The triggers could not be made right, at least for now.
    fn not_installed(layout: Arc<Layout>, readiness: Readiness, error: &schema::Error) -> Self {
        let state = match readiness {
            // They tell every change, but perhaps not as the table is now.
            Readiness::Ready | Readiness::Unreadable => TableState::ReadAgain,
            _ if error.is_passing() => TableState::Partial,
            _ => TableState::Unavailable,
        };
        Self::failed(layout, state, error)
    }

    fn installed(layout: Arc<Layout>, readiness: Readiness, collection: &str, log: &Log) -> Self {
        let relation = layout.relation();
        match readiness {
            Readiness::Ready => {
                let state = TableState::of_complete(&layout);
                if state == TableState::ReadAgain {
                    log.line("temporary child", collection, relation, |collection, relation, count| {
                        tracing::warn!(
                            collection,
                            relation,
                            count,
                            "a session has a temporary child of it: reading again after each change"
                        );
                    });
                }
                Self::new(layout, state)
            }
            Readiness::Unreadable => {
                log.line("other triggers", collection, relation, |collection, relation, count| {
                    tracing::warn!(
                        collection,
                        relation,
                        count,
                        "another server has installed other triggers: reading again after each change"
                    );
                });
                Self::new(layout, TableState::ReadAgain)
            }
            Readiness::Unheard => Self::unavailable(Arc::clone(&layout), &layout.unheard()),
            Readiness::Incomplete => {
                let relation = relation.to_owned();
                Self::unavailable(layout, &schema::Error::NotInstalled { relation })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::fixture;
    use crate::value::ValueKind;

    #[test]
    fn what_was_altered_during_the_look_ends_no_subscription() {
        let layout = Arc::new(fixture::layout(&[("id", ValueKind::Text)], false));
        let changed = schema::Error::Changed { relation: "t".to_owned() };
        for (readiness, state) in [
            (Readiness::Incomplete, TableState::Partial),
            (Readiness::Ready, TableState::ReadAgain),
        ] {
            let found = Found::not_installed(Arc::clone(&layout), readiness, &changed);
            assert_eq!(found.current.state, state);
            assert!(found.is_passed && found.failure.is_some(), "it is looked at again");
        }
    }
}
