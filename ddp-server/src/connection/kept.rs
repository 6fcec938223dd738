//! What sessions keep of their clients' messages, all together.
//!
//! Each session has [`FREE_BYTES`] without asking. What it keeps besides is of two kinds.
//! Subscriptions stay for as long as their client likes, so one that finds no memory waits for it, and
//! an address has at most half: see [`Memory`]. It waits for a minute at most, since it and what is behind
//! it may have memory of large messages meanwhile. Messages that wait and calls that run pass by
//! themselves, so a session for which nothing is left gets along with what is free, and reads on when
//! some of its own have passed; an address has at most half of that, too. The two are apart, so that what
//! waits for memory never holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use ddp_core::Session;
use ddp_core::session::LARGE_MESSAGE_BYTES;
use futures::FutureExt;

use super::together::{Addresses, Together, change};
use crate::transport::{Address, Asking, Deadline, LargeMessages, Memory, Share};

/// What each session may keep without asking.
const FREE_BYTES: usize = LARGE_MESSAGE_BYTES;

const _: () = assert!(LARGE_MESSAGE_BYTES == crate::transport::large::LARGE_MESSAGE_BYTES);

/// What all sessions keep beyond [`FREE_BYTES`] each.
#[derive(Debug)]
pub(crate) struct KeptBytes {
    subscriptions: Arc<Memory>,
    passing: AtomicUsize,
    passing_max: usize,
    addresses: Arc<Addresses>,
}

impl KeptBytes {
    /// At most so many bytes, three quarters of them for subscriptions.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        let passing_max = bytes_max / 4;
        let subscriptions = Memory::new(bytes_max - passing_max, 0);
        let (passing, addresses) = Default::default();
        Arc::new(Self { subscriptions, passing, passing_max, addresses })
    }

    /// What the clients of an address have together.
    pub(super) fn of(&self, address: Option<&Address>) -> Arc<Together> {
        self.addresses.of(address)
    }

    /// How much the subscriptions of a session may have at most, whatever others have.
    pub(crate) fn session_bytes_max(&self) -> usize {
        FREE_BYTES.saturating_add(self.subscriptions.each_max())
    }
}

/// What one session keeps, as far as others must know of it.
#[derive(Debug)]
pub(super) struct Kept {
    all: Arc<KeptBytes>,
    address: Option<Address>,
    /// What it has with others of its address.
    together: Arc<Together>,
    /// This session's part of what passes.
    passing: usize,
    /// The memory of its subscriptions beyond what is free.
    subscriptions: Option<Box<Share>>,
    /// What a `sub` waits for.
    more: Option<Box<Asking>>,
    /// Until when it may wait.
    until: Option<Box<Deadline>>,
    /// The memory of the large messages that came.
    large: Option<Box<Share>>,
    /// The same beyond what they had asked for.
    there: Option<Box<Share>>,
    large_messages: Arc<LargeMessages>,
    /// The memory of large results that wait for the socket.
    results: Option<Box<Share>>,
    all_results: Arc<Memory>,
}

/// What becomes of a `sub` that wants memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// There is none, so it waits from now on.
    Waits,
    /// It is there.
    Given,
    /// It has waited for too long.
    Late,
}

/// Adds a share to those that there are, if any.
fn add(kept: &mut Option<Box<Share>>, share: Option<Share>) {
    match (kept, share) {
        (Some(kept), Some(share)) => kept.add(share),
        (kept @ None, share) => *kept = share.map(Box::new),
        (Some(_), None) => {}
    }
}

/// Keeps no more than this of a share.
fn shrink(kept: &mut Option<Box<Share>>, bytes: usize) {
    match kept {
        Some(share) if bytes > 0 => share.shrink_to(bytes),
        kept => *kept = None,
    }
}

/// Makes it so many bytes of what is there.
fn set(there: &mut Option<Box<Share>>, memory: &Arc<Memory>, of: Option<&Address>, bytes: usize) {
    let before = there.as_ref().map_or(0, |share| share.bytes());
    match there {
        Some(share) if bytes > before => share.add(memory.take(of, bytes - before)),
        None if bytes > 0 => *there = Some(Box::new(memory.take(of, bytes))),
        Some(share) if bytes > 0 => share.shrink_to(bytes),
        _ => *there = None,
    }
}

impl Kept {
    pub(super) fn new(
        all: Arc<KeptBytes>,
        large_messages: Arc<LargeMessages>,
        all_results: Arc<Memory>,
        address: Option<Address>,
    ) -> Self {
        let (passing, subscriptions, more, until, large, there, results) = Default::default();
        let together = all.of(address.as_ref());
        Self {
            all,
            address,
            together,
            passing,
            subscriptions,
            more,
            until,
            large,
            there,
            large_messages,
            results,
            all_results,
        }
    }

    /// Whose session it is.
    pub(super) fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// Adds the memory of a large message.
    pub(super) fn add(&mut self, share: Option<Share>) {
        add(&mut self.large, share);
    }

    /// Notes how many bytes of large messages there are, and of results. Results count as what is
    /// [there](Memory::take), and so does what messages have become beyond what they had asked for.
    pub(super) fn note_large(&mut self, messages: usize, results: usize) {
        let asked = self.large.as_ref().map_or(0, |share| share.bytes());
        let (memory, address) = (self.large_messages.memory(), self.address.as_ref());
        set(&mut self.there, memory, address, messages.saturating_sub(asked));
        set(&mut self.results, &self.all_results, address, results);
        // The memory of a call goes only after its result counts.
        shrink(&mut self.large, messages);
    }

    /// Notes what the session keeps now.
    pub(super) fn update(&mut self, session: &mut Session) {
        self.note(session.subscription_bytes(), session.kept_bytes());
        self.give(session);
        self.until.take_if(|_| session.subscription_bytes_wanted() == 0);
    }

    /// Notes how many bytes its subscriptions need, and what it keeps with these.
    fn note(&mut self, subscriptions: usize, kept: usize) {
        let wanted = subscriptions.saturating_sub(FREE_BYTES);
        shrink(&mut self.subscriptions, wanted);
        self.set_passing(kept.saturating_sub(FREE_BYTES + self.shared().min(wanted)));
    }

    /// What its subscriptions have been given beyond that.
    fn shared(&self) -> usize {
        self.subscriptions.as_ref().map_or(0, |share| share.bytes())
    }

    fn set_passing(&mut self, passing: usize) {
        let mut before = self.passing;
        change(&self.together.passing, &mut before, passing);
        change(&self.all.passing, &mut self.passing, passing);
    }

    /// How much the session may keep before it reads no more.
    pub(super) fn bytes_max(&self) -> usize {
        let left = |max: usize, sum: &AtomicUsize| max.saturating_sub(sum.load(Ordering::Relaxed));
        let max = self.all.passing_max;
        let left = left(max, &self.all.passing).min(left(max / 2, &self.together.passing));
        self.subscriptions_max().saturating_add(self.passing).saturating_add(left)
    }

    /// How much its subscriptions may have.
    fn subscriptions_max(&self) -> usize {
        FREE_BYTES + self.shared()
    }

    /// Tells the session how much its subscriptions may have.
    pub(super) fn give(&self, session: &mut Session) {
        session.give_subscription_bytes(self.subscriptions_max());
    }

    /// Whether a `sub` waits for memory.
    pub(super) fn wants_more(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.is_waiting())
    }

    /// Ready if there is something to tell of the `sub` that wants memory. What is there is to be
    /// [given](Self::give) before the next [update](Self::update).
    pub(super) fn poll_more(&mut self, session: &Session, cx: &mut Context<'_>) -> Poll<More> {
        let wanted = session.subscription_bytes_wanted().saturating_sub(self.subscriptions_max());
        if wanted == 0 {
            self.more = None;
            return Poll::Pending;
        }
        let ask = || Box::new(self.all.subscriptions.ask(self.address.as_ref(), wanted));
        let Poll::Ready(share) = self.more.get_or_insert_with(ask).poll_unpin(cx) else {
            if self.until.is_none() {
                self.until = Some(Box::new(Deadline::begin()));
                return Poll::Ready(More::Waits);
            }
            return self.poll_late(cx);
        };
        (self.more, self.until) = (None, None);
        add(&mut self.subscriptions, Some(share));
        Poll::Ready(More::Given)
    }

    /// Wants nothing for now; what it would be given, nobody else could have. It keeps its place.
    pub(super) fn poll_no_more(&mut self, cx: &mut Context<'_>) -> Poll<More> {
        if let Some(more) = &mut self.more {
            more.pause();
        }
        self.poll_late(cx)
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<More> {
        let Some(until) = &mut self.until else { return Poll::Pending };
        until.poll(cx).map(|()| More::Late)
    }

    /// The session is gone. Keeps the memory of what its client has not taken yet.
    pub(super) fn leave(mut self, bytes: usize) -> Option<Box<Share>> {
        self.note_large(0, bytes);
        self.results.take()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.set_passing(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leaves_half_of_what_passes_to_others() {
        let all = KeptBytes::new(400_000);
        let kept = |last: u8| {
            let large = Arc::new(LargeMessages::new(0, 0));
            let address = Address::of(&format!("192.0.2.{last}"));
            Kept::new(Arc::clone(&all), large, Memory::new(0, 0), Some(address))
        };
        let (mut hostile, same, other) = (kept(1), kept(1), kept(2));
        assert_eq!(same.bytes_max(), FREE_BYTES + 50_000);
        hostile.set_passing(60_000);
        assert_eq!(same.bytes_max(), FREE_BYTES);
        assert_eq!(other.bytes_max(), FREE_BYTES + 40_000);
        assert_eq!(hostile.bytes_max(), FREE_BYTES + 60_000, "what it has is its own");
        drop(hostile);
        assert_eq!(same.bytes_max(), FREE_BYTES + 50_000);
    }
}
