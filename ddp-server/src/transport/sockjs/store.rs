//! An endpoint's sessions by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::config::SockJsConfig;
use super::session::Session;
use crate::transport::Shares;
use crate::transport::share::{Address, Share};

/// A bounded set of sessions.
#[derive(Debug)]
pub(super) struct Store {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    shares: Arc<Shares>,
    sessions_max: usize,
    silent_delay: Duration,
    disconnect_delay: Duration,
}

/// Why there can be no more sessions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    /// There are too many.
    Full,
    /// The client's address has too many.
    Share,
}

impl Store {
    pub(super) fn new(options: &SockJsConfig) -> Self {
        let &SockJsConfig { sessions_max, silent_delay, disconnect_delay, .. } = options;
        let share = || sessions_max.div_ceil(4).saturating_mul(3);
        let per_address_max = options.sessions_per_address_max.unwrap_or_else(share);
        Self {
            sessions: Mutex::default(),
            shares: Shares::new(per_address_max),
            sessions_max,
            silent_delay,
            disconnect_delay,
        }
    }

    /// The session of this name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Session>> {
        self.sessions.lock().get(name).cloned()
    }

    /// The session of this name, and whether it is new. Then it is one of the client's address, if
    /// that is known.
    pub(super) fn find_or_open(
        self: &Arc<Self>,
        name: &str,
        address: impl FnOnce() -> Option<Address>,
    ) -> Result<(Arc<Session>, bool), Refused> {
        let mut sessions = self.sessions.lock();
        if let Some(session) = sessions.get(name) {
            return Ok((Arc::clone(session), false));
        }
        if sessions.len() >= self.sessions_max {
            return Err(Refused::Full);
        }
        let share = match address() {
            Some(address) => Some(self.shares.take(address).ok_or(Refused::Share)?),
            None => None,
        };
        let session = Arc::new(Session::new());
        sessions.insert(name.to_owned(), Arc::clone(&session));
        drop(sessions);
        tokio::spawn(Arc::clone(self).forget(name.to_owned(), Arc::clone(&session), share));
        Ok((session, true))
    }

    /// Ends the session when its time has come.
    ///
    /// Requests do not notify this task: it checks when it wakes, at most once per disconnect
    /// delay.
    async fn forget(self: Arc<Self>, name: String, session: Arc<Session>, _share: Option<Share>) {
        while let Some(until) = session.kept_until(self.silent_delay, self.disconnect_delay) {
            tokio::time::sleep_until(until).await;
        }
        session.interrupt();
        self.sessions.lock().remove(&name);
    }
}
