//! What large messages of all connections share: memory, and turns.
//!
//! A message of more than 64 KiB needs a [`Share`] before it is read, as large as the message may
//! become, and keeps it for as long as somebody keeps the message. Whoever reads or handles one that
//! has arrived takes a [turn](LargeMessages::turn) for that, since it may occupy a thread for tens of
//! milliseconds; half of the threads are left to others. Shares and turns are given in the order in
//! which they were asked for.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

/// A message of more bytes is a large one.
pub(crate) const LARGE_MESSAGE_BYTES: usize = 64 * 1024;

/// How long a large message may take to arrive once it has its memory, which others wait for, and
/// how long one that has arrived may wait for room.
pub(crate) const LARGE_MESSAGE_WITHIN: Duration = Duration::from_secs(60);

/// The memory and the turns.
pub(crate) struct LargeMessages {
    bytes: Arc<Semaphore>,
    bytes_max: u32,
    turns: Arc<Semaphore>,
}

impl LargeMessages {
    /// `bytes_max` is raised to what one message may have.
    pub(crate) fn new(bytes_max: usize, message_bytes_max: usize) -> Self {
        // More cannot be counted, and is no limit.
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let bytes_max = bytes_max.max(message_bytes_max).min(most);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            bytes: Arc::new(Semaphore::new(bytes_max)),
            // Below the largest number.
            bytes_max: bytes_max as u32,
            turns: Arc::new(Semaphore::new((threads / 2).max(1))),
        }
    }

    /// Waits for the memory of a message of so many bytes.
    pub(crate) fn share(&self, bytes: usize) -> BoxFuture<'static, Share> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let acquired = Arc::clone(&self.bytes).acquire_many_owned(count);
        async { Share(acquired.await.expect(NEVER_CLOSED)) }.boxed()
    }

    /// Waits for a turn, which lasts until the returned value is dropped.
    pub(crate) fn turn(&self) -> BoxFuture<'static, Turn> {
        let acquired = Arc::clone(&self.turns).acquire_owned();
        async { Turn(acquired.await.expect(NEVER_CLOSED)) }.boxed()
    }
}

const NEVER_CLOSED: &str = "these semaphores are never closed";

impl fmt::Debug for LargeMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.bytes.available_permits();
        f.debug_struct("LargeMessages").field("bytes_free", &free).finish_non_exhaustive()
    }
}

/// Memory for large messages, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Share {
    /// Adds another share of the same server.
    pub(crate) fn add(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    /// Splits off so many bytes, or what there is.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Self> {
        self.0.split(bytes.min(self.0.num_permits())).map(Self)
    }

    /// Gives back what is more than this.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        drop(self.split(self.0.num_permits().saturating_sub(bytes)));
    }
}

/// Until when somebody may hold what others wait for. It wakes the task by itself: whoever is silent
/// gives no other occasion to look.
#[derive(Debug)]
pub(crate) struct Deadline(Pin<Box<Sleep>>);

impl Deadline {
    /// [`LARGE_MESSAGE_WITHIN`] from now.
    pub(crate) fn begin() -> Self {
        Self(Box::pin(sleep_until(Instant::now() + LARGE_MESSAGE_WITHIN)))
    }

    /// Ready when it has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// A turn to read or handle a large message.
#[derive(Debug)]
pub(crate) struct Turn(
    #[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit,
);
