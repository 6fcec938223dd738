//! What results of methods take until their clients have taken them.
//!
//! How large a result is shows when it is there. So a method is believed to return as much as it did
//! last: if that was more than 64 KiB, a call [asks](Memory::ask) for so much before it runs, and waits
//! while the clients of its address have not taken what there is for them. Otherwise a thousand calls of
//! a few bytes each would have a thousand results in memory at once. What a result really has is
//! [taken](Memory::take) when it is there, whoever expected what.
//!
//! | a method has returned | a call of it, before it runs |
//! |---|---|
//! | nothing yet | has one of [`PLACES`], half of which are for one address, until it ends or for [`SLOW`]; when one has returned, all others that wait go on |
//! | at most 64 KiB each time | waits for nothing |
//! | more | has memory for as much as it returned last, or less after smaller ones, but not less than [`GUESS_MIN`] or the largest |

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ddp_core::session::LARGE_MESSAGE_BYTES;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, Either, Shared};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::transport::{Address, Asking, Memory, Share};

/// The part of the difference by which a smaller result makes less be expected.
const PART: usize = 16;

/// What is expected at least of a method that has returned as much. Whoever chooses the parameters
/// chooses how large a result is, so small ones do not mean that the next are.
const GUESS_MIN: usize = 1 << 20;

/// How many calls of a method run at once of which nothing is known.
const PLACES: usize = 32;

/// Who takes longer gives its place to another, so that methods that wait for something, such as another
/// call, keep nobody waiting for long.
const SLOW: Duration = Duration::from_secs(1);

/// While a method has returned nothing.
const UNKNOWN: usize = usize::MAX;

/// How many bytes a method's result may have.
#[derive(Debug)]
pub(crate) struct Expected {
    /// [`UNKNOWN`], or 0 if that is nothing to ask for.
    bytes: AtomicUsize,
    /// What the largest had.
    most: AtomicUsize,
    places: Arc<Memory>,
    /// Dropped by the first result.
    unknown: Mutex<Option<oneshot::Sender<()>>>,
    /// Ready when it is there.
    known: Shared<oneshot::Receiver<()>>,
}

impl Default for Expected {
    fn default() -> Self {
        let (unknown, known) = oneshot::channel();
        Self {
            bytes: AtomicUsize::new(UNKNOWN),
            most: AtomicUsize::new(0),
            places: Memory::new(PLACES, 0),
            unknown: Mutex::new(Some(unknown)),
            known: known.shared(),
        }
    }
}

impl Expected {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A result had so many.
    fn note(&self, bytes: usize) {
        let bytes = counted(bytes);
        if bytes == 0 && self.bytes() == 0 {
            return;
        }
        let least = self.most.fetch_max(bytes, Ordering::Relaxed).max(bytes).min(GUESS_MIN);
        let next = |before: usize| match before {
            UNKNOWN => bytes,
            _ if bytes >= before => bytes,
            _ => (before - (before - bytes).div_ceil(PART)).max(least),
        };
        let before = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(next(before)));
        if before == Ok(UNKNOWN) {
            drop(self.unknown.lock().take());
        }
    }
}

/// Small results do not count.
const fn counted(bytes: usize) -> usize {
    if bytes > LARGE_MESSAGE_BYTES { bytes } else { 0 }
}

/// Tells calls that have not begun when their client is gone: nobody wants them any more, and however
/// many clients leave some behind, none stays.
#[derive(Debug, Default)]
pub(super) struct Presence(Option<(oneshot::Sender<()>, Gone)>);

/// Ready when the client is gone.
type Gone = Shared<oneshot::Receiver<()>>;

impl Presence {
    fn gone(&mut self) -> Gone {
        let begin = || {
            let (is_here, gone) = oneshot::channel();
            (is_here, gone.shared())
        };
        self.0.get_or_insert_with(begin).1.clone()
    }
}

/// What a call needs to know of the memory of its result.
pub(super) struct Room {
    expected: Arc<Expected>,
    memory: Arc<Memory>,
    address: Option<Address>,
    /// Of a call that may have to wait.
    gone: Option<Gone>,
}

impl Room {
    /// Of a call with so many bytes of parameters.
    pub(super) fn new(
        expected: &Arc<Expected>,
        memory: &Arc<Memory>,
        address: Option<&Address>,
        params_bytes: usize,
        client: &mut Presence,
    ) -> Self {
        // Those of a large message are memory that others wait for, so they do not wait for anything.
        let asks = expected.bytes() > 0 && counted(params_bytes) == 0;
        Self {
            gone: asks.then(|| client.gone()),
            expected: Arc::clone(expected),
            memory: Arc::clone(memory),
            address: address.cloned(),
        }
    }

    /// Waits until the call may run, and tells what for if it has to.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn wait(&mut self, tell: impl FnMut(For)) -> Result<Asked, ClientGone> {
        let Some(gone) = self.gone.take() else { return Ok(Asked::Nothing) };
        // Few calls wait, and the others need not be as large.
        let asked = Box::pin(self.ask(tell));
        match future::select(asked, gone).await {
            Either::Left((asked, _)) => Ok(asked),
            Either::Right(_) => Err(ClientGone),
        }
    }

    async fn ask(&self, mut tell: impl FnMut(For)) -> Asked {
        let address = self.address.as_ref();
        if self.expected.bytes() == UNKNOWN {
            let place = pin!(given(self.expected.places.ask(address, 1), || tell(For::First)));
            let first = future::select(place, self.expected.known.clone()).await;
            if let Either::Left((place, _)) = first
                && self.expected.bytes() == UNKNOWN
            {
                return Asked::Place(place);
            }
        }
        loop {
            let bytes = self.expected.bytes().min(self.memory.each_max());
            if bytes == 0 {
                return Asked::Nothing;
            }
            let share = given(self.memory.ask(address, bytes), || tell(For::Memory)).await;
            // Much more may be expected by now.
            if self.expected.bytes().min(self.memory.each_max()) <= bytes.saturating_mul(2) {
                return Asked::Memory(share);
            }
        }
    }

    /// The memory of a result, which is there; `None` of an error, which says nothing about results.
    pub(super) fn take(self, result: Option<Option<&str>>) -> Option<Share> {
        let bytes = result?.map_or(0, str::len);
        self.expected.note(bytes);
        let bytes = counted(bytes);
        (bytes > 0).then(|| self.memory.take(self.address.as_ref(), bytes))
    }
}

/// What was asked for; tells if that is not there at once.
async fn given(mut asking: Asking, tell: impl FnOnce()) -> Share {
    if let Some(share) = (&mut asking).now_or_never() {
        return share;
    }
    tell();
    asking.await
}

/// What a call waits for before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Memory of its result.
    Memory,
    /// The first result of its method.
    First,
}

/// What a call has while it runs.
#[derive(Debug)]
pub(super) enum Asked {
    Nothing,
    /// One of those of a method that has returned nothing yet.
    Place(#[expect(dead_code, reason = "it is had")] Share),
    Memory(#[expect(dead_code, reason = "it is had")] Share),
}

impl Asked {
    /// Runs the call.
    pub(super) async fn run<T>(&mut self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        if matches!(self, Self::Place(_)) {
            if let Ok(result) = timeout(SLOW, &mut call).await {
                return result;
            }
            *self = Self::Nothing;
        }
        call.await
    }
}

/// Nobody is there any more who wanted the call.
#[derive(Debug)]
pub(super) struct ClientGone;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_believed_to_return_what_it_did_last() {
        let expected = Expected::default();
        assert_eq!(expected.bytes(), UNKNOWN);
        expected.note(LARGE_MESSAGE_BYTES);
        assert_eq!(expected.bytes(), 0);
        expected.note(4 << 20);
        assert_eq!(expected.bytes(), 4 << 20);
        expected.note(10);
        assert_eq!(expected.bytes(), (4 << 20) - (4 << 20) / PART);
        for _ in 0..100 {
            expected.note(10);
        }
        assert_eq!(expected.bytes(), GUESS_MIN);

        let expected = Expected::default();
        expected.note(100_000);
        assert_eq!(expected.bytes(), 100_000);
        expected.note(10);
        assert_eq!(expected.bytes(), 100_000, "as much as it has returned");
    }
}
