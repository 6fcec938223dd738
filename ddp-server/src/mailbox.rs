//! What waits for a connection's task: documents, and the results of handlers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use ddp_core::merge_box::Source;
use ddp_core::session::CallKey;
use ddp_core::{CollectionName, DdpError, Delta, SubscriptionKey};
use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::live_query::Observation;

/// Something for a session, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum Mail {
    Delta(SubscriptionKey, Source, Arc<Delta>),
    Ready(SubscriptionKey),
    Observing(SubscriptionKey, Vec<Observation>),
    Stop(SubscriptionKey, Option<DdpError>),
    SubscriptionUnblocked(SubscriptionKey),
    MethodUnblocked(CallKey),
    Result(CallKey, Result<Option<String>, DdpError>),
    Updated(CallKey),
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
    end: End,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    /// Somebody asked for its end; what came before is still to be sent.
    Requested,
    /// Nobody reads any more.
    Closed,
}

impl Mailbox {
    pub(crate) fn new(deltas_max: usize) -> Self {
        let state =
            State { mail: VecDeque::new(), deltas: 0, conflate_at: deltas_max, end: End::No };
        Self { state: Mutex::new(state), waker: AtomicWaker::new(), deltas_max }
    }

    pub(crate) fn push(&self, mail: Mail) {
        let mut state = self.state.lock();
        if state.end == End::No {
            state.mail.push_back(mail);
            drop(state);
            self.waker.wake();
        }
    }

    pub(crate) fn push_delta(
        &self,
        subscription: SubscriptionKey,
        source: Source,
        delta: Arc<Delta>,
    ) {
        let mut state = self.state.lock();
        if state.end != End::No {
            return;
        }
        state.mail.push_back(Mail::Delta(subscription, source, delta));
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

    /// Asks the connection's task to end it, after what has been mailed so far. Seen by
    /// [`poll_end`](Self::poll_end) however much waits for the socket.
    pub(crate) fn request_end(&self) {
        let mut state = self.state.lock();
        if state.end == End::No {
            state.end = End::Requested;
        }
        drop(state);
        self.waker.wake();
    }

    /// Ready when the connection is to end; the mail of before is moved to `into`.
    pub(crate) fn poll_end(&self, cx: &Context<'_>, into: &mut VecDeque<Mail>) -> Poll<()> {
        self.waker.register(cx.waker());
        let mut state = self.state.lock();
        if state.end == End::No {
            return Poll::Pending;
        }
        into.append(&mut state.mail);
        Poll::Ready(())
    }

    /// Refuses all mail from now on and drops what waits.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.end = End::Closed;
        let mail = std::mem::take(&mut state.mail);
        drop(state);
        drop(mail);
    }
}

impl State {
    fn conflate(&mut self) {
        let mut kept: VecDeque<Mail> = VecDeque::with_capacity(self.mail.len());
        let mut first: HashMap<(SubscriptionKey, Source, CollectionName), usize> = HashMap::new();
        for mail in self.mail.drain(..) {
            if let Mail::Delta(subscription, source, delta) = &mail {
                let key = (*subscription, *source, delta.collection().clone());
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::task::Waker;

    use ddp_core::session::{Event, Input, Output, SessionConfig};
    use ddp_core::{Document, DocumentId, Session, Snapshot};

    use super::*;

    /// Keys of subscriptions and of a call, as a session makes them.
    fn keys() -> (Vec<SubscriptionKey>, CallKey) {
        let now = std::time::Instant::now();
        let mut session = Session::new(String::new(), SessionConfig::default(), now);
        let (mut subscriptions, mut calls) = (Vec::new(), Vec::new());
        for text in [
            r#"{"msg":"connect","version":"1","support":["1"]}"#,
            r#"{"msg":"sub","id":"1","name":"x"}"#,
            r#"{"msg":"sub","id":"2","name":"x"}"#,
            r#"{"msg":"method","id":"3","method":"x"}"#,
        ] {
            session.handle_input(Input::Message(now, text));
            loop {
                match session.poll_output() {
                    Output::Event(Event::Subscribe { subscription, .. }) => {
                        subscriptions.push(subscription);
                        session.handle_input(Input::SubscriptionUnblocked(subscription));
                    }
                    Output::Event(Event::Call { call, .. }) => calls.push(call),
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
        }
        (subscriptions, calls[0])
    }

    fn take(mailbox: &Mailbox) -> Vec<Mail> {
        let mut mail = VecDeque::new();
        let _ = mailbox.poll_take(&Context::from_waker(Waker::noop()), &mut mail);
        mail.into()
    }

    /// The first so many steps of a snapshot of `collection`.
    fn steps(collection: &str, count: usize) -> Vec<Arc<Delta>> {
        let mut snapshot = Snapshot::default();
        let step = |number: usize| {
            let text = number.to_string();
            let document = Document::from_fields([("n".into(), text.as_str())]).unwrap();
            let id = DocumentId::from_string("a");
            let documents = BTreeMap::from([(id, Some(Arc::new(document)))]);
            snapshot.advance(&collection.into(), documents).unwrap()
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn with_too_many_deltas_each_subscription_keeps_its_newest_in_the_oldest_place() {
        let (subscriptions, call) = keys();
        let mailbox = Mailbox::new(4);
        let (tasks, lists) = (steps("tasks", 9), steps("lists", 2));
        mailbox.push_delta(subscriptions[0], Source::Cursor, Arc::clone(&tasks[0]));
        mailbox.push_delta(subscriptions[1], Source::Cursor, Arc::clone(&tasks[0]));
        mailbox.push_delta(subscriptions[0], Source::Cursor, Arc::clone(&lists[0]));
        mailbox.push(Mail::Updated(call));
        mailbox.push_delta(subscriptions[0], Source::Cursor, Arc::clone(&lists[1]));
        for delta in &tasks[1..] {
            mailbox.push_delta(subscriptions[0], Source::Cursor, Arc::clone(delta));
        }
        let mut seen = Vec::new();
        for mail in take(&mailbox) {
            seen.push(match mail {
                Mail::Delta(key, _, delta) => {
                    let index = subscriptions.iter().position(|other| *other == key).unwrap();
                    format!("{index} {} {}", delta.collection(), delta.to())
                }
                Mail::Updated(_) => "updated".to_owned(),
                other => panic!("unexpected {other:?}"),
            });
        }
        // Whatever came before `updated` is there before it, at least as new.
        assert_eq!(seen[..4], ["0 tasks 6", "1 tasks 1", "0 lists 2", "updated"], "{seen:?}");
        assert!(seen.len() <= 8, "{seen:?}");
        assert!(take(&mailbox).is_empty());
    }

    #[test]
    fn many_deltas_take_no_room() {
        let (subscriptions, _) = keys();
        let mailbox = Mailbox::new(64);
        let mut snapshot = Snapshot::default();
        for number in 0..100_000 {
            let text = number.to_string();
            let document = Document::from_fields([("n".into(), text.as_str())]).unwrap();
            let documents =
                BTreeMap::from([(DocumentId::from_string("a"), Some(Arc::new(document)))]);
            let delta = snapshot.advance(&"tasks".into(), documents).unwrap();
            mailbox.push_delta(subscriptions[0], Source::Cursor, delta);
            assert!(mailbox.state.lock().mail.len() <= 65);
        }
        let mail = take(&mailbox);
        let Some(Mail::Delta(_, _, last)) = mail.last() else { panic!("deltas") };
        let Some(Mail::Delta(_, _, first)) = mail.first() else { panic!("deltas") };
        assert!(last.to() == 100_000 || first.to() == 100_000);
    }

    #[test]
    fn what_was_mailed_before_the_end_is_handed_over_with_it() {
        let (_, call) = keys();
        let mailbox = Mailbox::new(4);
        let cx = Context::from_waker(Waker::noop());
        let mut mail = VecDeque::new();
        assert!(mailbox.poll_end(&cx, &mut mail).is_pending());
        mailbox.push(Mail::Updated(call));
        mailbox.request_end();
        mailbox.push(Mail::MethodUnblocked(call));
        assert!(mailbox.poll_end(&cx, &mut mail).is_ready());
        assert!(matches!(mail.make_contiguous(), [Mail::Updated(_)]), "{mail:?}");
    }

    #[test]
    fn a_closed_mailbox_takes_nothing() {
        let (_, call) = keys();
        let mailbox = Mailbox::new(4);
        mailbox.push(Mail::Updated(call));
        mailbox.close();
        mailbox.push(Mail::Updated(call));
        assert!(take(&mailbox).is_empty());
    }
}
