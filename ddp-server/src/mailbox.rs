//! What waits for a connection's task: documents, and the results of handlers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use ddp_core::session::CallKey;
use ddp_core::{CollectionName, DdpError, Delta, SubscriptionKey};
use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::live_query::Observation;

/// Something for a session, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum Mail {
    Delta(SubscriptionKey, Arc<Delta>),
    Ready(SubscriptionKey),
    Observing(SubscriptionKey, Vec<Observation>),
    Stop(SubscriptionKey, Option<DdpError>),
    SubscriptionUnblocked(SubscriptionKey),
    MethodUnblocked(CallKey),
    Result(CallKey, Result<Option<String>, DdpError>),
    Updated(CallKey),
    /// The server, or the application, ends the connection.
    Close,
}

/// A session's mailbox.
///
/// Deltas are bounded by conflation: with too many waiting, each subscription keeps only its newest,
/// in the place of its oldest. The session then sends the difference from what the client has, and
/// whatever was to follow a document still follows it. All other mail is bounded by the session's
/// own limits on calls and subscriptions.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    deltas_max: usize,
}

#[derive(Debug)]
struct State {
    mail: VecDeque<Mail>,
    deltas: usize,
    /// Conflate when so many deltas wait.
    conflate_at: usize,
    is_closed: bool,
}

impl Mailbox {
    pub(crate) fn new(deltas_max: usize) -> Self {
        let state =
            State { mail: VecDeque::new(), deltas: 0, conflate_at: deltas_max, is_closed: false };
        Self { state: Mutex::new(state), waker: AtomicWaker::new(), deltas_max }
    }

    pub(crate) fn push(&self, mail: Mail) {
        let mut state = self.state.lock();
        if !state.is_closed {
            state.mail.push_back(mail);
            drop(state);
            self.waker.wake();
        }
    }

    pub(crate) fn push_delta(&self, subscription: SubscriptionKey, delta: Arc<Delta>) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        state.mail.push_back(Mail::Delta(subscription, delta));
        state.deltas += 1;
        if state.deltas > state.conflate_at {
            state.conflate();
            // With more subscriptions than the limit, conflating anew for each delta would be
            // quadratic.
            state.conflate_at = self.deltas_max.max(2 * state.deltas);
        }
        drop(state);
        self.waker.wake();
    }

    /// Moves all mail to `into`, which must be empty; pending if there is none.
    pub(crate) fn poll_take(&self, cx: &Context<'_>, into: &mut VecDeque<Mail>) -> Poll<()> {
        if self.take(into) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // Mail that came between the look and the registration woke nobody.
        if self.take(into) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take(&self, into: &mut VecDeque<Mail>) -> bool {
        let mut state = self.state.lock();
        std::mem::swap(&mut state.mail, into);
        state.deltas = 0;
        state.conflate_at = self.deltas_max;
        !into.is_empty()
    }

    /// Refuses all mail from now on and drops what waits.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let mail = std::mem::take(&mut state.mail);
        drop(state);
        drop(mail);
    }
}

impl State {
    fn conflate(&mut self) {
        let mut kept: VecDeque<Mail> = VecDeque::with_capacity(self.mail.len());
        let mut first: HashMap<(SubscriptionKey, CollectionName), usize> = HashMap::new();
        for mail in self.mail.drain(..) {
            if let Mail::Delta(subscription, delta) = &mail {
                let key = (*subscription, delta.collection().clone());
                if let Some(&index) = first.get(&key) {
                    kept[index] = mail;
                    continue;
                }
                first.insert(key, kept.len());
            }
            kept.push_back(mail);
        }
        self.mail = kept;
        self.deltas = first.len();
    }
}
