//! What results of methods take until their clients have taken them.
//!
//! How large a result is shows when it is there. So a method is believed to return as much as it did
//! last: if that was more than 16 KiB, a call [asks](Memory::ask) for so much before it runs, and waits
//! while the clients of its address have not taken what there is for them. Otherwise a thousand calls of
//! a few bytes each would have a thousand results in memory at once. What a result really has is
//! [taken](Memory::take) when it is there, whoever expected what.
//!
//! | a method has returned | a call of it, before it runs |
//! |---|---|
//! | nothing yet, or only errors | has one of [`PLACES`], an address at most half of them, until it ends or for [`SLOW`] |
//! | at most 16 KiB the last times | waits for nothing |
//! | more | has memory for as much as it returned last, or somewhat less after smaller ones |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ddp_core::session::LARGE_MESSAGE_BYTES;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, Either, Shared};
use tokio::time::timeout;

use crate::transport::large::TURN_BYTES;
use crate::transport::{Address, Asking, Memory, Share};

/// The part of the difference by which a smaller result makes less be expected.
const PART: usize = 16;

/// How many calls run at once of a method that has returned nothing yet.
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
    places: Arc<Memory>,
}

impl Default for Expected {
    fn default() -> Self {
        Self { bytes: AtomicUsize::new(UNKNOWN), places: Memory::new(PLACES, 0) }
    }
}

impl Expected {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A result had so many.
    fn note(&self, bytes: usize) {
        let bytes = counted(bytes);
        let next = |before: usize| match before {
            // Nothing is written when one small result follows another.
            _ if bytes == before => None,
            _ if bytes > before || before == UNKNOWN => Some(bytes),
            _ => Some(counted(before - (before - bytes).div_ceil(PART))),
        };
        // An error means that there was nothing to write.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
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
        // Those of a very large message are memory that others wait for, so they do not wait for anything.
        let asks = expected.bytes() > 0 && params_bytes <= TURN_BYTES;
        Self {
            gone: asks.then(|| client.gone()),
            expected: Arc::clone(expected),
            memory: Arc::clone(memory),
            address: address.cloned(),
        }
    }

    /// Waits until the call may run, and tells what for if it has to. What it returns is to be kept until
    /// the call has ended.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn wait(
        &mut self,
        tell: impl FnMut(For),
    ) -> Result<Option<Asked>, ClientGone> {
        let Some(gone) = self.gone.take() else { return Ok(None) };
        // Few calls wait, and the others need not be as large.
        let asked = Box::pin(self.ask(tell));
        match future::select(asked, gone).await {
            Either::Left((asked, _)) => Ok(asked),
            Either::Right(_) => Err(ClientGone),
        }
    }

    async fn ask(&self, mut tell: impl FnMut(For)) -> Option<Asked> {
        let address = self.address.as_ref();
        if self.expected.bytes() == UNKNOWN {
            let place = self.expected.places.ask(address, 1);
            let place = given(place, || tell(For::First)).await;
            if self.expected.bytes() == UNKNOWN {
                return Some(Asked::Place(lend(place)));
            }
            // Given back at once, so that all who wait for one go on.
        }
        let bytes = self.expected.bytes();
        if bytes == 0 {
            return None;
        }
        let share = given(self.memory.ask(address, bytes), || tell(For::Memory)).await;
        Some(Asked::Memory(share))
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

/// Lends a place until the call ends, which drops what this returns, or has taken too long.
fn lend(place: Share) -> oneshot::Sender<()> {
    let (call, ended) = oneshot::channel();
    tokio::spawn(async move {
        // Either way it is over.
        let _ = timeout(SLOW, ended).await;
        drop(place);
    });
    call
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
    /// One of those of a method that has returned nothing yet.
    Place(#[expect(dead_code, reason = "it is had")] oneshot::Sender<()>),
    Memory(#[expect(dead_code, reason = "it is had")] Share),
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
        assert_eq!(expected.bytes(), 0);
    }
}
