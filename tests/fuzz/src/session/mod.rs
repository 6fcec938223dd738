//! A session between a strict client on one side, and scripted publications and methods on the
//! other.

mod documents;
mod operation;
mod protocol;
mod publications;

use std::time::{Duration, Instant};

use ddp_core::merge_box::{Outgoing, PublicationStrategies, PublicationStrategy};
use ddp_core::session::{CallKey, CloseReason, Event, Input, Output, SessionConfig};
use ddp_core::{DdpError, Session, SubscriptionKey};

use self::documents::{Shown, check};
pub use self::operation::{FieldBits, Operation, Setup};
use self::protocol::{Message, Protocol};
use self::publications::{Mail, PUBLICATIONS, Publications};
use crate::answer::Answer;
use crate::client::Client;
use crate::trace;

const COLLECTIONS: [&str; 4] = ["merged", "multi", "single", ORDERED];
const ORDERED: &str = "ordered";

const GARBAGE: [&str; 4] = ["", "{", "[1]", "{\"msg\":0}"];
const MALFORMED: [(&str, &str); 3] = [
    (r#"{"msg":"added"}"#, "Bad request"),
    (r#"{"msg":"sub","id":"s0"}"#, "Malformed subscription"),
    (r#"{"msg":"method","id":"1","method":"m","params":7}"#, "Malformed method invocation"),
];

/// Everything around a session.
pub struct World {
    session: Session,
    config: SessionConfig,
    now: Instant,
    deadline: Option<Instant>,
    closed: Option<CloseReason>,
    heard_at: Instant,
    pinged_at: Option<Instant>,
    client: Client,
    shown: Shown,
    protocol: Protocol,
    publications: Publications,
    subscriptions: Vec<SubscriptionKey>,
    calls: Vec<CallKey>,
    /// How many messages the client takes while documents are left.
    room: usize,
}

impl World {
    /// A session that is not connected yet.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        use PublicationStrategy::{NoMerge, NoMergeMulti, NoMergeNoHistory, ServerMerge};
        let multi = if setup.multi { NoMergeMulti } else { ServerMerge };
        let single = [NoMerge, NoMergeNoHistory, ServerMerge][usize::from(setup.single % 3)];
        let strategies = PublicationStrategies::default();
        let strategies = strategies.with(COLLECTIONS[1], multi).with(COLLECTIONS[2], single);
        let mut config = SessionConfig::default();
        config.inbox_messages_max = limit(setup.inbox_messages_max);
        if setup.session_bytes_max > 0 {
            config.session_bytes_max = usize::from(setup.session_bytes_max) * 64;
        }
        config.calls_max = limit(setup.calls_max);
        config.subscriptions_max = limit(setup.subscriptions_max);
        if setup.piece_bytes > 0 {
            config.piece_bytes = usize::from(setup.piece_bytes) * 8;
        }
        config.strategies = strategies.clone();
        config.reports_messages = setup.reports_messages;
        let now = Instant::now();
        let mut world = Self {
            session: Session::new("Kc9ZbXWp4n3wCmdyv".to_owned(), config.clone().into(), now),
            now,
            deadline: None,
            closed: None,
            heard_at: now,
            pinged_at: None,
            client: Client::default(),
            shown: Shown::new(strategies.clone()),
            protocol: Protocol::new(&config),
            config,
            publications: Publications::new(strategies),
            subscriptions: Vec::new(),
            calls: Vec::new(),
            room: usize::MAX,
        };
        world.drain();
        world
    }

    /// Does one thing, and checks the outcome.
    pub fn run(&mut self, operation: &Operation) {
        trace(operation);
        if self.closed.is_some() {
            // Whatever comes now is ignored.
            self.session.handle_input(Input::Rerun);
            return assert!(matches!(self.session.poll_output(), Output::Timeout(None)));
        }
        match *operation {
            Operation::Sub { id, publication, length } => self.send(Message::Sub {
                id: format!("s{}", id % 5),
                name: format!("p{}", publication % PUBLICATIONS),
                length: usize::from(length) * 8,
            }),
            Operation::Unsub(id) => {
                self.send(Message::Unsub(id.map(|id| format!("s{}", id % 5))));
            }
            Operation::Method { id, length } => self.send(Message::Method {
                id: format!("m{}", id % 4),
                name: "m".to_owned(),
                length: usize::from(length) * 8,
            }),
            Operation::BytesMax(steps) => self.allow(usize::from(steps) * 64),
            Operation::Ping(id) => self.send(Message::Ping(id.map(|id| id.to_string()))),
            Operation::Pong => self.send(Message::Pong),
            Operation::Connect => self.send(Message::Connect),
            Operation::Garbage(index) => {
                self.send(Message::Garbage(GARBAGE[usize::from(index) % GARBAGE.len()]));
            }
            Operation::Malformed(index) => {
                let (text, reason) = MALFORMED[usize::from(index) % MALFORMED.len()];
                self.send(Message::Malformed { text, reason });
            }
            Operation::Pass { seconds } => self.pass(Duration::from_secs(seconds.into()) / 4),
            // While documents are left, nobody waits for time to pass.
            Operation::EarlyTimeout
                if !self.session.has_more() && self.deadline.is_none_or(|at| at > self.now) =>
            {
                self.give(Input::Timeout(self.now));
            }
            Operation::EarlyTimeout => {}
            Operation::Room(messages) => {
                self.room = if messages < 16 { messages.into() } else { usize::MAX };
                self.drain();
            }
            Operation::Backlogged => {
                self.hear();
                self.give(Input::Backlogged);
            }
            Operation::Write { query, id, fields } => {
                self.publications.write(query, id, fields.map(FieldBits::fields));
            }
            Operation::Deliver(count) => {
                for _ in 0..count {
                    self.deliver();
                }
            }
            Operation::Conflate => self.publications.conflate(),
            _ if !self.protocol.is_connected => {}
            _ => self.run_connected(operation),
        }
        self.check();
    }

    fn run_connected(&mut self, operation: &Operation) {
        match *operation {
            Operation::Universal(publication) => {
                let key = self.session.subscribe_universal();
                self.protocol.universal(key);
                self.begin(key, publication % PUBLICATIONS);
            }
            // Before a rerun everything that the session wants done must be done.
            Operation::Rerun if !self.session.has_more() => {
                self.protocol.rerun();
                let room = std::mem::replace(&mut self.room, usize::MAX);
                self.give(Input::Rerun);
                self.room = room;
            }
            Operation::Rerun => {}
            Operation::UnblockCall(index) => {
                let Some(key) = self.call(index) else { return };
                self.protocol.unblock_call(key);
                self.give(Input::MethodUnblocked(key));
            }
            Operation::Result { call, kind } => {
                let Some(key) = self.call(call) else { return };
                self.result(key, kind);
            }
            Operation::Updated(index) => {
                let Some(key) = self.call(index) else { return };
                self.updated(key);
            }
            Operation::Ready(index)
            | Operation::Returned(index)
            | Operation::UnblockSubscription(index)
            | Operation::Stop { subscription: index, .. }
            | Operation::ByHand { subscription: index, .. }
            | Operation::Place { subscription: index, .. } => {
                if let Some(key) = self.subscription(index) {
                    self.run_publication(key, operation);
                }
            }
            _ => unreachable!("handled before"),
        }
    }

    fn run_publication(&mut self, key: SubscriptionKey, operation: &Operation) {
        match *operation {
            Operation::Ready(_) => {
                self.protocol.ready(key);
                self.give(Input::Ready(key));
            }
            Operation::Returned(_) => {
                self.protocol.returned(key);
                self.give(Input::SubscriptionReturned(key));
            }
            Operation::UnblockSubscription(_) => {
                self.protocol.unblock_subscription(key);
                self.give(Input::SubscriptionUnblocked(key));
            }
            Operation::Stop { has_error, .. } => {
                self.protocol.stop(key, has_error);
                let error = has_error.then(|| DdpError::new(403, "No"));
                self.give(Input::Stop(key, error));
            }
            Operation::ByHand { collection, id, fields, .. } => {
                self.publications.by_hand(key, collection, id, fields.map(FieldBits::fields));
            }
            Operation::Place { id, fields, before, .. } => {
                self.publications.place(key, id, fields.map(FieldBits::fields), before);
            }
            _ => unreachable!("no matter of publications"),
        }
    }

    fn subscription(&self, index: u8) -> Option<SubscriptionKey> {
        pick(index, &self.protocol.keys(), &self.subscriptions)
    }

    fn call(&self, index: u8) -> Option<CallKey> {
        let open: Vec<CallKey> = self.protocol.calls.keys().copied().collect();
        pick(index, &open, &self.calls)
    }

    /// `updated` comes with the other half of the kinds.
    fn result(&mut self, key: CallKey, kind: u8) {
        let is_updated = kind >= 128;
        if is_updated {
            self.protocol.updated(key);
        }
        self.protocol.result(key);
        let result = match kind % 3 {
            0 => Ok(None),
            1 => Ok(Some("[1]".to_owned())),
            _ => Err(DdpError::method_not_found("m")),
        };
        self.give(match is_updated {
            true => Input::Finished(key, result),
            false => Input::Result(key, result),
        });
    }

    fn updated(&mut self, key: CallKey) {
        self.protocol.updated(key);
        self.give(Input::Updated(key));
    }

    /// Hands the session its next mail. False if there is none.
    fn deliver(&mut self) -> bool {
        let Some(mail) = self.publications.next_mail() else { return false };
        if self.closed.is_none() {
            self.show(&mail);
            self.give(mail.input());
        }
        true
    }

    fn show(&mut self, mail: &Mail) {
        use ddp_core::merge_box::Source::ByHand;
        match mail {
            Mail::Delta(key, source, delta) if self.protocol.has(*key) => {
                self.shown.take(*key, *source, delta);
            }
            Mail::Step(query, delta) => self.shown.step(*query, delta),
            Mail::Placed(key, delta, placement) if self.protocol.has(*key) => {
                self.shown.begin(*key, ByHand, &placement.collection);
                if let Some(delta) = delta {
                    self.shown.take(*key, ByHand, delta);
                }
            }
            Mail::Delta(..) | Mail::Placed(..) | Mail::Direct(..) => {}
        }
    }

    /// Bounds what is kept, and what of it subscriptions may have.
    fn allow(&mut self, bytes: usize) {
        self.protocol.allow(bytes);
        self.session.set_bytes_max(bytes);
        self.session.give_subscription_bytes(bytes);
        self.drain();
    }

    /// The client sends a message, unless it is held back.
    fn send(&mut self, message: Message) {
        let has_room = self.protocol.waiting_messages() < self.config.inbox_messages_max
            && self.protocol.has_room();
        assert_eq!(self.session.wants_input(), has_room);
        if !has_room {
            return;
        }
        let text = text(&message);
        self.hear();
        self.protocol.message(message, text.len());
        self.give(Input::Message(self.now, &text));
    }

    fn hear(&mut self) {
        if self.protocol.is_connected {
            self.heard_at = self.now;
            self.pinged_at = None;
        }
    }

    /// Time passes, and the session is called whenever it asked to be.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.deadline.filter(|at| *at <= until && self.closed.is_none()) {
            self.now = self.now.max(at);
            self.give(Input::Timeout(self.now));
            assert!(self.deadline.is_none_or(|next| next > self.now), "it is due again at once");
        }
        self.now = until;
        if self.closed.is_none() && self.protocol.is_connected && !self.session.has_more() {
            let silence = self.now - self.heard_at;
            let silence_max = 2 * self.config.heartbeat_interval + self.config.heartbeat_timeout;
            assert!(silence <= silence_max, "a client that is silent for {silence:?}");
        }
    }

    fn check_close(&self, reason: CloseReason) {
        match reason {
            CloseReason::VersionMismatch => panic!("the versions are the same"),
            CloseReason::ConnectTimeout => {
                assert!(!self.protocol.is_connected);
                assert!(self.now - self.heard_at >= self.config.connect_timeout);
            }
            CloseReason::HeartbeatTimeout => {
                let pinged_at = self.pinged_at.expect("nobody goes without a ping");
                assert!(self.now - pinged_at >= self.config.heartbeat_timeout);
            }
            other => panic!("closed: {other}"),
        }
    }

    fn give(&mut self, input: Input<'_>) {
        self.note();
        self.session.handle_input(input);
        self.drain();
    }

    /// Does what the session wants, as far as there is room.
    fn drain(&mut self) {
        let was_left = self.protocol.is_left;
        loop {
            if self.session.has_more() {
                let Some(room) = self.room.checked_sub(1) else {
                    self.deadline = None;
                    break;
                };
                self.room = if self.room == usize::MAX { self.room } else { room };
            }
            match self.session.poll_output() {
                Output::Send(Outgoing::Text(text)) => self.receive(&text),
                Output::Send(Outgoing::Shared(delta)) => {
                    delta.for_each_message(|text| self.receive(text));
                }
                Output::EndFrame => {}
                Output::Event(event) => self.handle(event),
                Output::Close(reason) => {
                    self.check_close(reason);
                    self.closed = Some(reason);
                }
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    break;
                }
            }
        }
        self.catch_up();
        if !self.protocol.is_left {
            self.protocol.check_empty();
        }
        if was_left && !self.protocol.is_left && self.closed.is_none() {
            // It was not read from.
            self.hear();
            self.give(Input::Backlogged);
        }
    }

    /// The protocol takes as many messages as the session has.
    fn catch_up(&mut self) {
        self.protocol.is_left = self.session.has_more();
        if self.protocol.is_left {
            while self.protocol.kept_bytes() != self.session.kept_bytes() {
                assert!(self.protocol.advance(), "messages that the session does not take");
                self.note();
            }
        } else {
            while self.protocol.advance() {
                self.note();
            }
        }
    }

    /// Notes what has become of subscriptions, and what is to be told now.
    fn note(&mut self) {
        self.release();
        for key in std::mem::take(&mut self.protocol.ended) {
            self.shown.remove(key);
            self.publications.end(key);
        }
        let shown = &self.shown;
        self.protocol.stamp(|| shown.state());
    }

    /// The next thing that is owed is known.
    fn look_ahead(&mut self) {
        while self.protocol.owes_nothing() && self.protocol.advance() {
            self.note();
        }
    }

    fn release(&mut self) {
        if !self.protocol.is_rerunning() {
            self.shown.release();
        }
    }

    fn receive(&mut self, text: &str) {
        trace(&text);
        assert!(self.closed.is_none(), "sent after the close: {text}");
        let answer = Answer::read(text);
        match answer.msg.as_deref() {
            None => assert_eq!(text, r#"{"server_id":"0"}"#),
            Some("added" | "changed" | "removed" | "addedBefore" | "movedBefore") => {
                let shown = &self.shown;
                self.client.apply(text, |collection| shown.strictness(collection));
            }
            Some("ping") => {
                assert!(self.pinged_at.is_none(), "pinged twice");
                assert!(self.now - self.heard_at >= self.config.heartbeat_interval);
                self.pinged_at = Some(self.now);
            }
            Some(_) => {
                self.look_ahead();
                // Anything to see comes before this.
                if let Some(state) = self.protocol.meet_answer(&answer) {
                    check(&state, &self.client);
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        trace(&event);
        self.look_ahead();
        self.protocol.meet_event(&event);
        match event {
            Event::Connected(_) => self.heard_at = self.now,
            Event::Subscribe { subscription, name, .. } => {
                let publication = name.strip_prefix('p').and_then(|name| name.parse().ok());
                self.begin(subscription, publication.expect("a publication"));
            }
            Event::SubscribeAgain { id, name } => {
                if name == "p0" {
                    // It comes after the answers to all messages that the session has taken by now.
                    self.catch_up();
                    self.protocol.refuse(&id);
                    self.session.refuse(&id, &DdpError::subscription_not_found(&name));
                }
            }
            Event::Rerun(renamed) => {
                self.shown.hold(|key| renamed.get(&key).copied());
                self.release();
                self.publications.rerun(&renamed);
                self.subscriptions.extend(renamed.values());
            }
            Event::Call { call, .. } => self.calls.push(call),
            Event::Unsubscribe(_) | Event::Message(_) | Event::RerunDone => {}
        }
        self.note();
    }

    fn begin(&mut self, key: SubscriptionKey, publication: u8) {
        self.subscriptions.push(key);
        self.publications.begin(key, publication);
    }

    fn check(&self) {
        if !self.session.has_more() {
            self.shown.check(&self.client);
        }
        if self.closed.is_none() {
            assert_eq!(self.session.kept_bytes(), self.protocol.kept_bytes());
        }
        for key in &self.subscriptions {
            assert_eq!(self.session.has_subscription(*key), self.protocol.has(*key));
        }
    }

    /// Everything in progress comes to an end, and finally the client has nothing.
    pub fn finish(&mut self) {
        if !self.protocol.is_connected {
            return;
        }
        self.room = usize::MAX;
        self.drain();
        if self.closed.is_none() {
            self.allow(usize::MAX);
        }
        while self.closed.is_none() {
            for call in self.protocol.calls.keys().copied().collect::<Vec<_>>() {
                self.result(call, 0);
                self.updated(call);
            }
            while self.deliver() {}
            for key in self.protocol.keys() {
                self.run_publication(key, &Operation::Ready(0));
            }
            self.check();
            if self.protocol.waiting_messages() == 0 && self.protocol.calls.is_empty() {
                break;
            }
        }
        while self.deliver() {}
        if self.closed.is_none() {
            assert!(!self.protocol.is_rerunning(), "all are ready");
            self.check();
            for key in self.protocol.keys() {
                self.run_publication(key, &Operation::Stop { subscription: 0, has_error: false });
            }
            self.check();
            assert!(self.protocol.keys().is_empty());
        }
    }
}

fn limit(choice: u8) -> usize {
    [1, 2, 3, 1000][usize::from(choice % 4)]
}

fn pick<T: Copy>(index: u8, going_on: &[T], all: &[T]) -> Option<T> {
    let from = if index % 2 == 0 { going_on } else { all };
    from.get(usize::from(index / 2) % from.len().max(1)).copied()
}

fn text(message: &Message) -> String {
    match message {
        Message::Connect => r#"{"msg":"connect","version":"1","support":["1"]}"#.to_owned(),
        Message::Ping(None) => r#"{"msg":"ping"}"#.to_owned(),
        Message::Ping(Some(id)) => format!(r#"{{"msg":"ping","id":"{id}"}}"#),
        Message::Pong => r#"{"msg":"pong"}"#.to_owned(),
        Message::Sub { id, name, length } => {
            let params = "x".repeat(*length);
            format!(r#"{{"msg":"sub","id":"{id}","name":"{name}","params":["{params}"]}}"#)
        }
        Message::Unsub(None) => r#"{"msg":"unsub"}"#.to_owned(),
        Message::Unsub(Some(id)) => format!(r#"{{"msg":"unsub","id":"{id}"}}"#),
        Message::Method { id, name, length } => {
            let params = "x".repeat(*length);
            format!(r#"{{"msg":"method","id":"{id}","method":"{name}","params":["{params}"]}}"#)
        }
        Message::Garbage(text) | Message::Malformed { text, .. } => (*text).to_owned(),
    }
}
