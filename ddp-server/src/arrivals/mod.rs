//! Turns for clients that have just come.
//!
//! When thousands of clients come at once, thousands of tasks are ready to run, and those of everybody
//! else stand in line behind them. So a connection that has just come runs in *turns*: each time that
//! it has something to do, it waits until it is called, does what there is to do without waiting for
//! anything, and gives the turn back.
//!
//! - Few have a turn at the same time: half as many as the runtime has threads, unless
//!   [`arrivals_at_once`](crate::ServeConfig::arrivals_at_once) says something else.
//! - Whoever is called lets everything else run first that is ready by then.
//! - Whoever is further along is called first: sessions before connections that speak HTTP, and among
//!   these the one that came first. So those that have begun end soon, and what a waiting one takes is
//!   little.
//! - Nobody has a turn while it waits for its client, for the database, or for room in its socket. A
//!   client that stalls holds up nobody.
//! - After [`TURNS_MAX`] turns, or turns that took [`WORK_MAX`] in all, it is an arrival no longer, so that
//!   nobody can be called for ever before others.
//! - Whoever has stood in line for [`WAIT_MAX`] is called when a turn ends, beyond what is above: on a server
//!   that is always busy they run like everybody else, rather than wait until they give up.
//!
//! If nobody else is there, a turn costs two locks, and the runtime another look at its sockets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::task::yield_now;
use tokio::time::Instant;

/// An honest client needs about six: for the handshakes of WebSocket and DDP, for its subscriptions,
/// and for writing what these show.
const TURNS_MAX: u32 = 64;

/// Its share of a processor. Few need a tenth of that, however busy the machine is.
const WORK_MAX: Duration = Duration::from_millis(20);

/// Less than any deadline that a client has for a handshake. Thousands that come at once are through
/// before.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The turns of each runtime, so that one that nobody runs any more does not hold up the others.
pub(crate) struct Arrivals {
    at_once: Option<usize>,
    by_runtime: Mutex<HashMap<Id, Weak<Turns>>>,
}

/// How far somebody has got who has just come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Its session has begun.
    Session,
    /// It shakes hands.
    Http,
}

/// Somebody who has just come.
pub(crate) struct Arrival {
    turns: Arc<Turns>,
    place: Place,
    taken: u32,
    worked: Duration,
    /// How long it stood in line, and since when it does.
    waited: Duration,
    in_line_since: Instant,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is nothing to do.
    Resting,
    InLine,
    /// It is called, and everything else goes first.
    Yielding,
    HasTurn,
}

/// A future that is polled in turns at first.
pub(crate) struct InTurns<F, S> {
    arrival: Option<Box<Arrival>>,
    future: F,
    has_settled: S,
}

/// The stage, and a number that says who came first.
type Place = (Stage, u64);

struct Turns {
    at_once: usize,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    next_number: u64,
    /// How many have a turn or were called. If anybody waits, at least as many as may.
    under_way: usize,
    /// With when they are late.
    waiting: BTreeMap<Place, (Instant, Waker)>,
    /// Those that were called and do not know it yet.
    called: BTreeSet<Place>,
}

impl Arrivals {
    pub(crate) fn new(at_once: Option<usize>) -> Arc<Self> {
        Arc::new(Self { at_once, by_runtime: Mutex::default() })
    }

    /// Somebody comes, on the current runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn arrive(&self, stage: Stage) -> Box<Arrival> {
        let turns = self.turns();
        let mut line = turns.line.lock();
        let place = (stage, line.next_number);
        line.next_number += 1;
        drop(line);
        let (taken, worked, waited) = Default::default();
        Box::new(Arrival {
            turns,
            place,
            taken,
            worked,
            waited,
            in_line_since: Instant::now(),
            state: State::Resting,
        })
    }

    fn turns(&self) -> Arc<Turns> {
        let runtime = Handle::current();
        let mut by_runtime = self.by_runtime.lock();
        if let Some(turns) = by_runtime.get(&runtime.id()).and_then(Weak::upgrade) {
            return turns;
        }
        by_runtime.retain(|_, turns| turns.strong_count() > 0);
        let half = || (runtime.metrics().num_workers() / 2).max(1);
        let at_once = self.at_once.map_or_else(half, |at_once| at_once.max(1));
        let turns = Arc::new(Turns { at_once, line: Mutex::default() });
        by_runtime.insert(runtime.id(), Arc::downgrade(&turns));
        turns
    }
}

impl Arrival {
    /// Runs a future in turns until it `has_settled`, or has had enough of them.
    pub(crate) fn run<F: Future + Unpin, S: Fn() -> bool + Unpin>(
        self: Box<Self>,
        future: F,
        has_settled: S,
    ) -> InTurns<F, S> {
        InTurns { arrival: Some(self), future, has_settled }
    }

    /// Ready when it is its turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.turns.line.lock();
        let is_called = match self.state {
            State::Resting if line.under_way < self.turns.at_once => {
                line.under_way += 1;
                true
            }
            State::Resting => false,
            State::InLine => {
                let is_called = line.called.remove(&self.place);
                if is_called {
                    self.waited += self.in_line_since.elapsed();
                }
                is_called
            }
            State::Yielding | State::HasTurn => {
                self.state = State::HasTurn;
                return Poll::Ready(());
            }
        };
        if !is_called {
            if self.state == State::Resting {
                self.in_line_since = Instant::now();
                self.state = State::InLine;
            }
            let late = self.in_line_since + WAIT_MAX.saturating_sub(self.waited);
            line.waiting.insert(self.place, (late, cx.waker().clone()));
            return Poll::Pending;
        }
        drop(line);
        self.state = State::Yielding;
        // The runtime looks for what has come and runs what is ready before it comes back here.
        pin!(yield_now()).poll(cx)
    }

    /// The turn is over, which took this long.
    fn end_turn(&mut self, worked: Duration) {
        self.taken += 1;
        self.worked += worked;
        self.state = State::Resting;
        self.turns.call_next();
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let has_turn = match self.state {
            State::Resting => false,
            State::Yielding | State::HasTurn => true,
            State::InLine => {
                let mut line = self.turns.line.lock();
                let waker = line.waiting.remove(&self.place);
                let was_called = line.called.remove(&self.place);
                drop(line);
                drop(waker);
                was_called
            }
        };
        if has_turn {
            self.turns.call_next();
        }
    }
}

impl<F: Future + Unpin, S: Fn() -> bool + Unpin> Future for InTurns<F, S> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { arrival: slot, future, has_settled } = &mut *self;
        let Some(arrival) = slot else { return future.poll_unpin(cx) };
        ready!(arrival.poll_turn(cx));
        // If it panics, the arrival gives its turn back when it is dropped.
        let began = Instant::now();
        let polled = future.poll_unpin(cx);
        arrival.end_turn(began.elapsed());
        let is_enough = arrival.taken == TURNS_MAX || arrival.worked >= WORK_MAX;
        if is_enough || polled.is_ready() || has_settled() {
            *slot = None;
        }
        polled
    }
}

impl Turns {
    /// A turn is over.
    fn call_next(&self) {
        let mut line = self.line.lock();
        line.under_way -= 1;
        let mut called = Vec::new();
        if line.under_way < self.at_once {
            called.extend(line.call_first());
        }
        called.extend(line.call_late(Stage::Session));
        called.extend(line.call_late(Stage::Http));
        drop(line);
        called.into_iter().for_each(Waker::wake);
    }
}

impl Line {
    fn call_first(&mut self) -> Option<Waker> {
        let (place, (_, waker)) = self.waiting.pop_first()?;
        Some(self.call(place, waker))
    }

    /// Calls whoever is first at a stage, if that one is late.
    fn call_late(&mut self, stage: Stage) -> Option<Waker> {
        let (place, (late, _)) = self.waiting.range((stage, 0)..=(stage, u64::MAX)).next()?;
        if Instant::now() < *late {
            return None;
        }
        let place = *place;
        let (_, waker) = self.waiting.remove(&place)?;
        Some(self.call(place, waker))
    }

    fn call(&mut self, place: Place, waker: Waker) -> Waker {
        self.under_way += 1;
        self.called.insert(place);
        waker
    }
}

#[cfg(test)]
mod tests;
