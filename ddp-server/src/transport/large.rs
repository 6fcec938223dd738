//! What large messages of all connections share: memory, and turns.
//!
//! A message needs a [share](super::Share) of [memory](Memory) before more than 16 KiB of it are read,
//! as large as the message may become, and keeps it for as long as somebody keeps the message. (Were
//! it given piece by piece, many could have some of it, and none the rest.) Whoever inflates
//! one that has arrived, or handles or encodes one over 64 KiB, takes a [turn](LargeMessages::turn) for
//! that, since it may occupy a thread for tens of milliseconds; half of the threads are left to others. Addresses
//! that wait for one are served by how long the turns were that they had while they did: see [`Turns`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::memory::Memory;
use super::share::Address;
use super::turns::{NextTurn, Turns};

/// A message of more bytes is a large one.
pub(crate) const LARGE_MESSAGE_BYTES: usize = 16 * 1024;

/// A message of more bytes takes so long that it needs a turn.
pub(crate) const TURN_BYTES: usize = 64 * 1024;

/// How long a large message may take to arrive once it has its memory, which others wait for, and
/// how long one that has arrived may wait for room.
const LARGE_MESSAGE_WITHIN: Duration = Duration::from_secs(60);

/// What has come at this speed extends the time for which nothing need come.
const BYTES_PER_SECOND: u64 = 500;

/// How long nothing need come of a large message.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// The memory and the turns.
pub(crate) struct LargeMessages {
    memory: Arc<Memory>,
    turns: Turns,
}

impl LargeMessages {
    /// `bytes_max` is raised to what one message may have.
    pub(crate) fn new(bytes_max: usize, message_bytes_max: usize) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            memory: Memory::new(bytes_max, message_bytes_max),
            turns: Turns::new((threads / 2).max(1)),
        }
    }

    /// The memory.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Asks for a turn to read or handle a large message of this address,
    /// or to encode a large result for it.
    pub(crate) fn turn(&self, address: Option<&Address>) -> NextTurn {
        self.turns.ask(address)
    }
}

impl fmt::Debug for LargeMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LargeMessages").field(&self.memory).finish()
    }
}

/// Until when somebody may hold what others wait for. It wakes the task by itself: whoever is silent
/// gives no other occasion to look.
#[derive(Debug)]
pub(crate) struct Deadline {
    since: Instant,
    /// How many bytes have come, if they must keep coming.
    received: Option<u64>,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    /// A minute from now.
    pub(crate) fn begin() -> Self {
        Self::new(None)
    }

    /// The same, or 10 seconds from now and a second more for each 500 bytes that come, if that is
    /// earlier.
    pub(crate) fn paced() -> Self {
        Self::new(Some(0))
    }

    fn new(received: Option<u64>) -> Self {
        let since = Instant::now();
        let sleep = Box::pin(sleep_until(since + SILENT_MAX));
        Self { since, received, sleep }
    }

    /// So many bytes have come.
    pub(crate) fn note(&mut self, bytes: usize) {
        if let Some(received) = &mut self.received {
            *received += bytes as u64;
        }
    }

    /// All of it has come. From now on it waits for others only, for a minute; saying it again does not
    /// prolong that.
    pub(crate) fn complete(&mut self) {
        if self.received.is_some() {
            *self = Self::begin();
        }
    }

    /// Nothing is read for a while, so nothing need come any more.
    pub(crate) fn excuse(&mut self) {
        self.received = None;
    }

    fn at(&self) -> Instant {
        let earned =
            |bytes: u64| SILENT_MAX + Duration::from_millis(bytes * 1000 / BYTES_PER_SECOND);
        let allowed = self.received.map_or(LARGE_MESSAGE_WITHIN, earned);
        self.since + allowed.min(LARGE_MESSAGE_WITHIN)
    }

    /// Ready when it has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let at = self.at();
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(at);
        }
    }

    /// What a future yields before it passes.
    #[cfg(feature = "sockjs")]
    pub(crate) async fn limit<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }
}
