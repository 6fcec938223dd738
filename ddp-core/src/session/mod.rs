//! One client's session, as a state machine without IO.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use ddp_core::Session;
//! use ddp_core::merge_box::Outgoing;
//! use ddp_core::session::{Event, Input, Output};
//!
//! /// Gives the session an input, runs what it wants run, and answers what it wants sent.
//! fn step(session: &mut Session, input: Input<'_>) -> Vec<String> {
//!     session.handle_input(input);
//!     let mut sent = Vec::new();
//!     loop {
//!         match session.poll_output() {
//!             Output::Send(Outgoing::Text(text)) => sent.push(text),
//!             Output::Event(Event::Call { call, .. }) => {
//!                 session.handle_input(Input::Finished(call, Ok(Some("42".to_owned()))));
//!             }
//!             Output::Timeout(_) | Output::Close(_) => return sent,
//!             Output::Send(_) | Output::EndFrame | Output::Event(_) => {}
//!         }
//!     }
//! }
//!
//! let now = Instant::now();
//! let mut session = Session::new("Kc9ZbXWp4n3wCmdyv".to_owned(), Arc::default(), now);
//! let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
//! step(&mut session, Input::Message(now, connect));
//! let call = r#"{"msg":"method","id":"1","method":"answer","params":[]}"#;
//! assert_eq!(
//!     step(&mut session, Input::Message(now, call)),
//!     [r#"{"msg":"updated","methods":["1"]}"#, r#"{"msg":"result","id":"1","result":42}"#]
//! );
//! ```

mod budget;
mod config;
mod frames;
mod handshake;
mod heartbeat;
mod inbox;
mod io;
mod methods;
mod pieces;
mod rerun;
mod state;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use budget::Budget;
pub use budget::LARGE_MESSAGE_BYTES;
pub use config::SessionConfig;
use heartbeat::{Heartbeat, Sign};
pub use io::{CloseReason, Event, Input, Output};
use litemap::LiteMap;
use state::{Blocker, Call, Rerun, State, Subscription, Waiting};

use crate::error::ProtocolError;
pub use crate::id::{CallKey, SubscriptionKey};
use crate::merge_box::MergeBox;
use crate::message::client::Malformed;
use crate::message::{ClientMessage, ServerMessage, decode};

/// The server's side of a DDP session: protocol, order, subscriptions and merge box.
///
/// Methods come in two groups. [`handle_input`](Self::handle_input) takes what happened;
/// [`poll_output`](Self::poll_output) says what to do about it. **Mutate once, then drain:** after
/// each input call `poll_output` until it returns [`Output::Timeout`] or [`Output::Close`]. Then,
/// and only then, [`deliver`](Self::deliver) is a shortcut for documents.
///
/// Messages run one at a time in the client's order: a method or a `sub` holds up the rest until it
/// returns or unblocks, but `ping` is answered, and `disconnect` ends the session, at once. A `sub`
/// that waits for [bytes](Self::give_subscription_bytes) does not hold up an `unsub`, which may give
/// them. Inputs for an ended subscription or call are ignored, since they may cross with the client's
/// `unsub`.
#[derive(Debug)]
pub struct Session {
    id: String,
    config: Arc<SessionConfig>,
    state: State,
    /// Whether the client had another session before this one.
    is_reconnect: bool,
    heartbeat: Heartbeat,
    queue: VecDeque<Waiting>,
    budget: Budget,
    /// How many bytes the budget may be at present, and how many of them subscriptions may have.
    bytes_max: usize,
    subscription_bytes_given: usize,
    /// How many may be given at most.
    subscription_bytes_max: usize,
    blocked_by: Option<Blocker>,
    subscriptions: LiteMap<SubscriptionKey, Subscription>,
    subscription_keys: HashMap<Arc<str>, SubscriptionKey>,
    calls: LiteMap<CallKey, Call>,
    merge_box: MergeBox,
    rerun: Option<Box<Rerun>>,
    last_key: u64,
    outputs: VecDeque<Output>,
    /// Whether messages that wait go on when these are taken.
    is_held: bool,
    /// What comes before the rest of the documents that the merge box has, which come before `outputs`.
    /// There are some, or nothing.
    #[expect(
        clippy::box_collection,
        reason = "few sessions have any, each would take 24 bytes more"
    )]
    pieces: Option<Box<VecDeque<Output>>>,
}

impl Session {
    /// A session that starts now. `id` becomes its id once the client connects: 17 characters from
    /// [`crate::random`], as several clients expect. Sessions may share their configuration.
    #[must_use]
    pub fn new(id: String, config: Arc<SessionConfig>, now: Instant) -> Self {
        let mut session = Self {
            id,
            state: State::Connecting,
            is_reconnect: false,
            heartbeat: Heartbeat::new(now + config.connect_timeout),
            queue: VecDeque::new(),
            budget: Budget::default(),
            bytes_max: usize::MAX,
            subscription_bytes_given: usize::MAX,
            subscription_bytes_max: usize::MAX,
            blocked_by: None,
            subscriptions: LiteMap::new(),
            subscription_keys: HashMap::new(),
            calls: LiteMap::new(),
            merge_box: MergeBox::new(config.strategies.clone()).in_pieces_of(config.piece_bytes),
            config,
            rerun: None,
            last_key: 0,
            outputs: VecDeque::new(),
            is_held: false,
            pieces: None,
        };
        session.send(ServerMessage::ServerId);
        session
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether there is an active subscription with this key.
    #[must_use]
    pub fn has_subscription(&self, subscription: SubscriptionKey) -> bool {
        self.subscriptions.contains_key(&subscription)
    }

    /// Whether there is room for the client's next message. If not, leave it in the socket to hold
    /// the client back. If that lasts longer than the heartbeat allows, the client goes unheard and
    /// counts as dead.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.state != State::Closed
            && self.queue.len() < self.config.inbox_messages_max
            && (self.budget.has_room(self.config.session_bytes_max, self.bytes_max)
                || self.only_waits_for_bytes())
    }

    /// Whether nothing waits or runs but a `sub` that needs bytes. What the client sends next may give
    /// them, so one message is read, however long the `sub` is.
    fn only_waits_for_bytes(&self) -> bool {
        self.blocked_by == Some(Blocker::Bytes) && self.queue.len() == 1 && self.calls.is_empty()
    }

    /// Whether calls are unfinished, or messages wait for their turn.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.calls.is_empty() || !self.queue.is_empty()
    }

    /// Whether every subscription is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.subscriptions.iter().all(|(_, subscription)| subscription.is_ready)
    }

    /// How many bytes the session keeps for its client's messages, but for the largest call that
    /// runs.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.budget.kept()
    }

    /// How many bytes of messages over [`LARGE_MESSAGE_BYTES`] wait or run.
    #[must_use]
    pub fn large_bytes(&self) -> usize {
        self.budget.large()
    }

    /// How many bytes the session may [keep](Self::kept_bytes) before no more is read, if
    /// [`session_bytes_max`](SessionConfig::session_bytes_max) does not say so earlier. What
    /// subscriptions may have is [given](Self::give_subscription_bytes) apart from that.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, input: Input<'_>) {
        if self.state == State::Closed {
            return;
        }
        match input {
            Input::Message(now, text) => self.handle_message(now, text),
            Input::Timeout(now) => self.handle_timeout(now),
            Input::Backlogged => self.heartbeat.handle_message(),
            Input::Delta(subscription, source, delta) => {
                self.handle_delta(subscription, source, delta);
            }
            Input::Step(query, delta) => {
                self.handle_step(query, &delta);
            }
            Input::Placed(subscription, delta, placement) => {
                self.handle_placed(subscription, delta.as_ref(), placement);
            }
            Input::Direct(subscription, direct) => self.handle_direct(subscription, &direct),
            Input::Ready(subscription) => self.handle_ready(subscription),
            Input::Stop(subscription, error) => self.handle_stop(subscription, error.as_ref()),
            Input::SubscriptionUnblocked(subscription) => {
                self.unblock(Blocker::Subscription(subscription));
            }
            Input::SubscriptionReturned(subscription) => self.handle_returned(subscription),
            Input::MethodUnblocked(call) => self.unblock(Blocker::Method(call)),
            Input::Result(call, result) => self.handle_result(call, result),
            Input::Updated(call) => self.handle_updated(call),
            Input::Finished(call, result) => self.handle_finished(call, result),
            Input::Rerun => self.handle_rerun(),
        }
    }

    /// Says what to do next.
    pub fn poll_output(&mut self) -> Output {
        self.next_output().unwrap_or_else(|| {
            let deadline = (self.state != State::Closed).then(|| self.heartbeat.deadline());
            Output::Timeout(deadline.flatten())
        })
    }

    /// Whether documents of this session alone are still to be made into messages, which is done piece
    /// by piece, or messages of the client wait until what earlier ones made is taken. A driver that has no room for them may leave them until it has: meanwhile it need not
    /// call [`poll_output`](Self::poll_output). They come before what other inputs make.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.is_held || self.merge_box.has_more()
    }

    fn handle_timeout(&mut self, now: Instant) {
        let is_connected = self.state != State::Connecting;
        match self.heartbeat.handle_timeout(now, is_connected, &self.config) {
            Some(Sign::Silent) if is_connected => self.close(CloseReason::HeartbeatTimeout),
            Some(Sign::Silent) => self.close(CloseReason::ConnectTimeout),
            Some(Sign::Ping) => self.send(ServerMessage::Ping),
            None => {}
        }
    }

    fn handle_message(&mut self, now: Instant, text: &str) {
        let message = decode::decode(text);
        if message == Ok(ClientMessage::Disconnect) {
            // Out of turn, as in Meteor. The close is not left to the client: the end of one that
            // polls would be noticed a minute later.
            return self.close(CloseReason::Disconnect);
        }
        let State::Connected(version) = self.state else {
            return self.handle_first_message(now, text, message);
        };
        self.heartbeat.handle_message();
        match message {
            Ok(ClientMessage::Ping { id }) if version.has_heartbeats() => {
                self.send(ServerMessage::Pong { id: id.as_deref() });
            }
            Ok(ClientMessage::Pong) if version.has_heartbeats() => {}
            Ok(ClientMessage::Connect { .. }) => {
                self.send_error(ProtocolError::AlreadyConnected, Some(text));
            }
            Err(Malformed {
                error: error @ (ProtocolError::BadRequest | ProtocolError::ParseError),
                echo,
            }) => {
                self.send_error(error, echo.then_some(text));
            }
            message if self.can_process() && self.queue.is_empty() => self.process(message, text),
            message => self.wait(&message, text),
        }
    }

    fn can_process(&self) -> bool {
        self.blocked_by.is_none() && self.calls.len() < self.config.calls_max && !self.has_more()
    }

    fn process(&mut self, message: Result<ClientMessage, Malformed>, text: &str) {
        if let Ok(ClientMessage::Sub { id, .. }) = &message
            && self.lacks_bytes(id, text)
        {
            return self.wait_for_bytes(&message, text);
        }
        if self.config.reports_messages {
            self.outputs.push_back(Output::Event(Event::Message(text.to_owned())));
        }
        match message {
            Ok(ClientMessage::Sub { id, name, params }) => {
                self.process_sub(id, name, params, text);
            }
            Ok(ClientMessage::Unsub { id }) => self.process_unsub(id.as_deref()),
            Ok(ClientMessage::Method { id, method, params, random_seed }) => {
                self.process_method(id, method, params, random_seed, text);
            }
            // Heartbeats get here only in the version without them, the others never.
            Ok(
                ClientMessage::Connect { .. }
                | ClientMessage::Ping { .. }
                | ClientMessage::Pong
                | ClientMessage::Disconnect,
            ) => self.send_error(ProtocolError::UnknownMessage, Some(text)),
            Err(Malformed { error, echo }) => self.send_error(error, echo.then_some(text)),
        }
    }

    fn unblock(&mut self, blocker: Blocker) {
        if self.blocked_by == Some(blocker) {
            self.blocked_by = None;
            self.process_queue();
        }
    }

    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Meteor repeats the message however long it is.
    fn send_error(&mut self, reason: ProtocolError, offending_message: Option<&str>) {
        let offending_message = offending_message.filter(|text| text.len() <= LARGE_MESSAGE_BYTES);
        self.send(ServerMessage::Error { reason, offending_message });
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.forget_rest();
        self.queue = VecDeque::new();
        self.budget.clear_waiting();
        self.outputs.push_back(Output::Close(reason));
    }
}
