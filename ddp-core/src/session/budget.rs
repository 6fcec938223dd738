//! How much of a client's messages a session keeps, in bytes.

/// A message of more than this many bytes is a large one: 16 KiB.
pub const LARGE_MESSAGE_BYTES: usize = 16 * 1024;

/// What is needed for a message that waits, besides its text.
const WAITING_BYTES: usize = 64;

/// What a subscription or a call counts as for its own session, besides what the client sent.
const RUNNING_BYTES: usize = 512;

/// What is needed for a subscription besides what the client sent: here, and by whoever runs its
/// publication. It counts for what all sessions share, and takes nothing from what a client may have.
pub(super) const SUBSCRIPTION_BYTES: usize = 1024;

/// What a session keeps.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Of messages that wait for their turn.
    inbox: usize,
    /// Of calls that have not finished.
    calls: usize,
    /// The largest part of these that belongs to a single call.
    large_call: usize,
    /// As they count for the session.
    subscriptions: usize,
    subscription_count: usize,
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

    /// A call has its result, and its parameters are gone: only its id is kept. Returns what it counts as
    /// from now on.
    pub(super) fn shrink_call(
        &mut self,
        bytes: usize,
        id: &str,
        others: impl Iterator<Item = usize>,
    ) -> usize {
        self.end_call(bytes, others);
        let rest = id.len() + RUNNING_BYTES;
        self.calls += rest;
        rest
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

    /// What all subscriptions would count as for the session with another one.
    const fn with_subscription(&self, text: &str) -> usize {
        self.subscriptions + text.len() + RUNNING_BYTES
    }

    /// What would be needed for all subscriptions with another one.
    pub(super) const fn needed_with_subscription(&self, text: &str) -> usize {
        self.subscriptions() + text.len() + SUBSCRIPTION_BYTES
    }

    /// Whether another subscription counts as no more than `bytes_max`, and needs no more than
    /// `needed_max`, with all others.
    pub(super) const fn fits(&self, text: &str, bytes_max: usize, needed_max: usize) -> bool {
        self.with_subscription(text) <= bytes_max
            && self.needed_with_subscription(text) <= needed_max
    }

    /// Begins a subscription that fits, and returns what it counts as.
    pub(super) fn begin_subscription(&mut self, text: &str) -> Option<u32> {
        let all = self.with_subscription(text);
        let counted = u32::try_from(all - self.subscriptions).ok()?;
        self.subscriptions = all;
        self.subscription_count += 1;
        Some(counted)
    }

    /// Universal subscriptions have not begun here.
    pub(super) fn end_subscription(&mut self, bytes: u32) {
        self.subscriptions -= bytes as usize;
        self.subscription_count -= usize::from(bytes > 0);
    }

    /// What is needed for all subscriptions.
    pub(super) const fn subscriptions(&self) -> usize {
        self.subscriptions + self.subscription_count * (SUBSCRIPTION_BYTES - RUNNING_BYTES)
    }

    /// What counts of what waits or runs: all but the largest call.
    pub(super) const fn passing(&self) -> usize {
        self.inbox + self.calls - self.large_call
    }

    /// The same with what is needed for subscriptions.
    pub(super) const fn kept(&self) -> usize {
        self.passing() + self.subscriptions()
    }

    /// Of large messages that wait or run.
    pub(super) const fn large(&self) -> usize {
        self.large
    }

    /// Whether another message fits, for the session and as far as `kept_max` goes. One always fits if
    /// nothing waits or runs.
    pub(super) const fn has_room(&self, bytes_max: usize, kept_max: usize) -> bool {
        let passing = self.passing();
        passing == 0 || passing + self.subscriptions < bytes_max && self.kept() < kept_max
    }
}
