//! An endpoint's sessions by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::session::Session;

/// A bounded set of sessions.
#[derive(Debug)]
pub(super) struct Store {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    sessions_max: usize,
    disconnect_delay: Duration,
}

/// There are too many sessions.
#[derive(Debug)]
pub(super) struct Full;

impl Store {
    pub(super) fn new(sessions_max: usize, disconnect_delay: Duration) -> Self {
        Self { sessions: Mutex::default(), sessions_max, disconnect_delay }
    }

    /// The session of this name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Session>> {
        self.sessions.lock().get(name).cloned()
    }

    /// The session of this name, and whether it is new.
    pub(super) fn find_or_open(self: &Arc<Self>, name: &str) -> Result<(Arc<Session>, bool), Full> {
        let mut sessions = self.sessions.lock();
        if let Some(session) = sessions.get(name) {
            return Ok((Arc::clone(session), false));
        }
        if sessions.len() >= self.sessions_max {
            return Err(Full);
        }
        let session = Arc::new(Session::new());
        sessions.insert(name.to_owned(), Arc::clone(&session));
        drop(sessions);
        tokio::spawn(Arc::clone(self).forget(name.to_owned(), Arc::clone(&session)));
        Ok((session, true))
    }

    /// Ends the session when its time has come.
    ///
    /// Requests do not notify this task: it checks when it wakes, at most once per disconnect
    /// delay.
    async fn forget(self: Arc<Self>, name: String, session: Arc<Session>) {
        while let Some(until) = session.kept_until(self.disconnect_delay) {
            tokio::time::sleep_until(until).await;
        }
        session.interrupt();
        self.sessions.lock().remove(&name);
    }
}
