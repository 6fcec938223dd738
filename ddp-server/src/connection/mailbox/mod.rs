//! What waits for a connection: documents, and the results of handlers.
//!
//! A mailbox knows that its mail is handled, but not by what.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use ddp_core::merge_box::Source;
use ddp_core::session::CallKey;
use ddp_core::{DdpError, SubscriptionKey};
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use self::state::{End, State};
use super::mail::{Kind, Mail};
use crate::live_query::sink::{Sink, Step};
use crate::stats::Counters;
use crate::write_fence::Fired;

mod state;

/// Handles the mail of a connection while it is open.
pub(crate) trait Drive: Send {
    /// Does all pending work. Ready when the connection ends.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Sends the steps of live queries that are in the mailbox, on the thread that delivers them.
    /// False if the connection's task is to look after it: there is other mail, or the socket does
    /// not take all.
    fn deliver(&mut self) -> bool;

    /// Whether the client has what it came for, and is now like all others.
    fn has_settled(&self) -> bool;

    /// Closes the connection properly.
    fn end(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// A session's mailbox.
///
/// Deltas are bounded by conflation: when too many wait, each subscription keeps only its newest,
/// and these take the place of the oldest delta. The session then sends the difference from what the
/// client has, and everything that was to follow a document still follows it. For mail that cannot
/// be skipped, the bound is the end of the connection: a client that falls so far behind is given
/// up. All other mail is bounded by the session's own limits on calls and subscriptions.
pub(crate) struct Mailbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    /// Set when the state's end is.
    is_ending: AtomicBool,
    /// Set once the connection is to end as soon as its methods have.
    is_draining: AtomicBool,
    deltas_max: usize,
    exact_max: usize,
    /// Who handles the mail. It is locked for as long as it does something: by the connection's task,
    /// and by couriers.
    driver: Mutex<Option<Box<dyn Drive>>>,
    /// Where the connection's task runs; none in unit tests without a runtime.
    runtime: Option<Handle>,
    counters: Arc<Counters>,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The server or the application wants it.
    Requested,
    /// The client is too far behind.
    Behind,
}

impl Mailbox {
    pub(crate) fn new(deltas_max: usize, exact_max: usize, counters: Arc<Counters>) -> Self {
        let state = State {
            alone: None,
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
            is_draining: AtomicBool::new(false),
            deltas_max,
            exact_max,
            driver: Mutex::new(None),
            runtime: Handle::try_current().ok(),
            counters,
        }
    }

    /// What happened to the server's sessions.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Hands the connection to its mail handler.
    pub(crate) fn seat(&self, driver: Box<dyn Drive>) {
        *self.driver.lock() = Some(driver);
    }

    /// Has the driver do all pending work. Ready when the connection ends.
    pub(crate) fn poll_driver(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut seat = self.driver.lock();
        // A panic drops the driver.
        let Some(mut driver) = seat.take() else { return Poll::Ready(()) };
        let end = driver.poll(cx);
        *seat = Some(driver);
        end
    }

    /// Whether the client has what it came for.
    pub(crate) fn has_settled(&self) -> bool {
        self.driver.lock().as_ref().is_none_or(|driver| driver.has_settled())
    }

    /// The driver, unless a panic dropped it.
    pub(crate) fn unseat(&self) -> Option<Box<dyn Drive>> {
        self.driver.lock().take()
    }

    /// Wakes the connection's task to handle what was left here, unless it is already running.
    fn wake_task(&self) {
        self.waker.wake();
    }

    pub(crate) fn push(&self, mail: Mail) {
        self.push_all([mail]);
    }

    /// Adds mail that is taken together or not at all. If it is left out for what comes later, that is
    /// done together, too: a document that several subscriptions share never gets older on the way.
    pub(crate) fn push_all(&self, mail: impl IntoIterator<Item = Mail>) {
        self.leave_all(mail);
        self.wake_task();
    }

    /// The same without waking the connection's task. True if a delivery must follow: if there was
    /// mail already, its handler is on the way and takes this along.
    pub(super) fn leave_all(&self, mail: impl IntoIterator<Item = Mail>) -> bool {
        let mut state = self.state.lock();
        if state.end != End::No {
            return false;
        }
        let was_empty = state.is_empty();
        let mut mail = mail.into_iter().peekable();
        if was_empty && let Some(first) = mail.next_if(|mail| matches!(mail.kind(), Kind::Delta)) {
            state.alone = Some(first);
            state.deltas = 1;
        }
        for mail in mail {
            state.queue_alone();
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

    /// A step of a live query that is the only mail, if the connection goes on.
    pub(crate) fn take_alone(&self) -> Option<Mail> {
        let mut state = self.state.lock();
        if state.end != End::No {
            return None;
        }
        let mail = state.alone.take()?;
        state.deltas = 0;
        Some(mail)
    }

    /// Moves all mail to `into` if it is nothing but steps of live queries, and the connection goes on;
    /// else false, and nothing is moved.
    pub(crate) fn take_steps(&self, into: &mut VecDeque<Mail>) -> bool {
        let mut state = self.state.lock();
        let is_steps = state.len() == state.deltas && state.end == End::No;
        if is_steps {
            state.take(self.deltas_max, into);
        }
        is_steps
    }

    /// Moves the mail of these subscriptions to the front of `into`.
    pub(crate) fn take_of(&self, subscriptions: &[SubscriptionKey], into: &mut VecDeque<Mail>) {
        let mut state = self.state.lock();
        state.queue_alone();
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

    /// The connection's task begins to look at everything: until it [rests](Self::rest) again, it
    /// need not be woken. A method that answers at once is polled by that task, and waking it would
    /// make it run once more, and another thread look for it.
    pub(crate) fn attend(&self) {
        drop(self.waker.take());
    }

    /// From now on mail that is not delivered wakes the connection's task, and so does the end. False
    /// if the end, or mail while the task `takes_mail`, has come in the meantime.
    pub(crate) fn rest(&self, waker: &Waker, takes_mail: bool) -> bool {
        self.waker.register(waker);
        let state = self.state.lock();
        state.end == End::No && (!takes_mail || state.is_empty())
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

    /// Asks the connection's task to end it once the methods under way have ended.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether [`drain`](Self::drain) was called. To be asked again after [`rest`](Self::rest).
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
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
                state.queue_alone();
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
        state.queue_alone();
        let mail = std::mem::take(&mut state.mail);
        drop(state);
        drop(mail);
        drop(self.unseat());
    }
}

impl Sink for Mailbox {
    fn leave(&self, steps: &[Step<'_>]) -> bool {
        self.leave_all(steps.iter().map(|step| {
            let delta = Arc::clone(step.delta);
            match step.welcomes {
                Some(key) => Mail::Delta(key.into(), Source::LiveQuery(step.query), delta),
                None => Mail::Step(step.query, delta),
            }
        }))
    }

    fn fail(&self, key: u64, error: DdpError) {
        self.push(Mail::Stop(SubscriptionKey::from(key), Some(Box::new(error))));
    }

    fn deliver(&self) {
        let mut waking = Waking { mailbox: self, is_done: false };
        if let Some(mut seat) = self.driver.try_lock()
            && let Some(mut driver) = seat.take()
        {
            // A panic drops the driver, which ends the connection.
            waking.is_done = driver.deliver();
            *seat = Some(driver);
        }
    }

    fn wake(&self) {
        self.wake_task();
    }

    fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
    }
}

impl Fired for Mailbox {
    fn fired(&self, call: CallKey) {
        self.push(Mail::Updated(call));
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
            self.mailbox.wake_task();
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailbox").field(&*self.state.lock()).finish()
    }
}

#[cfg(test)]
mod tests;
