//! Tells of login tokens that are gone, wherever they were removed: from the broadcasts of their table.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ddp_core::DocumentId;
use ddp_server::accounts::{OnRevocation, Revocation};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::feed::Feed;
use crate::read::reader::{RETRY_AFTER, Reader};
use crate::table::tap::Tap;

/// If more tokens wait to be told, all that are held are looked at instead.
const WAITING_MAX: usize = 10_000;

/// The first pause between two looks whether a streamed transaction is visible.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// The listeners, and what they are still to be told.
#[derive(Default)]
pub(crate) struct Revocations {
    waiting: Mutex<Waiting>,
    listeners: RwLock<Vec<OnRevocation>>,
    arrived: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    tokens: Vec<String>,
    missed: bool,
}

impl Revocations {
    /// Tells a function of every revocation from now on.
    pub(super) fn listen(&self, listener: OnRevocation) {
        self.listeners.write().push(listener);
    }

    /// Tells what arrives, in a task that ends with this. Feeds call under locks, and the listeners'
    /// work is not theirs.
    pub(crate) fn begin(self: &Arc<Self>, reader: &Arc<Reader>, feed: Feed, channel: String) {
        let (this, reader) = (Arc::downgrade(self), Arc::downgrade(reader));
        tokio::spawn(run(this, Arc::clone(&self.arrived), reader, feed, channel));
    }

    fn wait(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock());
        self.arrived.notify_one();
    }

    fn tell(&self, waiting: Waiting) {
        let tokens = waiting.tokens.into_iter().map(|hash| Revocation::Token(hash.into()));
        let told: Vec<_> = tokens.chain(waiting.missed.then_some(Revocation::All)).collect();
        let listeners = self.listeners.read().clone();
        for (listener, revocation) in
            listeners.iter().flat_map(|listener| told.iter().map(move |one| (listener, one)))
        {
            listener(revocation.clone());
        }
    }
}

impl Tap for Revocations {
    fn gone(&self, ids: &mut dyn Iterator<Item = &DocumentId>) {
        let mut ids = ids.map(text).peekable();
        if ids.peek().is_some() {
            self.wait(|waiting| waiting.add(ids));
        }
    }

    fn missed(&self) {
        self.wait(Waiting::miss);
    }
}

impl Drop for Revocations {
    fn drop(&mut self) {
        self.arrived.notify_one();
    }
}

impl Waiting {
    fn add(&mut self, tokens: impl Iterator<Item = String>) {
        for token in tokens {
            if self.missed || self.tokens.len() == WAITING_MAX {
                return self.miss();
            }
            self.tokens.push(token);
        }
    }

    fn miss(&mut self) {
        *self = Self { tokens: Vec::new(), missed: true };
    }

    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && !self.missed
    }
}

/// The key of the row that is this document.
fn text(id: &DocumentId) -> String {
    let id = id.as_str();
    id.strip_prefix('-').unwrap_or(id).to_owned()
}

async fn run(
    revocations: Weak<Revocations>,
    arrived: Arc<Notify>,
    reader: Weak<Reader>,
    feed: Feed,
    channel: String,
) {
    loop {
        arrived.notified().await;
        let (Some(revocations), Some(reader)) = (revocations.upgrade(), reader.upgrade()) else {
            return;
        };
        let waiting = std::mem::take(&mut *revocations.waiting.lock());
        if waiting.is_empty() {
            continue;
        }
        if feed == Feed::Wal && !is_visible(&reader, &channel).await {
            return;
        }
        revocations.tell(waiting);
    }
}

/// Waits until everybody sees what has been streamed: else a login could still find a token after it was
/// told that it is gone. False if the database is closed.
async fn is_visible(reader: &Reader, channel: &str) -> bool {
    let position = reader.visibility.position();
    let mut pause = LOOK_AGAIN_AFTER;
    while !reader.is_closed() {
        let read = reader.visibility.begin_read();
        match reader.snapshot().await {
            Ok(snapshot) if read.is_complete(channel, &snapshot, position) => {
                read.forget(&snapshot);
                return true;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "could not read which transactions are visible");
                pause = RETRY_AFTER;
            }
        }
        drop(read);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_AFTER);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_tell_is_looked_at_instead() {
        let revocations = Revocations::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        revocations.listen(Arc::new(move |revocation| listener.lock().push(revocation)));
        let take = || {
            revocations.tell(std::mem::take(&mut *revocations.waiting.lock()));
            std::mem::take(&mut *told.lock())
        };
        let ids: Vec<_> =
            (0..=WAITING_MAX).map(|id| DocumentId::from_string(&format!("-{id}"))).collect();
        revocations.gone(&mut std::iter::empty());
        assert!(revocations.waiting.lock().is_empty() && take().is_empty());
        revocations.gone(&mut ids[..2].iter());
        let token = |hash: &str| Revocation::Token(hash.into());
        assert_eq!(take(), [token("-0"), token("-1")]);
        revocations.gone(&mut ids[..WAITING_MAX].iter());
        assert_eq!(take().len(), WAITING_MAX);
        revocations.gone(&mut ids.iter());
        assert_eq!(take(), [Revocation::All]);
        revocations.missed();
        revocations.gone(&mut ids[..1].iter());
        assert_eq!(take(), [Revocation::All]);
    }
}
