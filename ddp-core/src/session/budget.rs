//! How much of a client's messages a session keeps, in bytes.

use super::Session;

/// A message of more than this many bytes is a large one: 64 KiB.
pub const LARGE_MESSAGE_BYTES: usize = 64 * 1024;

/// What is needed for a message that waits, besides its text.
const WAITING_BYTES: usize = 64;

/// What is needed for a subscription or a call, besides what the client sent.
const RUNNING_BYTES: usize = 512;

/// What a session keeps.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Of messages that wait for their turn.
    inbox: usize,
    /// Of calls that have not finished.
    calls: usize,
    /// The largest part of these that belongs to a single call.
    large_call: usize,
    subscriptions: usize,
    /// Of all messages that are large ones, and wait or run.
    large: usize,
}

/// The part of a message that counts among large ones.
const fn large(bytes: usize) -> usize {
    if bytes > LARGE_MESSAGE_BYTES { bytes } else { 0 }
}

impl Budget {
    pub(super) fn push_waiting(&mut self, text: &str) {
        self.inbox += text.len() + WAITING_BYTES;
        self.large += large(text.len());
    }

    pub(super) fn pop_waiting(&mut self, text: &str) {
        self.inbox -= text.len() + WAITING_BYTES;
        self.large -= large(text.len());
    }

    pub(super) fn clear_waiting(&mut self) {
        self.inbox = 0;
    }

    /// Begins a call, and returns what it counts as.
    pub(super) fn begin_call(&mut self, text: &str) -> usize {
        let bytes = text.len() + RUNNING_BYTES;
        self.calls += bytes;
        self.large += large(text.len());
        self.large_call = self.large_call.max(large(text.len()));
        bytes
    }

    /// Ends a call, after which these run.
    pub(super) fn end_call(&mut self, ended: usize, others: impl Iterator<Item = usize>) {
        let large = |bytes| large(bytes - RUNNING_BYTES);
        self.calls -= ended;
        self.large -= large(ended);
        if large(ended) > 0 {
            self.large_call = others.map(large).max().unwrap_or_default();
        }
    }

    /// Begins a subscription if it fits, and returns what it counts as.
    pub(super) fn begin_subscription(&mut self, text: &str, bytes_max: usize) -> Option<u32> {
        let bytes = text.len() + RUNNING_BYTES;
        let fits = self.subscriptions.saturating_add(bytes) <= bytes_max;
        let counted = u32::try_from(bytes).ok().filter(|_| fits)?;
        self.subscriptions += bytes;
        Some(counted)
    }

    pub(super) fn end_subscription(&mut self, bytes: u32) {
        self.subscriptions -= bytes as usize;
    }

    /// What waits or runs, without the largest call.
    const fn passing(&self) -> usize {
        self.inbox + self.calls - self.large_call
    }
}

impl Session {
    /// Whether another message fits. One always fits if nothing waits or runs.
    pub(super) fn has_room(&self) -> bool {
        let passing = self.budget.passing();
        passing == 0 || passing + self.budget.subscriptions < self.bytes_max
    }

    /// How many bytes of its client's messages the session keeps, but for the largest call that
    /// runs.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.budget.passing() + self.budget.subscriptions
    }

    /// How many bytes of messages over [`LARGE_MESSAGE_BYTES`] wait or run.
    #[must_use]
    pub fn large_bytes(&self) -> usize {
        self.budget.large
    }

    /// Lowers [`session_bytes_max`](super::SessionConfig::session_bytes_max) for this session from
    /// now on, or raises it again.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max.min(self.config.session_bytes_max);
    }
}
