//! Sets of keys that change: they are read when they are needed, and kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::fetch::Source;
use super::key::{self, Key};
use super::refusal::Refusal;

/// A set is read at most so often, however many tokens name keys that are not in it.
pub(super) const READ_EVERY: Duration = Duration::from_secs(60);

/// A set that is older is read again before it is used, so that keys which are taken back end.
pub(super) const OLD_AFTER: Duration = Duration::from_secs(600);

/// A set of keys somewhere else.
pub(super) struct RemoteKeys {
    source: Source,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those last read, which stay in use while the source is out of reach.
    keys: Arc<[Key]>,
    read: Option<Instant>,
    asked: Option<Instant>,
    /// The read that is under way, for all who wait for it.
    reading: Option<Shared<BoxFuture<'static, ()>>>,
}

impl RemoteKeys {
    pub(super) fn new(source: Source) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// The keys, which are read again if they are old or none of them is meant.
    pub(super) async fn for_token(
        self: &Arc<Self>,
        algorithm: &str,
        id: Option<&str>,
    ) -> Result<Arc<[Key]>, Refusal> {
        if let Some(reading) = self.reading(algorithm, id) {
            reading.await;
        }
        let keys = Arc::clone(&self.state.lock().keys);
        if keys.is_empty() { Err(Refusal::NoKeys) } else { Ok(keys) }
    }

    /// A read to wait for, if there is one.
    fn reading(
        self: &Arc<Self>,
        algorithm: &str,
        id: Option<&str>,
    ) -> Option<Shared<BoxFuture<'static, ()>>> {
        let mut state = self.state.lock();
        let is_old = state.read.is_none_or(|at| at.elapsed() >= OLD_AFTER);
        if !is_old && state.keys.iter().any(|key| key.is_meant(algorithm, id)) {
            return None;
        }
        if state.reading.is_some() || state.asked.is_some_and(|at| at.elapsed() < READ_EVERY) {
            return state.reading.clone();
        }
        state.asked = Some(Instant::now());
        // A task of its own: it goes on when whoever waits for it has gone.
        let task = tokio::spawn(read(Arc::clone(self)));
        let reading = async move { task.await.unwrap_or_default() }.boxed().shared();
        state.reading = Some(reading.clone());
        Some(reading)
    }
}

async fn read(remote: Arc<RemoteKeys>) {
    let read = remote.source.read().await.and_then(|text| key::of_set(&text));
    let mut state = remote.state.lock();
    state.reading = None;
    match read {
        Ok(keys) => {
            state.keys = keys.into();
            state.read = Some(Instant::now());
        }
        Err(error) => {
            let kept = state.keys.len();
            drop(state);
            tracing::warn!(from = %remote.source, error, kept, "keys of tokens could not be read");
        }
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys").field("source", &self.source).finish_non_exhaustive()
    }
}
