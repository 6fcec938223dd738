//! How much a transport does in one poll.

use std::task::Context;

/// What may be spent in one poll on what makes no message.
const MAX: u32 = 64;

/// The price of a read, which may be of 16 KiB.
pub(super) const READ: u32 = 7;

/// The price of a frame.
pub(super) const FRAME: u32 = 1;

/// The price of looking at so many bytes, which may have been inflated from few.
#[cfg(feature = "sockjs")]
pub(super) fn of(bytes: usize) -> u32 {
    u32::try_from(bytes / 2048).unwrap_or(u32::MAX)
}

/// What one poll may still spend before others have their turn.
///
/// Whoever drives a transport looks at the clock between two messages. Until there is one, a peer
/// that always has more bytes would otherwise keep the thread: with pings, empty frames, or what
/// is only thrown away.
#[derive(Debug)]
pub(super) struct Effort(u32);

impl Effort {
    /// That of a new poll.
    pub(super) fn new() -> Self {
        Self(MAX)
    }

    /// Whether there is enough left for this. If not, the task goes on after others: the poll is to
    /// end as pending.
    pub(super) fn allows(&mut self, price: u32, cx: &Context<'_>) -> bool {
        match self.0.checked_sub(price) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => {
                cx.waker().wake_by_ref();
                false
            }
        }
    }
}
