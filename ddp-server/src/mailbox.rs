//! What waits for a connection: documents, and the results of handlers.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use ddp_core::merge_box::{Placement, Source};
use ddp_core::session::CallKey;
use ddp_core::{CollectionName, DdpError, Delta, SubscriptionKey};
use futures::channel::oneshot;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::connection::Driver;
use crate::extract::UserId;
use crate::live_query::Observation;
use crate::stats::Counters;

/// Something for a session, in the order in which it happened. Small, as most of it are steps of live
/// queries, of which there are many.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Documents; a later delta of the same source may take its place.
    Delta(SubscriptionKey, Source, Arc<Delta>),
    /// Documents handled by hand, of which no step may be left out.
    Exact(SubscriptionKey, Arc<Delta>),
    Placed(SubscriptionKey, Option<Arc<Delta>>, Box<Placement>),
    Direct(SubscriptionKey, String),
    Ready(SubscriptionKey),
    Observing(SubscriptionKey, Vec<Observation>),
    Stop(SubscriptionKey, Option<Box<DdpError>>),
    SubscriptionUnblocked(SubscriptionKey),
    SubscriptionReturned(SubscriptionKey),
    MethodUnblocked(CallKey),
    Result(CallKey, Result<Option<String>, Box<DdpError>>),
    Updated(CallKey),
    /// A method logged the connection in or out, and waits until the client knows.
    SetUser(Option<UserId>, oneshot::Sender<()>),
    /// There is a new universal publication.
    Universal,
}

const _: () = assert!(size_of::<Mail>() <= 40, "what is large is boxed");

/// A session's mailbox.
///
/// Deltas are bounded by conflation: with too many waiting, each subscription keeps only its newest,
/// and all of these take the place of the oldest of all. The session then sends the difference from
/// what the client has, and whatever was to follow a document still follows it. Mail about documents
/// that cannot be left out is bounded by the connection's end: a client that is so far behind is
/// given up. All other mail is bounded by the session's own limits on calls and subscriptions.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    /// Set when the state's end is.
    is_ending: AtomicBool,
    deltas_max: usize,
    exact_max: usize,
    /// Who handles the mail, for as long as the connection lasts.
    driver: Mutex<Option<Box<Driver>>>,
    /// Where the connection's task runs; none in unit tests without a runtime.
    runtime: Option<Handle>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    mail: VecDeque<Mail>,
    deltas: usize,
    /// Conflate when so many deltas wait.
    conflate_at: usize,
    /// How much mail waits that cannot be left out.
    exact: usize,
    end: End,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The server or the application wants it.
    Requested,
    /// The client is too far behind.
    Behind,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    /// Somebody asked for its end; what came before is still to be sent.
    Requested,
    /// Too much waits for the client.
    Behind,
    /// Nobody reads any more.
    Closed,
}

impl Mailbox {
    pub(crate) fn new(deltas_max: usize, exact_max: usize, counters: Arc<Counters>) -> Self {
        let state = State {
            mail: VecDeque::new(),
            deltas: 0,
            conflate_at: deltas_max,
            exact: 0,
            end: End::No,
        };
        Self {
            state: Mutex::new(state),
            waker: AtomicWaker::new(),
            is_ending: AtomicBool::new(false),
            deltas_max,
            exact_max,
            driver: Mutex::new(None),
            runtime: Handle::try_current().ok(),
            counters,
        }
    }

    /// Who handles the mail. It is locked for as long as it does something: by the connection's task,
    /// and by [`deliver`](Self::deliver).
    pub(crate) fn driver(&self) -> &Mutex<Option<Box<Driver>>> {
        &self.driver
    }

    /// Sends what was [left](Self::leave) here to the client, or has the connection's task do it if
    /// that is busy or there is more to do.
    pub(crate) fn deliver(&self) {
        let mut waking = Waking { mailbox: self, is_done: false };
        if let Some(mut seat) = self.driver.try_lock()
            && let Some(mut driver) = seat.take()
        {
            // A panic takes the driver along, and so ends the connection.
            waking.is_done = driver.deliver();
            *seat = Some(driver);
        }
    }

    pub(crate) fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
    }

    /// Has the connection's task look at what was [left](Self::leave), if it is not at it already.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn push(&self, mail: Mail) {
        self.push_all([mail]);
    }

    /// Adds mail that is taken together or not at all. If it is left out for what comes later, that is
    /// done together, too: a document that several subscriptions share never gets older on the way.
    pub(crate) fn push_all(&self, mail: impl IntoIterator<Item = Mail>) {
        self.leave(mail);
        self.wake();
    }

    /// The same without waking the connection's task. True if a [delivery](Self::deliver) must follow:
    /// if there was mail already, somebody is on the way to it, and takes this along.
    pub(crate) fn leave(&self, mail: impl IntoIterator<Item = Mail>) -> bool {
        let mut state = self.state.lock();
        if state.end != End::No {
            return false;
        }
        let was_empty = state.mail.is_empty();
        for mail in mail {
            let kind = mail.kind();
            state.mail.push_back(mail);
            match kind {
                Kind::Delta => state.deltas += 1,
                Kind::Exact => {
                    state.exact += 1;
                    if state.exact > self.exact_max {
                        state.end = End::Behind;
                        self.is_ending.store(true, Ordering::Release);
                    }
                }
                Kind::Other => {}
            }
        }
        let left_out = state.bound_deltas(self.deltas_max);
        if left_out > 0 {
            self.counters.lags.add(1);
            self.counters.steps_left_out.add(left_out);
        }
        was_empty || state.end != End::No
    }

    /// Moves all mail to `into`, which must be empty. False if there is none.
    pub(crate) fn take(&self, into: &mut VecDeque<Mail>) -> bool {
        self.state.lock().take(self.deltas_max, into);
        !into.is_empty()
    }

    /// The same if there is nothing but steps of live queries, and the connection goes on; else false,
    /// and nothing is moved.
    pub(crate) fn take_steps(&self, into: &mut VecDeque<Mail>) -> bool {
        let mut state = self.state.lock();
        let is_steps = state.mail.len() == state.deltas && state.end == End::No;
        if is_steps {
            state.take(self.deltas_max, into);
        }
        is_steps
    }

    /// Moves the mail of these subscriptions to the front of `into`.
    pub(crate) fn take_of(&self, subscriptions: &[SubscriptionKey], into: &mut VecDeque<Mail>) {
        let mut state = self.state.lock();
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut state.mail).into_iter().partition(|mail| {
                mail.subscription()
                    .is_some_and(|subscription| subscriptions.contains(&subscription))
            });
        state.mail = kept;
        for mail in taken.into_iter().rev() {
            match mail.kind() {
                Kind::Delta => state.deltas -= 1,
                Kind::Exact => state.exact -= 1,
                Kind::Other => {}
            }
            into.push_front(mail);
        }
    }

    /// The connection's task begins to look at everything: until it [rests](Self::rest) again, nobody
    /// need wake it. A method that answers at once is polled by that task, and waking it would
    /// make it run once more, and another thread look for it.
    pub(crate) fn attend(&self) {
        drop(self.waker.take());
    }

    /// From now on mail that is not delivered wakes the connection's task, and so does the end. False
    /// if either has come meanwhile, of mail only if the task `takes_mail`.
    pub(crate) fn rest(&self, waker: &Waker, takes_mail: bool) -> bool {
        self.waker.register(waker);
        let state = self.state.lock();
        state.end == End::No && (!takes_mail || state.mail.is_empty())
    }

    /// Asks the connection's task to end it, after what has been mailed so far. Seen by
    /// [`take_end`](Self::take_end) however much waits for the socket.
    pub(crate) fn request_end(&self) {
        let mut state = self.state.lock();
        if state.end == End::No {
            state.end = End::Requested;
            self.is_ending.store(true, Ordering::Release);
        }
        drop(state);
        self.waker.wake();
    }

    /// Why the connection is to end, if it is; the mail that is still to be sent is moved to `into`.
    pub(crate) fn take_end(&self, into: &mut VecDeque<Mail>) -> Option<EndReason> {
        // Most of the time nothing ends, and the mail is looked at next.
        if !self.is_ending.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state.lock();
        match state.end {
            End::No => None,
            End::Behind => Some(EndReason::Behind),
            End::Requested | End::Closed => {
                into.append(&mut state.mail);
                Some(EndReason::Requested)
            }
        }
    }

    /// Refuses all mail from now on and drops what waits.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.end = End::Closed;
        self.is_ending.store(true, Ordering::Release);
        let mail = std::mem::take(&mut state.mail);
        drop(state);
        drop(mail);
        let driver = self.driver.lock().take();
        drop(driver);
    }
}

/// Wakes the connection's task if not all is done, be it for a panic.
struct Waking<'a> {
    mailbox: &'a Mailbox,
    is_done: bool,
}

impl Drop for Waking<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.mailbox.wake();
        }
    }
}

/// How mail is bounded.
enum Kind {
    Delta,
    Exact,
    Other,
}

impl Mail {
    fn kind(&self) -> Kind {
        match self {
            Self::Delta(..) => Kind::Delta,
            Self::Exact(..) | Self::Placed(..) | Self::Direct(..) => Kind::Exact,
            _ => Kind::Other,
        }
    }

    /// The subscription that it is about, if it is about one.
    fn subscription(&self) -> Option<SubscriptionKey> {
        match self {
            Self::Delta(subscription, ..)
            | Self::Exact(subscription, _)
            | Self::Placed(subscription, ..)
            | Self::Direct(subscription, _)
            | Self::Ready(subscription)
            | Self::Observing(subscription, _)
            | Self::Stop(subscription, _)
            | Self::SubscriptionUnblocked(subscription)
            | Self::SubscriptionReturned(subscription) => Some(*subscription),
            Self::MethodUnblocked(_)
            | Self::Result(..)
            | Self::Updated(_)
            | Self::SetUser(..)
            | Self::Universal => None,
        }
    }
}

impl State {
    fn take(&mut self, deltas_max: usize, into: &mut VecDeque<Mail>) {
        std::mem::swap(&mut self.mail, into);
        self.deltas = 0;
        self.exact = 0;
        self.conflate_at = deltas_max;
    }

    /// Leaves out what is too much. The answer is how many deltas.
    fn bound_deltas(&mut self, deltas_max: usize) -> usize {
        if self.deltas <= self.conflate_at {
            return 0;
        }
        let before = self.deltas;
        self.conflate();
        // With more subscriptions than the limit, conflating anew for each delta would be quadratic.
        self.conflate_at = deltas_max.max(2 * self.deltas);
        before - self.deltas
    }

    fn conflate(&mut self) {
        let mut newest: Vec<Mail> = Vec::new();
        let mut of: HashMap<(SubscriptionKey, Source, CollectionName), usize> = HashMap::new();
        let mut kept: VecDeque<Mail> = VecDeque::with_capacity(self.mail.len());
        let mut place = None;
        for mail in self.mail.drain(..) {
            let Mail::Delta(subscription, source, delta) = &mail else {
                kept.push_back(mail);
                continue;
            };
            place.get_or_insert(kept.len());
            match of.entry((*subscription, *source, delta.collection().clone())) {
                Entry::Occupied(entry) => newest[*entry.get()] = mail,
                Entry::Vacant(entry) => {
                    entry.insert(newest.len());
                    newest.push(mail);
                }
            }
        }
        self.deltas = newest.len();
        let after = kept.split_off(place.unwrap_or_default());
        kept.extend(newest);
        kept.extend(after);
        self.mail = kept;
    }
}

#[cfg(test)]
mod tests;
