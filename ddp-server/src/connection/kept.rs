//! What sessions keep of their clients' messages, all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ddp_core::Session;
use ddp_core::session::LARGE_MESSAGE_BYTES;

use crate::transport::Share;

/// What each session may keep without asking.
const FREE_BYTES: usize = LARGE_MESSAGE_BYTES;

const _: () = assert!(LARGE_MESSAGE_BYTES == crate::transport::large::LARGE_MESSAGE_BYTES);

/// What all sessions keep beyond [`FREE_BYTES`] each.
#[derive(Debug, Default)]
pub(crate) struct KeptBytes(AtomicUsize);

/// What one session keeps, as far as others must know of it.
#[derive(Debug)]
pub(super) struct Kept {
    all: Arc<KeptBytes>,
    all_max: usize,
    /// This session's part of `all`.
    beyond_free: usize,
    /// The memory of its large messages.
    share: Option<Share>,
}

impl Kept {
    pub(super) fn new(all: Arc<KeptBytes>, all_max: usize) -> Self {
        Self { all, all_max, beyond_free: 0, share: None }
    }

    /// Adds the memory of a large message.
    pub(super) fn add(&mut self, share: Option<Share>) {
        match (&mut self.share, share) {
            (Some(kept), Some(share)) => kept.add(share),
            (kept @ None, share) => *kept = share,
            (Some(_), None) => {}
        }
    }

    /// Notes what the session keeps now.
    pub(super) fn update(&mut self, session: &Session) {
        if let Some(share) = &mut self.share {
            match session.large_bytes() {
                0 => self.share = None,
                bytes => share.shrink_to(bytes),
            }
        }
        let beyond_free = session.kept_bytes().saturating_sub(FREE_BYTES);
        if beyond_free == 0 && self.beyond_free == 0 {
            return;
        }
        // The sum is a limit, not a lock: each change is seen by whoever comes next.
        let before = std::mem::replace(&mut self.beyond_free, beyond_free);
        self.all.0.fetch_add(beyond_free.wrapping_sub(before), Ordering::Relaxed);
    }

    /// How much the session may keep.
    pub(super) fn bytes_max(&self) -> usize {
        let left = self.all_max.saturating_sub(self.all.0.load(Ordering::Relaxed));
        FREE_BYTES + self.beyond_free + left
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.beyond_free, Ordering::Relaxed);
    }
}
