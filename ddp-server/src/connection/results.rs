//! What results of methods take until their clients have taken them.
//!
//! How large a result is shows when it is there. So a method is believed to return as much as it did
//! last: if that was more than 64 KiB, a call [asks](Memory::ask) for so much before it runs, and waits
//! while the clients of its address have not taken what there is for them. Otherwise a thousand calls of
//! a few bytes each would have a thousand results in memory at once. What a result really has is
//! [taken](Memory::take) when it is there, whoever expected what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ddp_core::session::LARGE_MESSAGE_BYTES;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, Either, Shared};

use crate::transport::{Address, Asking, Memory, Share};

/// The part of the difference by which a smaller result makes less be expected.
const PART: usize = 16;

/// How many bytes a method's result may have; 0 if that is nothing to ask for.
#[derive(Debug, Default)]
pub(crate) struct Expected(AtomicUsize);

impl Expected {
    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A result had so many.
    fn note(&self, bytes: usize) {
        let (bytes, before) = (counted(bytes), self.bytes());
        if bytes >= before {
            self.0.fetch_max(bytes, Ordering::Relaxed);
        } else {
            // If others note something at the same time, one of them is as good as the other.
            self.0.store(counted(before - (before - bytes).div_ceil(PART)), Ordering::Relaxed);
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
    asking: Option<(Asking, Gone)>,
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
        let bytes = expected.bytes();
        // Those of a large message are memory that others wait for, so they do not wait for anything.
        let asks = bytes > 0 && counted(params_bytes) == 0;
        Self {
            asking: asks.then(|| (memory.ask(address, bytes), client.gone())),
            expected: Arc::clone(expected),
            memory: Arc::clone(memory),
            address: address.cloned(),
        }
    }

    /// Waits until there is room for the result, and returns what was asked for, if anything was.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn wait(&mut self) -> Result<Option<Share>, ClientGone> {
        let Some((asking, gone)) = self.asking.take() else { return Ok(None) };
        match future::select(asking, gone).await {
            Either::Left((share, _)) => Ok(Some(share)),
            Either::Right(_) => Err(ClientGone),
        }
    }

    /// The memory of a result of so many bytes, which is there.
    pub(super) fn take(self, bytes: usize) -> Option<Share> {
        self.expected.note(bytes);
        let bytes = counted(bytes);
        (bytes > 0).then(|| self.memory.take(self.address.as_ref(), bytes))
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
