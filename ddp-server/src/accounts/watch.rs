//! What is to be looked at again: tokens that may be gone, and those that have expired.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Beyond so many users, all are looked at.
const USERS_MAX: usize = 1000;

/// Whose tokens are to be looked at again.
#[derive(Default)]
pub(super) struct Watch {
    has_begun: AtomicBool,
    doubts: Mutex<Doubts>,
    doubted: Arc<Notify>,
}

/// Whose tokens may be gone.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    pub(super) all: bool,
    pub(super) users: HashSet<String>,
}

impl Watch {
    /// Whether this is the first call.
    pub(super) fn begins(&self) -> bool {
        !self.has_begun.swap(true, Ordering::Relaxed)
    }

    pub(super) fn doubt_user(&self, user_id: String) {
        let mut doubts = self.doubts.lock();
        doubts.users.insert(user_id);
        if doubts.users.len() >= USERS_MAX {
            *doubts = Doubts { all: true, users: HashSet::new() };
        }
        drop(doubts);
        self.doubted.notify_one();
    }

    pub(super) fn doubt_all(&self) {
        self.doubts.lock().all = true;
        self.doubted.notify_one();
    }

    /// They could not be settled.
    pub(super) fn doubt_again(&self, doubts: Doubts) {
        let mut now = self.doubts.lock();
        now.all |= doubts.all;
        now.users.extend(doubts.users);
    }

    /// Tells when there are doubts.
    pub(super) fn doubted(&self) -> Arc<Notify> {
        Arc::clone(&self.doubted)
    }

    pub(super) fn take(&self) -> Doubts {
        std::mem::take(&mut *self.doubts.lock())
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.doubts.lock().fmt(f)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // So that whoever waits finds out that there is nothing to wait for.
        self.doubted.notify_one();
    }
}
