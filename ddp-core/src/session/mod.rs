//! One client's session, as a state machine without IO.

mod handshake;
mod heartbeat;
mod methods;
mod subscriptions;
#[cfg(test)]
mod tests;
mod user;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use litemap::LiteMap;

use crate::ejson::Ejson;
use crate::error::{DdpError, ProtocolError};
use crate::merge_box::{MergeBox, Outgoing, Placement, PublicationStrategies, Source};
use crate::message::client::Malformed;
use crate::message::{ClientMessage, ServerMessage, decode};
use crate::snapshot::Delta;
use crate::version::Version;
use heartbeat::Heartbeat;

/// Names one `sub` of a session for as long as the session lives. Clients may use their own ids
/// again; keys never come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionKey(u64);

impl From<u64> for SubscriptionKey {
    fn from(key: u64) -> Self {
        Self(key)
    }
}

impl From<SubscriptionKey> for u64 {
    fn from(key: SubscriptionKey) -> Self {
        key.0
    }
}

#[cfg(test)]
impl SubscriptionKey {
    pub(crate) fn for_tests(key: u64) -> Self {
        Self(key)
    }
}

/// Names one `method` call of a session for as long as the session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(u64);

impl From<u64> for CallKey {
    fn from(key: u64) -> Self {
        Self(key)
    }
}

/// Timeouts, limits and strategies of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// A client from which nothing came for so long is pinged. Meteor: 15 s.
    pub heartbeat_interval: Duration,
    /// A pinged client that stays silent for so long is disconnected. Meteor: 15 s.
    pub heartbeat_timeout: Duration,
    /// A connection that sends no `connect` for so long is closed. Meteor: 45 s.
    pub connect_timeout: Duration,
    /// How many messages wait while a method or a publication runs. With so many,
    /// [`Session::wants_input`] is false until there is room. Meteor has no such bound.
    pub queued_messages_max: usize,
    /// How many bytes of messages wait, the last one not counted.
    pub queued_bytes_max: usize,
    /// How many calls may be unfinished at once, counting those that only wait for `updated`. With
    /// so many, further messages wait.
    pub calls_max: usize,
    /// How many subscriptions a client may hold. One more gets `nosub` with `too-many-subscriptions`.
    pub subscriptions_max: usize,
    /// How each collection is merged.
    pub strategies: PublicationStrategies,
    /// Whether [`Event::Message`] tells of each message when its turn comes.
    pub reports_messages: bool,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(15),
            heartbeat_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(45),
            queued_messages_max: 4096,
            queued_bytes_max: 1024 * 1024,
            calls_max: 1024,
            subscriptions_max: 1024,
            strategies: PublicationStrategies::default(),
            reports_messages: false,
        }
    }
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message came from the client.
    Message(Instant, &'a str),
    /// The time that [`Output::Timeout`] named has come.
    Timeout(Instant),
    /// The client takes what it is sent, or is not being read because it does not: its silence says
    /// nothing. Whoever drives the session ends those that take nothing for too long.
    Backlogged,
    /// Documents of a subscription changed.
    Delta(SubscriptionKey, Source, Arc<Delta>),
    /// A publication put a document in its place in an ordered collection, and added or changed it
    /// by the delta, if there is one. See [`MergeBox::place`].
    Placed(SubscriptionKey, Option<Arc<Delta>>, Placement),
    /// A message about a document of a collection in which nothing is remembered.
    Direct(SubscriptionKey, String),
    /// All initial documents of a subscription have been handed over.
    Ready(SubscriptionKey),
    /// A subscription ends by the server's will: by `stop`, or with an error.
    Stop(SubscriptionKey, Option<DdpError>),
    /// The publication lets the next messages begin before its function returns.
    SubscriptionUnblocked(SubscriptionKey),
    /// The publication's function returned.
    SubscriptionReturned(SubscriptionKey),
    /// A method lets the next messages begin before it returns.
    MethodUnblocked(CallKey),
    /// A method returned: EJSON text, `None` for `undefined`.
    Result(CallKey, Result<Option<String>, DdpError>),
    /// A method's write fence fired.
    Updated(CallKey),
    /// The user changed: all subscriptions are to run anew.
    Rerun,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Send(Outgoing),
    /// Do this.
    Event(Event),
    /// Close the transport when all before this has been sent. The last output.
    Close(CloseReason),
    /// Nothing more now. Come back with [`Input::Timeout`] at this time, if any.
    Timeout(Option<Instant>),
}

/// What a client asks of the application.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The client and the server agreed on a version.
    Connected(Version),
    /// A message's turn has come, if the session [reports](SessionConfig::reports_messages) them.
    Message(String),
    /// Run a publication.
    Subscribe {
        /// Names the subscription from now on.
        subscription: SubscriptionKey,
        /// The publication.
        name: String,
        /// Its arguments.
        params: Vec<Ejson>,
    },
    /// The client asked for a subscription under an id that is in use, which is ignored unless there
    /// is no such publication: see [`Session::refuse`].
    SubscribeAgain {
        /// The client's id of the subscription.
        id: String,
        /// The publication.
        name: String,
    },
    /// Stop a publication's run; its documents are gone already.
    Unsubscribe(SubscriptionKey),
    /// Stop the runs of all these publications, and then run each again, with the same arguments,
    /// under the other key.
    Rerun(BTreeMap<SubscriptionKey, SubscriptionKey>),
    /// All publications have run again, and the client has been sent what is different.
    RerunDone,
    /// Run a method.
    Call {
        /// Names the call from now on.
        call: CallKey,
        /// The method.
        method: String,
        /// Its arguments.
        params: Vec<Ejson>,
        /// The client's `randomSeed`.
        random_seed: Option<String>,
    },
}

/// Why a session closes its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// There is no common version.
    #[error("version negotiation failed")]
    VersionMismatch,
    /// No `connect` came in time.
    #[error("no connect in time")]
    ConnectTimeout,
    /// A `ping` was not answered in time.
    #[error("heartbeat timeout")]
    HeartbeatTimeout,
}

/// The server's side of a DDP session: protocol, order, subscriptions and merge box.
///
/// Methods come in two groups. [`handle_input`](Self::handle_input) takes what happened;
/// [`poll_output`](Self::poll_output) says what to do about it. **Mutate once, then drain:** after
/// each input call `poll_output` until it answers [`Output::Timeout`] or [`Output::Close`]. Then, and
/// only then, [`deliver`](Self::deliver) is a shorter way for documents.
///
/// Messages run one at a time in the client's order: a method or a `sub` holds up the rest until it
/// returns or unblocks, but `ping` is answered at once. Inputs that name a subscription or a call
/// that has ended are ignored, since they cross with the client's `unsub` on their way.
#[derive(Debug)]
pub struct Session {
    id: String,
    config: Arc<SessionConfig>,
    state: State,
    heartbeat: Heartbeat,
    /// Messages that wait for their turn, as they came: a client must not claim more memory than it
    /// sends bytes.
    queue: VecDeque<String>,
    queued_bytes: usize,
    blocked_by: Option<Blocker>,
    subscriptions: LiteMap<SubscriptionKey, Subscription>,
    subscription_keys: HashMap<String, SubscriptionKey>,
    calls: HashMap<CallKey, methods::Call>,
    merge_box: MergeBox,
    rerun: Option<Box<user::Rerun>>,
    last_key: u64,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Connected(Version),
    Closed,
}

#[derive(Debug)]
struct Subscription {
    /// The client's name for it; none if it is universal.
    id: Option<String>,
    is_ready: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocker {
    Subscription(SubscriptionKey),
    Method(CallKey),
}

impl Session {
    /// A session that begins now. `id` becomes its id should the client connect: 17 characters from
    /// [`crate::random`], as several clients expect. Sessions may share their configuration.
    #[must_use]
    pub fn new(id: String, config: Arc<SessionConfig>, now: Instant) -> Self {
        let mut session = Self {
            id,
            state: State::Connecting,
            heartbeat: Heartbeat::new(now + config.connect_timeout),
            queue: VecDeque::new(),
            queued_bytes: 0,
            blocked_by: None,
            subscriptions: LiteMap::new(),
            subscription_keys: HashMap::new(),
            calls: HashMap::new(),
            merge_box: MergeBox::new(config.strategies.clone()),
            config,
            rerun: None,
            last_key: 0,
            outputs: VecDeque::new(),
        };
        session.send(ServerMessage::ServerId);
        session
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a subscription goes on, under this key.
    #[must_use]
    pub fn has_subscription(&self, subscription: SubscriptionKey) -> bool {
        self.subscriptions.contains_key(&subscription)
    }

    /// Whether there is room for the client's next message. While there is none, leave it in the
    /// socket: the client is held back. If that lasts longer than the heartbeat allows, the client
    /// is not heard and counts as dead.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.state != State::Closed
            && self.queue.len() < self.config.queued_messages_max
            && self.queued_bytes < self.config.queued_bytes_max
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
            Input::Placed(subscription, delta, placement) => {
                self.handle_placed(subscription, delta.as_ref(), placement);
            }
            Input::Direct(subscription, text) => self.handle_direct(subscription, text),
            Input::Ready(subscription) => self.handle_ready(subscription),
            Input::Stop(subscription, error) => self.handle_stop(subscription, error.as_ref()),
            Input::SubscriptionUnblocked(subscription) => {
                self.unblock(Blocker::Subscription(subscription));
            }
            Input::SubscriptionReturned(subscription) => self.handle_returned(subscription),
            Input::MethodUnblocked(call) => self.unblock(Blocker::Method(call)),
            Input::Result(call, result) => self.handle_result(call, result),
            Input::Updated(call) => self.handle_updated(call),
            Input::Rerun => self.handle_rerun(),
        }
    }

    /// Says what to do next.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| {
            let deadline = (self.state != State::Closed).then(|| self.heartbeat.deadline());
            Output::Timeout(deadline.flatten())
        })
    }

    fn handle_message(&mut self, now: Instant, text: &str) {
        let message = decode::decode(text);
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
            _ => {
                self.queued_bytes += text.len();
                self.queue.push_back(text.to_owned());
            }
        }
    }

    fn can_process(&self) -> bool {
        self.blocked_by.is_none() && self.calls.len() < self.config.calls_max
    }

    /// Runs the messages that wait, in order, up to one that holds up the others.
    fn process_queue(&mut self) {
        while self.can_process()
            && let Some(text) = self.queue.pop_front()
        {
            self.queued_bytes -= text.len();
            self.process(decode::decode(&text), &text);
        }
    }

    fn process(&mut self, message: Result<ClientMessage, Malformed>, text: &str) {
        if self.config.reports_messages {
            self.outputs.push_back(Output::Event(Event::Message(text.to_owned())));
        }
        match message {
            Ok(ClientMessage::Sub { id, name, params }) => self.process_sub(id, name, params),
            Ok(ClientMessage::Unsub { id }) => self.process_unsub(id.as_deref()),
            Ok(ClientMessage::Method { id, method, params, random_seed }) => {
                self.process_method(id, method, params, random_seed);
            }
            // Heartbeats come here only in the version that does not know them.
            Ok(
                ClientMessage::Connect { .. } | ClientMessage::Ping { .. } | ClientMessage::Pong,
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

    fn send(&mut self, message: ServerMessage<'_>) {
        self.outputs.push_back(Output::Send(Outgoing::Text(message.to_text())));
    }

    fn send_error(&mut self, reason: ProtocolError, offending_message: Option<&str>) {
        self.send(ServerMessage::Error { reason, offending_message });
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.queue.clear();
        self.queued_bytes = 0;
        self.outputs.push_back(Output::Close(reason));
    }
}
