//! Memory that everybody shares, and nobody uses up.
//!
//! Whoever wants some [asks](Memory::ask) and waits until it is there. An address has at most half of it;
//! what it asks for beyond that waits for what it has itself, not for others. Addresses that wait
//! take turns by how much they got while they did, so that one that asks a thousand times is served
//! like one that asks once. Nobody overtakes whoever is next: a large request does not starve.
//!
//! Clients whose address is not known are those of one address.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::channel::oneshot;
use futures::{FutureExt, ready};
use parking_lot::Mutex;

use super::share::Address;

/// So many bytes, shared.
pub(crate) struct Memory {
    state: Mutex<State>,
    bytes_max: usize,
    each_max: usize,
}

#[derive(Default)]
struct State {
    /// What all have together, of each address no more than it may have.
    taken: usize,
    /// Those who have something, or wait.
    holders: HashMap<Option<Address>, Holder>,
    /// How far the turns have got, in bytes: nobody who comes now is before this.
    turn: u64,
    /// How many have asked.
    asked: u64,
}

#[derive(Default)]
struct Holder {
    taken: usize,
    /// In the order in which they asked.
    waiting: VecDeque<Waiting>,
    /// The turn of its next request: after all that it asked for before.
    next: u64,
}

struct Waiting {
    bytes: usize,
    /// Its turn, and a number that says who asked first.
    place: (u64, u64),
    given: oneshot::Sender<Share>,
}

impl Memory {
    /// Memory of `bytes_max`, of which one request can have `request_bytes_max` at least.
    pub(crate) fn new(bytes_max: usize, request_bytes_max: usize) -> Arc<Self> {
        let bytes_max = bytes_max.max(request_bytes_max);
        let each_max = (bytes_max / 2).max(request_bytes_max);
        Arc::new(Self { state: Mutex::default(), bytes_max, each_max })
    }

    /// What an address may have.
    pub(crate) fn each_max(&self) -> usize {
        self.each_max
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.state.lock().taken
    }

    /// Asks for so many bytes, or as many as an address may have.
    pub(crate) fn ask(self: &Arc<Self>, address: Option<&Address>, bytes: usize) -> Asking {
        let (given, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        state.asked += 1;
        let (now, number) = (state.turn, state.asked);
        let holder = state.holders.entry(address.cloned()).or_default();
        let (bytes, turn) = (bytes.min(self.each_max), holder.next.max(now));
        holder.next = turn + bytes as u64;
        holder.waiting.push_back(Waiting { bytes, place: (turn, number), given });
        drop(state);
        self.give();
        Asking { memory: Arc::clone(self), address: address.cloned(), receiver }
    }

    /// Takes so many bytes without waiting, for something that is there already. It may be more than
    /// there is, or than the address may have: then others wait for longer, and only as long as if it
    /// had what it may have.
    pub(crate) fn take(self: &Arc<Self>, address: Option<&Address>, bytes: usize) -> Share {
        let mut state = self.state.lock();
        let held = state.holders.get(&address.cloned()).map_or(0, |holder| holder.taken);
        self.set_taken(&mut state, address, held + bytes);
        drop(state);
        Share { memory: Arc::clone(self), address: address.cloned(), bytes }
    }

    /// Notes what an address has.
    fn set_taken(&self, state: &mut State, address: Option<&Address>, bytes: usize) {
        let entry = state.holders.entry(address.cloned());
        let before = match &entry {
            Entry::Occupied(entry) => entry.get().taken,
            Entry::Vacant(_) => 0,
        };
        entry.or_default().taken = bytes;
        state.taken = state.taken - before.min(self.each_max) + bytes.min(self.each_max);
        self.forget(state, address);
    }

    /// Keeps nothing of an address that has nothing and waits for nothing.
    fn forget(&self, state: &mut State, address: Option<&Address>) {
        let address = address.cloned();
        let is_gone = |holder: &Holder| holder.taken == 0 && holder.waiting.is_empty();
        if state.holders.get(&address).is_some_and(is_gone) {
            state.holders.remove(&address);
        }
        // Bounded by what is there, not by what was there at most.
        if state.holders.is_empty() && state.holders.capacity() > 1000 {
            state.holders.shrink_to_fit();
        }
    }

    /// Gives what there is to those who wait.
    fn give(self: &Arc<Self>) {
        let mut given = Vec::new();
        let mut state = self.state.lock();
        while let Some((address, Waiting { bytes, place, given: to })) = self.next(&mut state) {
            let held = state.holders.get(&address).map_or(0, |holder| holder.taken);
            state.turn = state.turn.max(place.0);
            self.set_taken(&mut state, address.as_ref(), held + bytes);
            given.push((to, Share { memory: Arc::clone(self), address, bytes }));
        }
        drop(state);
        for (to, share) in given {
            // Nobody may want it any more; then it is given to others.
            drop(to.send(share));
        }
    }

    /// Whose turn is next, if there is enough for it.
    fn next(&self, state: &mut State) -> Option<(Option<Address>, Waiting)> {
        let holders = state.holders.iter();
        let first = holders.filter_map(|(address, holder)| {
            let waiting = holder.waiting.front()?;
            let may_have = holder.taken + waiting.bytes <= self.each_max;
            may_have.then_some((waiting.place, waiting.bytes, address))
        });
        let (_, bytes, address) = first.min_by_key(|(place, ..)| *place)?;
        if state.taken + bytes > self.bytes_max {
            return None;
        }
        let address = address.clone();
        let waiting = state.holders.get_mut(&address)?.waiting.pop_front()?;
        Some((address, waiting))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.state.lock().taken;
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
    address: Option<Address>,
    receiver: oneshot::Receiver<Share>,
}

impl Future for Asking {
    type Output = Share;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Share> {
        let given = ready!(self.receiver.poll_unpin(cx));
        Poll::Ready(given.expect("who waits is forgotten only when it wants nothing"))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.receiver.close();
        let mut state = self.memory.state.lock();
        if let Some(holder) = state.holders.get_mut(&self.address) {
            holder.waiting.retain(|waiting| !waiting.given.is_canceled());
        }
        self.memory.forget(&mut state, self.address.as_ref());
        drop(state);
        // Others may have waited behind it.
        self.memory.give();
    }
}

/// Memory of one address, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    address: Option<Address>,
    bytes: usize,
}

impl Share {
    /// How many bytes these are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds another share of the same memory and address.
    pub(crate) fn add(&mut self, mut other: Self) {
        debug_assert_eq!(self.address, other.address, "shares of one client");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Splits off so many bytes, or what there is; `None` if that is nothing.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Self> {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let (memory, address) = (Arc::clone(&self.memory), self.address.clone());
        (bytes > 0).then_some(Self { memory, address, bytes })
    }

    /// Gives back what is more than this.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        drop(self.split(self.bytes.saturating_sub(bytes)));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.memory.state.lock();
        let held = state.holders.get(&self.address).map_or(0, |holder| holder.taken);
        self.memory.set_taken(&mut state, self.address.as_ref(), held - self.bytes);
        drop(state);
        self.memory.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<Address> {
        Some(Address::of(text))
    }

    fn now(asking: &mut Asking) -> Option<Share> {
        asking.now_or_never()
    }

    #[test]
    fn an_address_has_half_and_waits_only_for_itself() {
        let memory = Memory::new(1000, 0);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let mut asking: Vec<_> = (0..10).map(|_| memory.ask(one.as_ref(), 250)).collect();
        let mut shares: Vec<_> = asking.iter_mut().filter_map(now).collect();
        assert_eq!(shares.len(), 2);
        let third = now(&mut memory.ask(other.as_ref(), 500)).expect("the other half");
        assert!(now(&mut memory.ask(None, 1)).is_none(), "nothing is left");
        drop(third);
        let _unknown = now(&mut memory.ask(None, 500)).expect("as much as any other");
        assert!(now(&mut memory.ask(None, 1)).is_none());
        shares.pop();
        assert!(now(&mut asking[2]).is_some(), "in the order in which it asked");
    }

    #[test]
    fn those_who_wait_take_turns_by_address() {
        let memory = Memory::new(100, 100);
        let all = now(&mut memory.ask(None, 100)).expect("all of it");
        let names: Vec<_> = (0..3).map(|last| address(&format!("192.0.2.{last}"))).collect();
        // Two ask a thousand times, and one who comes later asks once.
        let ask = |index: usize| memory.ask(names[index].as_ref(), 100);
        let mut greedy: Vec<_> = (0..2000).map(|number| ask(number % 2)).collect();
        let mut late = ask(2);
        drop(all);
        let mut before = 0;
        while now(&mut late).is_none() {
            let has_it = greedy.iter_mut().position(|asking| now(asking).is_some());
            let index = has_it.expect("somebody has it");
            greedy.swap_remove(index);
            before += 1;
        }
        assert!(before <= 2, "{before}");
    }

    #[test]
    fn a_large_request_is_not_overtaken_for_ever() {
        let memory = Memory::new(100, 100);
        let mut held = VecDeque::new();
        let mut waiting = VecDeque::new();
        let ask = |number: u32| memory.ask(Some(&Address::V4(number.to_be_bytes())), 10);
        held.extend((0..10).map(|number| now(&mut ask(number)).expect("room")));
        let mut large = memory.ask(None, 100);
        for number in 10..40 {
            waiting.push_back(ask(number));
            drop(held.pop_front());
            held.extend(waiting.iter_mut().filter_map(now));
        }
        assert!(held.is_empty() && now(&mut large).is_some());
    }

    #[test]
    fn who_wants_nothing_any_more_holds_up_nobody() {
        let memory = Memory::new(100, 100);
        let some = now(&mut memory.ask(None, 50)).expect("half of it");
        let large = memory.ask(address("192.0.2.1").as_ref(), 100);
        let mut small = memory.ask(address("192.0.2.2").as_ref(), 50);
        assert!(now(&mut small).is_none(), "another is before it");
        drop(large);
        let small = now(&mut small).expect("its turn");
        // What was given and not taken is free again.
        drop(memory.ask(None, 50));
        drop((some, small));
        assert_eq!(memory.state.lock().holders.len(), 0, "nothing is kept of who has left");
        assert_eq!(memory.state.lock().taken, 0);
    }

    #[test]
    fn what_is_there_already_is_taken_and_paid_for_by_its_address() {
        let memory = Memory::new(1000, 0);
        let one = address("192.0.2.1");
        let mut much = memory.take(one.as_ref(), 5000);
        let other = now(&mut memory.ask(None, 500)).expect("half is for others");
        let mut asking = memory.ask(one.as_ref(), 1);
        much.shrink_to(500);
        assert!(now(&mut asking).is_none());
        let part = much.split(1).expect("a part");
        much.add(part);
        assert_eq!((much.bytes(), now(&mut asking).is_none()), (500, true));
        much.shrink_to(499);
        assert!(now(&mut asking).is_some());
        drop((much, other));
        assert_eq!(memory.state.lock().taken, 0);
    }
}
