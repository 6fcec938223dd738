//! Memory that everybody shares, and nobody uses up.
//!
//! Whoever wants some [asks](Memory::ask) and waits until it is there. An address has at most half of it;
//! what it asks for beyond that waits for what it has itself, not for others. Addresses that wait
//! take turns by how much they got while they did, so that one that asks a thousand times is served
//! like one that asks once, and one that leaves and comes back like one that stays; what is asked for
//! and given up costs nothing. Nobody overtakes whoever is next: a large request does not starve.
//!
//! What is there already, and cannot wait, is [taken](Memory::take). It counts for its own address as
//! what was asked for does, but for others only as a quarter of the memory at most, and never so much
//! that one request of any size would not fit: however slowly some give it back, others are served.
//!
//! Clients whose address is not known are those of one address.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::share::Address;
use lines::Lines;

mod lines;
#[cfg(test)]
mod tests;

/// Somebody's address, or that of all who have none.
type Whose = Option<Address>;

/// So many bytes, shared.
pub(crate) struct Memory {
    lines: Mutex<Lines<Whose, oneshot::Sender<Share>>>,
    bytes_max: usize,
    each_max: usize,
}

impl Memory {
    /// Memory of `bytes_max`; one request can have at least `request_bytes_max` of it.
    pub(crate) fn new(bytes_max: usize, request_bytes_max: usize) -> Arc<Self> {
        let bytes_max = bytes_max.max(request_bytes_max);
        let each_max = (bytes_max / 2).max(request_bytes_max);
        Arc::new(Self { lines: Mutex::new(Lines::new(bytes_max, each_max)), bytes_max, each_max })
    }

    /// What an address may have.
    pub(crate) fn each_max(&self) -> usize {
        self.each_max
    }

    /// What all have together.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.lines.lock().taken()
    }

    /// Asks for so many bytes, or as many as an address may have.
    pub(crate) fn ask(self: &Arc<Self>, address: Option<&Address>, bytes: usize) -> Asking {
        let bytes = bytes.min(self.each_max);
        let number = self.lines.lock().next_number();
        let (memory, address) = (Arc::clone(self), address.cloned());
        let mut asking = Asking { memory, address, bytes, number, wanted: None };
        asking.wanted = Some(asking.line_up());
        asking
    }

    /// Takes so many bytes without waiting, for something that is there already. It may be more than
    /// there is, or than the address may have; then the address waits for longer.
    pub(crate) fn take(self: &Arc<Self>, address: Option<&Address>, bytes: usize) -> Share {
        let whose = address.cloned();
        self.lines.lock().take(&whose, bytes);
        Share { memory: Arc::clone(self), address: whose, bytes, was_asked_for: false }
    }

    /// Gives what there is to those who wait.
    fn give(self: &Arc<Self>) {
        let mut given = Vec::new();
        let mut lines = self.lines.lock();
        while let Some((address, bytes, to)) = lines.serve_next() {
            let memory = Arc::clone(self);
            given.push((to, Share { memory, address, bytes, was_asked_for: true }));
        }
        drop(lines);
        for (to, share) in given {
            // Nobody may want it any more; then it is given to others.
            drop(to.send(share));
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.lines.lock().taken();
        f.debug_struct("Memory")
            .field("bytes_max", &self.bytes_max)
            .field("taken", &taken)
            .finish_non_exhaustive()
    }
}

/// Waits for memory. Dropped, it wants none.
#[derive(Debug)]
pub(crate) struct Asking {
    memory: Arc<Memory>,
    address: Whose,
    bytes: usize,
    /// Its place among those of its address.
    number: u64,
    /// `None` while it wants nothing.
    wanted: Option<Wanted>,
}

/// What somebody asked for.
#[derive(Debug)]
enum Wanted {
    /// It was there at once.
    There(Share),
    /// It is given by whoever gives it back.
    Later(oneshot::Receiver<Share>),
}

impl Asking {
    fn line_up(&mut self) -> Wanted {
        if self.memory.lines.lock().serve_now(&self.address, self.bytes) {
            let (memory, address) = (Arc::clone(&self.memory), self.address.clone());
            return Wanted::There(Share {
                memory,
                address,
                bytes: self.bytes,
                was_asked_for: true,
            });
        }
        let (to, given) = oneshot::channel();
        self.memory.lines.lock().ask(&self.address, self.number, self.bytes, to);
        self.memory.give();
        Wanted::Later(given)
    }

    /// Whether it may be given something at any time, which nobody else can have then.
    pub(crate) fn is_waiting(&self) -> bool {
        self.wanted.is_some()
    }

    /// Wants nothing until it is polled again, and then has its place back.
    pub(crate) fn pause(&mut self) {
        let Some(wanted) = self.wanted.take() else { return };
        self.memory.lines.lock().withdraw(&self.address, self.number, self.bytes);
        // With what it was given meanwhile, if it was.
        drop(wanted);
        // Others may have waited behind it.
        self.memory.give();
    }
}

impl Future for Asking {
    type Output = Share;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Share> {
        let share = match self.wanted.take().unwrap_or_else(|| self.line_up()) {
            Wanted::There(share) => share,
            Wanted::Later(mut given) => match given.poll_unpin(cx) {
                Poll::Ready(given) => {
                    given.expect("who waits is forgotten only when it wants nothing")
                }
                Poll::Pending => {
                    self.wanted = Some(Wanted::Later(given));
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready(share)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.pause();
    }
}

/// Memory of one address, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    address: Whose,
    bytes: usize,
    was_asked_for: bool,
}

impl Share {
    /// How many bytes these are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whose they are.
    pub(super) fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// Its address has had as much more, while others waited, as if these were so many bytes more.
    pub(super) fn charge(&self, bytes: u64) {
        self.memory.lines.lock().charge(&self.address, bytes);
    }

    /// Adds another share of the same memory and address, had in the same way.
    pub(crate) fn add(&mut self, mut other: Self) {
        debug_assert_eq!(self.address, other.address, "shares of one client");
        debug_assert_eq!(self.was_asked_for, other.was_asked_for, "shares of one kind");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Splits off so many bytes, or what there is; `None` if that is nothing.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Self> {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let (memory, address) = (Arc::clone(&self.memory), self.address.clone());
        (bytes > 0).then_some(Self { memory, address, bytes, was_asked_for: self.was_asked_for })
    }

    /// Gives back what is more than this.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        drop(self.split(self.bytes.saturating_sub(bytes)));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let Self { address, bytes, was_asked_for, .. } = self;
            self.memory.lines.lock().give_back(address, *bytes, *was_asked_for);
            self.memory.give();
        }
    }
}
