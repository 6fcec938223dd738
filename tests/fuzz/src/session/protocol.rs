//! What a session must answer, apart from documents.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use ddp_core::SubscriptionKey;
use ddp_core::session::{CallKey, Event, SessionConfig};

use super::documents::State;
use crate::answer::Answer;

/// Something that the session must do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expected {
    Pong(Option<String>),
    Error(&'static str),
    Ready(Vec<String>, Option<Rc<State>>),
    Nosub { id: Option<String>, has_error: bool },
    Result(String),
    Updated(Vec<String>, Option<Rc<State>>),
    Connected,
    Message,
    Subscribe { id: String, name: String, bytes: usize },
    SubscribeAgain { id: String, name: String },
    Unsubscribe(SubscriptionKey),
    Call { id: String, name: String, bytes: usize },
    Rerun,
    RerunDone,
}

/// A message from a client.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Connect,
    Ping(Option<String>),
    Pong,
    Sub {
        id: String,
        name: String,
        /// Of its parameter.
        length: usize,
    },
    Unsub(Option<String>),
    Method {
        id: String,
        name: String,
        /// Of its parameter.
        length: usize,
    },
    /// Not JSON, or without a `msg`.
    Garbage(&'static str),
    /// With a `msg`, but otherwise malformed.
    Malformed {
        text: &'static str,
        reason: &'static str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Blocker {
    /// What is just beginning.
    Next,
    Subscription(SubscriptionKey),
    Call(CallKey),
    /// The first of those that wait, a `sub`, needs more bytes than it may have.
    Bytes,
}

#[derive(Debug)]
struct Subscription {
    id: Option<String>,
    /// Of its message.
    bytes: usize,
    is_ready: bool,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: String,
    /// Of its message.
    bytes: usize,
    pub(super) has_result: bool,
    pub(super) is_updated: bool,
}

#[derive(Debug, Default)]
struct Rerun {
    waiting: BTreeSet<SubscriptionKey>,
    ready: Vec<String>,
    /// These calls count as unfinished until the rerun is over.
    updated: Vec<CallKey>,
}

/// What a subscription counts as for its session, besides its message.
const COUNTED: usize = 512;

/// What is needed for one.
const NEEDED: usize = 1024;

/// The protocol by the book: DDP's messages in order, without documents. It does not know how many bytes
/// these have, so it takes the client's messages one by one, as their answers come.
#[derive(Debug, Default)]
pub(super) struct Protocol {
    calls_max: usize,
    subscriptions_max: usize,
    reports_messages: bool,
    session_bytes_max: usize,
    bytes_max: usize,
    pub(super) is_connected: bool,
    expected: VecDeque<Expected>,
    /// Messages, each with its bytes.
    queue: VecDeque<(Message, usize)>,
    blocker: Option<Blocker>,
    subscriptions: BTreeMap<SubscriptionKey, Subscription>,
    pub(super) calls: BTreeMap<CallKey, Call>,
    rerun: Option<Rerun>,
    /// Whether documents are left, as the session says. Until they are sent, messages wait.
    pub(super) is_left: bool,
    /// Subscriptions that have ended, until they are taken from here.
    pub(super) ended: Vec<SubscriptionKey>,
}

impl Protocol {
    pub(super) fn new(config: &SessionConfig) -> Self {
        Self {
            calls_max: config.calls_max,
            subscriptions_max: config.subscriptions_max,
            reports_messages: config.reports_messages,
            session_bytes_max: config.session_bytes_max,
            bytes_max: usize::MAX,
            ..Self::default()
        }
    }

    pub(super) fn keys(&self) -> Vec<SubscriptionKey> {
        self.subscriptions.keys().copied().collect()
    }

    pub(super) fn has(&self, key: SubscriptionKey) -> bool {
        self.subscriptions.contains_key(&key)
    }

    pub(super) fn is_rerunning(&self) -> bool {
        self.rerun.is_some()
    }

    pub(super) fn waiting_messages(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn allow(&mut self, bytes: usize) {
        self.bytes_max = bytes;
        self.try_waiting();
    }

    /// The `sub` that waits for bytes may have them.
    fn try_waiting(&mut self) {
        if self.blocker == Some(Blocker::Bytes)
            && self.queue.front().is_none_or(|(_, bytes)| !self.lacks(*bytes))
        {
            self.unblock(Blocker::Bytes);
        }
    }

    /// What a `sub` needs does not fit in what subscriptions are given.
    fn lacks(&self, bytes: usize) -> bool {
        self.subscription_bytes(NEEDED) + bytes + NEEDED > self.bytes_max
    }

    /// A `sub` counts as more than is left for the session.
    fn exceeds(&self, bytes: usize) -> bool {
        self.subscription_bytes(COUNTED) + bytes + COUNTED > self.session_bytes_max
    }

    /// Whether a `sub` with this id could begin.
    fn is_new(&self, id: &str) -> bool {
        let named = self.subscriptions.values().filter(|state| state.id.is_some()).count();
        self.key_of(Some(id)).is_none() && named < self.subscriptions_max
    }

    /// What waits or runs; no message of these is a large one.
    fn passing_bytes(&self) -> usize {
        let waiting: usize = self.queue.iter().map(|(_, bytes)| bytes + 64).sum();
        let begun = self.expected.iter().filter_map(|expected| match expected {
            Expected::Call { bytes, .. } => Some(bytes),
            _ => None,
        });
        let calls = self.calls.values().map(|call| &call.bytes).chain(begun);
        waiting + calls.map(|bytes| bytes + 512).sum::<usize>()
    }

    fn subscription_bytes(&self, each: usize) -> usize {
        let begun = self.expected.iter().filter_map(|expected| match expected {
            Expected::Subscribe { bytes, .. } => Some(bytes),
            _ => None,
        });
        let named = self.subscriptions.values().filter(|state| state.id.is_some());
        named.map(|state| &state.bytes).chain(begun).map(|bytes| bytes + each).sum()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.passing_bytes() + self.subscription_bytes(NEEDED)
    }

    pub(super) fn has_room(&self) -> bool {
        let is_next = self.blocker == Some(Blocker::Bytes) && self.queue.len() == 1;
        let counted = self.passing_bytes() + self.subscription_bytes(COUNTED);
        self.passing_bytes() == 0
            || counted < self.session_bytes_max && self.kept_bytes() < self.bytes_max
            || is_next && self.calls.is_empty()
    }

    /// Checks that nothing is owed any more.
    pub(super) fn check_empty(&self) {
        assert!(self.expected.is_empty(), "not done: {:?}", self.expected);
    }

    pub(super) fn message(&mut self, message: Message, bytes: usize) {
        let expected = &mut self.expected;
        if !self.is_connected {
            return match message {
                Message::Connect => {
                    expected.extend([Expected::Connected, Expected::Connected]);
                }
                Message::Garbage(_) => expected.push_back(Expected::Error("Bad request")),
                _ => expected.push_back(Expected::Error("Must connect first")),
            };
        }
        match message {
            Message::Connect => expected.push_back(Expected::Error("Already connected")),
            Message::Ping(id) => expected.push_back(Expected::Pong(id)),
            Message::Pong => {}
            Message::Garbage(_) => expected.push_back(Expected::Error("Bad request")),
            other => {
                self.queue.push_back((other, bytes));
                self.process();
            }
        }
    }

    /// Messages take their turns. During a rerun that changes no documents, and what follows may be told
    /// only after it.
    fn process(&mut self) {
        while self.rerun.is_some() && !self.is_left && self.advance() {}
    }

    /// The next message takes its turn. False if there is none, or it has to wait.
    pub(super) fn advance(&mut self) -> bool {
        if self.blocker == Some(Blocker::Bytes) {
            return self.pass();
        }
        if self.blocker.is_some() || self.calls.len() >= self.calls_max {
            return false;
        }
        let Some((message, bytes)) = self.queue.pop_front() else { return false };
        if let Message::Sub { id, .. } = &message
            && self.is_new(id)
            && self.lacks(bytes)
            && !self.exceeds(bytes)
        {
            self.queue.push_front((message, bytes));
            self.blocker = Some(Blocker::Bytes);
            return self.pass();
        }
        if self.reports_messages {
            self.expected.push_back(Expected::Message);
        }
        match message {
            Message::Sub { id, name, .. } => self.sub(id, name, bytes),
            Message::Unsub(id) => self.unsub(id),
            Message::Method { id, name, .. } => {
                self.expected.push_back(Expected::Call { id, name, bytes });
                self.blocker = Some(Blocker::Next);
            }
            Message::Malformed { reason, .. } => {
                self.expected.push_back(Expected::Error(reason));
            }
            Message::Connect | Message::Ping(_) | Message::Pong | Message::Garbage(_) => {
                unreachable!("answered at once")
            }
        }
        true
    }

    fn unsub(&mut self, id: Option<String>) {
        if let Some(key) = self.key_of(id.as_deref()) {
            self.end(key);
            self.expected.push_back(Expected::Unsubscribe(key));
            self.settle(key);
        }
        self.expected.push_back(Expected::Nosub { id, has_error: false });
    }

    /// No `unsub` waits behind a `sub` that waits for bytes, but a `sub` that waits never begins once
    /// its `unsub` has come. False if there is none.
    fn pass(&mut self) -> bool {
        let is_unsub = |(message, _): &(Message, usize)| matches!(message, Message::Unsub(_));
        let (unsubs, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.queue).into_iter().enumerate().partition(|(_, m)| is_unsub(m));
        let ends = |at: usize, id: &String| {
            let mut later = unsubs.iter().filter(|(other, _)| *other > at);
            later.any(|(_, (unsub, _))| matches!(unsub, Message::Unsub(Some(of)) if of == id))
        };
        let mut others: VecDeque<_> = others
            .into_iter()
            .filter(
                |(at, (message, _))| !matches!(message, Message::Sub { id, .. } if ends(*at, id)),
            )
            .collect();
        let first = others.pop_front_if(|(at, _)| *at == 0);
        let (waits, has_unsub) = (first.is_some(), !unsubs.is_empty());
        self.queue = first.into_iter().chain(unsubs).chain(others).map(|(_, both)| both).collect();
        if !waits {
            self.blocker = None;
            return true;
        }
        if !has_unsub {
            return false;
        }
        let Some((Message::Unsub(ended), _)) = self.queue.remove(1) else { unreachable!() };
        if self.reports_messages {
            self.expected.push_back(Expected::Message);
        }
        self.unsub(ended);
        if !self.queue.iter().any(is_unsub) {
            self.try_waiting();
        }
        true
    }

    fn key_of(&self, id: Option<&str>) -> Option<SubscriptionKey> {
        let id = id?;
        let mut all = self.subscriptions.iter();
        all.find(|(_, state)| state.id.as_deref() == Some(id)).map(|(key, _)| *key)
    }

    fn sub(&mut self, id: String, name: String, bytes: usize) {
        if self.key_of(Some(&id)).is_some() {
            self.expected.push_back(Expected::SubscribeAgain { id, name });
        } else if !self.is_new(&id) || self.exceeds(bytes) {
            self.expected.push_back(Expected::Nosub { id: Some(id), has_error: true });
        } else {
            self.expected.push_back(Expected::Subscribe { id, name, bytes });
            self.blocker = Some(Blocker::Next);
        }
    }

    /// A `sub` whose id is in use names an unknown publication.
    pub(super) fn refuse(&mut self, id: &str) {
        self.expected.push_back(Expected::Nosub { id: Some(id.to_owned()), has_error: true });
    }

    pub(super) fn universal(&mut self, key: SubscriptionKey) {
        self.subscriptions.insert(key, Subscription { id: None, bytes: 0, is_ready: false });
    }

    pub(super) fn ready(&mut self, key: SubscriptionKey) {
        let state = self.subscriptions.get_mut(&key).filter(|state| !state.is_ready);
        if let Some(state) = state {
            state.is_ready = true;
            match (&mut self.rerun, state.id.clone()) {
                (_, None) => {}
                (Some(rerun), Some(id)) => rerun.ready.push(id),
                (None, Some(id)) => self.expected.push_back(Expected::Ready(vec![id], None)),
            }
        }
        self.unblock(Blocker::Subscription(key));
        self.settle(key);
        self.process();
    }

    pub(super) fn returned(&mut self, key: SubscriptionKey) {
        self.unblock(Blocker::Subscription(key));
        self.settle(key);
        self.process();
    }

    pub(super) fn stop(&mut self, key: SubscriptionKey, has_error: bool) {
        if let Some(id) = self.end(key) {
            self.expected.push_back(Expected::Nosub { id, has_error });
            // What was left is sent before these are removed, and during a rerun nothing is left of that.
            self.is_left &= self.rerun.is_none();
        }
        self.unblock(Blocker::Subscription(key));
        self.settle(key);
        self.try_waiting();
        self.process();
    }

    fn end(&mut self, key: SubscriptionKey) -> Option<Option<String>> {
        let id = self.subscriptions.remove(&key)?.id;
        self.ended.push(key);
        if let (Some(rerun), Some(id)) = (&mut self.rerun, &id) {
            rerun.ready.retain(|other| other != id);
        }
        Some(id)
    }

    pub(super) fn unblock_subscription(&mut self, key: SubscriptionKey) {
        self.unblock(Blocker::Subscription(key));
    }

    pub(super) fn unblock_call(&mut self, key: CallKey) {
        self.unblock(Blocker::Call(key));
    }

    fn unblock(&mut self, blocker: Blocker) {
        if self.blocker == Some(blocker) {
            self.blocker = None;
            self.process();
        }
    }

    pub(super) fn result(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get_mut(&key).filter(|call| !call.has_result) {
            call.has_result = true;
            call.bytes = call.id.len();
            self.expected.push_back(Expected::Result(call.id.clone()));
            self.forget(key);
        }
        self.unblock(Blocker::Call(key));
    }

    pub(super) fn updated(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get_mut(&key).filter(|call| !call.is_updated) {
            call.is_updated = true;
            match &mut self.rerun {
                Some(rerun) => rerun.updated.push(key),
                None => {
                    self.expected.push_back(Expected::Updated(vec![call.id.clone()], None));
                }
            }
            self.forget(key);
        }
    }

    fn forget(&mut self, key: CallKey) {
        let is_held = self.rerun.as_ref().is_some_and(|rerun| rerun.updated.contains(&key));
        let is_over = self.calls.get(&key).is_some_and(|call| call.has_result && call.is_updated);
        if is_over && !is_held {
            self.calls.remove(&key);
            self.process();
        }
    }

    pub(super) fn rerun(&mut self) {
        self.rerun.get_or_insert_default();
        self.expected.push_back(Expected::Rerun);
    }

    fn settle(&mut self, key: SubscriptionKey) {
        if let Some(rerun) = &mut self.rerun {
            rerun.waiting.remove(&key);
            self.finish_rerun();
        }
    }

    fn finish_rerun(&mut self) {
        if let Some(rerun) = self.rerun.take_if(|rerun| rerun.waiting.is_empty()) {
            if !rerun.ready.is_empty() {
                self.expected.push_back(Expected::Ready(rerun.ready, None));
            }
            if !rerun.updated.is_empty() {
                let ids = rerun.updated.iter().map(|key| self.calls[key].id.clone()).collect();
                self.expected.push_back(Expected::Updated(ids, None));
            }
            for key in rerun.updated {
                if self.calls[&key].has_result {
                    self.calls.remove(&key);
                }
            }
            self.expected.push_back(Expected::RerunDone);
        }
    }

    /// What was just added is to be told to a client that has these documents.
    pub(super) fn stamp(&mut self, state: impl FnOnce() -> State) {
        let mut bare = self.expected.iter_mut().rev().filter_map(|expected| match expected {
            Expected::Ready(_, state @ None) | Expected::Updated(_, state @ None) => Some(state),
            _ => None,
        });
        let Some(first) = bare.next() else { return };
        let state = Rc::new(state());
        *first = Some(Rc::clone(&state));
        bare.for_each(|bare| *bare = Some(Rc::clone(&state)));
    }

    /// Whether nothing is owed at present.
    pub(super) fn owes_nothing(&self) -> bool {
        self.expected.is_empty()
    }

    /// An answer came that is not about documents. Returns what the client must have by now, if that
    /// matters.
    pub(super) fn meet_answer(&mut self, answer: &Answer<'_>) -> Option<Rc<State>> {
        let expected = self.expected.pop_front();
        let msg = answer.msg.as_deref().unwrap_or_default();
        let is_met = match &expected {
            Some(Expected::Pong(id)) => msg == "pong" && answer.id == *id,
            Some(Expected::Error(reason)) => {
                msg == "error" && answer.reason.as_deref() == Some(reason)
            }
            Some(Expected::Ready(ids, _)) => msg == "ready" && answer.subs.as_ref() == Some(ids),
            Some(Expected::Nosub { id, has_error }) => {
                msg == "nosub" && answer.id == *id && answer.error.is_some() == *has_error
            }
            Some(Expected::Result(id)) => msg == "result" && answer.id.as_ref() == Some(id),
            Some(Expected::Updated(ids, _)) => {
                msg == "updated" && answer.methods.as_ref() == Some(ids)
            }
            Some(Expected::Connected) => msg == "connected" && answer.session.is_some(),
            _ => false,
        };
        assert!(is_met, "expected {expected:?}, got {answer:?}, then {:?}", self.expected);
        match expected {
            Some(Expected::Ready(_, state) | Expected::Updated(_, state)) => state,
            _ => None,
        }
    }

    /// An event came.
    pub(super) fn meet_event(&mut self, event: &Event) {
        let expected = self.expected.pop_front();
        match (expected, event) {
            (Some(Expected::Connected), Event::Connected(_)) => self.is_connected = true,
            (Some(Expected::Message), Event::Message(_))
            | (Some(Expected::RerunDone), Event::RerunDone) => {}
            (
                Some(Expected::Subscribe { id, name, bytes }),
                Event::Subscribe { subscription, name: given, .. },
            ) if name == *given => {
                self.blocker = Some(Blocker::Subscription(*subscription));
                let state = Subscription { id: Some(id), bytes, is_ready: false };
                let old = self.subscriptions.insert(*subscription, state);
                assert!(old.is_none(), "a key that comes again");
            }
            (
                Some(Expected::SubscribeAgain { id, name }),
                Event::SubscribeAgain { id: used, name: given },
            ) if (&id, &name) == (used, given) => {}
            (Some(Expected::Unsubscribe(key)), Event::Unsubscribe(given)) if key == *given => {}
            (Some(Expected::Call { id, name, bytes }), Event::Call { call, method, .. })
                if name == *method =>
            {
                self.blocker = Some(Blocker::Call(*call));
                let state = Call { id, bytes, has_result: false, is_updated: false };
                assert!(self.calls.insert(*call, state).is_none(), "a key that comes again");
            }
            (Some(Expected::Rerun), Event::Rerun(renamed)) => self.begin_rerun(renamed),
            (expected, event) => panic!("expected {expected:?}, got {event:?}"),
        }
    }

    fn begin_rerun(&mut self, renamed: &BTreeMap<SubscriptionKey, SubscriptionKey>) {
        assert!(renamed.keys().eq(self.subscriptions.keys()), "all run anew, and no others");
        let old = std::mem::take(&mut self.subscriptions);
        for (key, mut state) in old {
            state.is_ready = false;
            assert!(self.subscriptions.insert(renamed[&key], state).is_none());
            assert!(!renamed.contains_key(&renamed[&key]), "a key that comes again");
        }
        if let Some(Blocker::Subscription(key)) = &mut self.blocker
            && let Some(new) = renamed.get(key)
        {
            *key = *new;
        }
        let rerun = self.rerun.get_or_insert_default();
        rerun.waiting = renamed.values().copied().collect();
        rerun.ready.clear();
        self.finish_rerun();
        self.process();
    }
}
