//! What a database has of accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::Client;

use super::install;
use super::revocations::Revocations;
use super::tables::{AccountsTables, LOGIN_TOKENS};
use crate::error::Error;
use crate::feed::Feed;
use crate::read::reader::Reader;
use crate::table::collection::TableCollection;

/// The tables, and who is told of their tokens.
pub(crate) struct Accounts {
    pub(super) tables: AccountsTables,
    pub(super) revocations: Arc<Revocations>,
    /// Whether transactions must be told that each of their statements sees what was committed before
    /// it. Rows that were waited for are then seen as the others left them.
    sets_isolation: AtomicBool,
}

impl Accounts {
    pub(crate) fn new(tables: AccountsTables) -> Self {
        Self { tables, revocations: Arc::default(), sets_isolation: AtomicBool::new(false) }
    }

    /// Sees to it that the tables are there, and may be used.
    pub(crate) async fn prepare(&self, client: &mut Client, install: bool) -> Result<(), Error> {
        install::prepare(client, &self.tables, install).await?;
        let sql = "SELECT pg_catalog.current_setting('default_transaction_isolation')";
        let level: String = client.query_one(sql, &[]).await?.try_get(0)?;
        self.sets_isolation.store(level != "read committed", Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn sets_isolation(&self) -> bool {
        self.sets_isolation.load(Ordering::Relaxed)
    }

    /// Has the table of the tokens tell what is gone, from the feed's first event on.
    pub(crate) fn begin(
        &self,
        reader: &Arc<Reader>,
        feed: Feed,
        collections: &mut [TableCollection],
    ) {
        let mut all = collections.iter_mut();
        if let Some(tokens) = all.find(|one| one.table.collection_name() == LOGIN_TOKENS) {
            tokens.set_tap(Arc::clone(&self.revocations) as _);
            self.revocations.begin(reader, feed, tokens.channel.clone());
        }
    }
}
