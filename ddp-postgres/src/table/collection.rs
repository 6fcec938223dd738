//! A registered table in its current state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ddp_core::DdpError;
use ddp_server::live_query::{Batch, Multiplexer};
use parking_lot::{Mutex, RwLock};

use crate::read::plan;
use crate::read::reader::Reader;
use crate::row::live::LiveRow;
use crate::schema::Layout;
use crate::table::Table;
use crate::table::retry::Watched;
use crate::table::tap::{self, Tap};

/// One registered table with its live queries.
pub(crate) struct TableCollection {
    pub(crate) table: Table,
    pub(crate) multiplexer: Arc<Multiplexer<LiveRow>>,
    /// The channel, which never changes.
    pub(crate) channel: String,
    current: RwLock<Current>,
    /// Whether the last read gave up waiting for the table's lock.
    is_locked: AtomicBool,
    /// Held by the only read that looks whether the lock is gone.
    probe: tokio::sync::Mutex<()>,
    /// What the last check found.
    pub(crate) watched: Mutex<Watched>,
    /// Who is told what is gone.
    tap: Option<Arc<dyn Tap>>,
}

/// What is currently known about the table.
#[derive(Clone, PartialEq)]
pub(crate) struct Current {
    pub(crate) layout: Arc<Layout>,
    pub(crate) state: TableState,
}

/// What can be done with the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableState {
    /// Every change is sent, and can be read.
    Live,
    /// Every change is sent, but its rows cannot be relied on: all queries read again. Another
    /// server's triggers send another format, or some session has a temporary child of the table.
    ReadAgain,
    /// Some changes may go unheard, since triggers are missing that cannot be installed for now.
    /// Queries read again after each change that is heard, and at each check. New ones are not refused:
    /// Meteor's clients do not ask again, and what is in the way passes.
    Partial,
    /// It does not exist. Queries show no documents until it does.
    Missing,
    /// It cannot be published: queries end with an error.
    Unavailable,
}

impl TableState {
    /// What it means, for the log.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Live => "its changes are followed",
            Self::ReadAgain => "it is read again after each change",
            Self::Partial => "it is read again at each check, until its triggers can be installed",
            Self::Missing => "it has no documents until it is back",
            Self::Unavailable => "its subscriptions end",
        }
    }

    /// The state of a table that has all its triggers.
    pub(crate) fn of_complete(layout: &Layout) -> Self {
        if layout.has_temporary_part() { Self::ReadAgain } else { Self::Live }
    }
}

impl TableCollection {
    pub(crate) fn new(table: Table, layout: Layout, digest: String) -> Self {
        let state = TableState::of_complete(&layout);
        Self {
            table,
            multiplexer: Multiplexer::new(layout.collection().to_string()),
            channel: layout.channel().to_owned(),
            is_locked: AtomicBool::new(false),
            probe: tokio::sync::Mutex::new(()),
            current: RwLock::new(Current { layout: Arc::new(layout), state }),
            watched: Mutex::new(Watched::new(digest)),
            tap: None,
        }
    }

    /// Tells somebody which rows are gone, from the beginning and for good.
    #[cfg(feature = "accounts")]
    pub(crate) fn set_tap(&mut self, tap: Arc<dyn Tap>) {
        self.tap = Some(tap);
    }

    /// Whether nobody needs to know of changes.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_tapped() && self.multiplexer.is_idle()
    }

    /// Whether somebody must know of changes even if there is no live query.
    pub(crate) fn is_tapped(&self) -> bool {
        self.tap.is_some()
    }

    /// Brings the live queries up to date. Whether some must be read.
    #[must_use]
    pub(crate) fn apply(&self, batch: Batch<LiveRow>) -> bool {
        if let Some(tap) = &self.tap {
            tap::tell(&**tap, &batch);
        }
        self.multiplexer.apply(batch)
    }

    /// Makes all live queries wait to be read again, since changes were missed. Says how many.
    pub(crate) fn reload_all(&self) -> usize {
        self.tell_missed();
        self.multiplexer.reload_all()
    }

    fn tell_missed(&self) {
        if let Some(tap) = &self.tap {
            tap.missed();
        }
    }

    /// Waits for its turn to read if somebody has locked the table: then one read at a time looks
    /// whether it still is, so that the others hold no connection.
    pub(crate) async fn turn_to_read(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if !self.is_locked.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.probe.lock().await)
    }

    /// Notes whether a read found the table locked.
    pub(crate) fn note_locked(&self, reader: &Reader, is_locked: bool) {
        if self.is_locked.swap(is_locked, Ordering::Relaxed) != is_locked && is_locked {
            let collection = self.table.collection_name();
            reader.log.line("table locked", collection, "", |collection, _, count| {
                tracing::warn!(
                    collection,
                    count,
                    "somebody has locked the table: reads of it wait"
                );
            });
        }
    }

    /// Notes which table or family a read saw: true if the catalogs must be looked at at once, since it is
    /// not the one that is known.
    #[must_use]
    pub(crate) fn note_family(&self, layout: &Layout, family: Option<i64>) -> bool {
        family != Some(layout.number_of_reads()) && self.watched.lock().doubt()
    }

    pub(crate) fn current(&self) -> Current {
        self.current.read().clone()
    }

    pub(crate) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.current.read().layout)
    }

    /// Replaces the table's description. All live queries are planned again and wait to be read again:
    /// true if there are any. Queries that no longer fit end with an error.
    ///
    /// No transaction's changes may be applied in the meantime, because rows belong to a layout.
    #[must_use]
    pub(crate) fn replace(&self, current: Current) -> bool {
        let layout = Arc::clone(&current.layout);
        *self.current.write() = current;
        self.tell_missed();
        self.multiplexer.replan(|query| {
            plan::plan(&layout, query)
                .map_err(|error| DdpError::new("collection-changed", error.text_for_clients()))
        })
    }

    /// What subscribers of an unpublishable table get; the log says why.
    pub(crate) fn unavailable(&self) -> DdpError {
        let name = self.table.collection_name();
        DdpError::new("collection-unavailable", format!("collection {name:?} is unavailable"))
    }
}
