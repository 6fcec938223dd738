//! Noticing that a table's triggers send by another feed than this server hears.
//!
//! Whoever installs triggers says so by both feeds. A server that does not hear them any more ends
//! the subscriptions of the table with an error, instead of showing what does not change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::db::{Inner, RETRY_AFTER, TableCollection};
use crate::error::Error;
use crate::schema;

/// Whether a collection's changes are sent by another feed.
#[derive(Debug, Default)]
pub(crate) struct Deafness(AtomicBool);

impl Deafness {
    pub(crate) fn is_deaf(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Inner {
    /// Looks by which feed the triggers send.
    pub(crate) fn check_installed(&self) {
        let Some(db) = self.weak().upgrade() else { return };
        tokio::spawn(async move {
            while !db.is_closed() {
                match db.try_check_installed().await {
                    Ok(()) => return,
                    Err(error) if error.is_transient() => {
                        tracing::debug!("the triggers could not be looked at: {error}");
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                    Err(error) => {
                        return tracing::error!("the triggers could not be looked at: {error}");
                    }
                }
            }
        });
    }

    async fn try_check_installed(&self) -> Result<(), Error> {
        let _looking = self.looking.lock().await;
        let client = self.pool.get().await?;
        for collection in self.collections.values() {
            let checked = schema::check_feed(&client, [&*collection.layout]).await;
            match checked {
                Ok(()) => self.set_deaf(collection, false),
                Err(error @ schema::Error::OtherFeed { .. }) => {
                    tracing::error!("subscriptions end: {error}");
                    self.set_deaf(collection, true);
                }
                // Nobody sends anything. The next statement to say so is the next installation's.
                Err(error @ schema::Error::NotInstalled { .. }) => tracing::error!("{error}"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn set_deaf(&self, collection: &Arc<TableCollection>, is_deaf: bool) {
        let was_deaf = collection.deafness.0.swap(is_deaf, Ordering::SeqCst);
        if is_deaf || was_deaf {
            self.spawn_loads(collection, collection.multiplexer.reload_all());
        }
    }
}
