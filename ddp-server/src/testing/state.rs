//! What a client knows, and how it waits to know more.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Display};
use std::panic::Location;
use std::time::Duration;

use ddp_core::DdpError;
use ddp_core::ejson::Ejson;
use ddp_core::merge_box::PublicationStrategies;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::closed::Closed;
use super::message::Message;
use super::minimongo::Minimongo;

/// How many messages are kept to be looked at.
const MESSAGES_MAX: usize = 10_000;

/// How many of them a failure shows, and how much of each.
const SHOWN_MESSAGES: usize = 20;
const SHOWN_CHARS: usize = 300;

/// What a client, its subscriptions and its socket share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes all who wait, since something has come.
    news: Notify,
    timeout: Duration,
}

/// What a client knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) minimongo: Minimongo,
    pub(super) session: Option<String>,
    pub(super) calls: HashMap<String, Call>,
    pub(super) subscriptions: HashMap<String, Standing>,
    /// How the connection was closed, once it is.
    pub(super) closed: Option<Closed>,
    /// Whether the server has done all that the end of the connection makes it do.
    pub(super) is_over: bool,
    pub(super) is_paused: bool,
    /// Counts the messages about documents.
    pub(super) changes: u64,
    /// How many of them have been looked at.
    pub(super) changes_seen: u64,
    /// What the server did against the protocol.
    failure: Option<String>,
    last_id: u64,
    /// The latest messages of both sides.
    messages: VecDeque<(Side, String)>,
}

/// A call that is waited for.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) result: Option<Result<Ejson, DdpError>>,
    pub(super) is_updated: bool,
}

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Pending,
    Ready,
    Stopped(Option<DdpError>),
}

/// Who has sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Shared {
    pub(super) fn new(strategies: PublicationStrategies, timeout: Duration) -> Self {
        let state = State {
            minimongo: Minimongo::new(strategies),
            session: None,
            calls: HashMap::new(),
            subscriptions: HashMap::new(),
            closed: None,
            is_over: false,
            is_paused: false,
            changes: 0,
            changes_seen: 0,
            failure: None,
            last_id: 0,
            messages: VecDeque::new(),
        };
        Self { state: Mutex::new(state), news: Notify::new(), timeout }
    }

    /// What is known.
    ///
    /// # Panics
    /// If the server has broken the protocol.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock();
        if let Some(failure) = &state.failure {
            let text = failure.clone();
            drop(state);
            panic!("{text}");
        }
        state
    }

    /// The same, whatever the server has done.
    pub(super) fn look_anyway(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Changes what is known, and tells those who wait.
    pub(super) fn note<T>(&self, note: impl FnOnce(&mut State) -> T) -> T {
        let noted = note(&mut self.state.lock());
        self.news.notify_waiters();
        noted
    }

    /// Waits until `find` finds something.
    ///
    /// # Panics
    /// If it does not in time, if the connection ends before, or if the server breaks the protocol.
    pub(super) async fn wait<T>(
        &self,
        what: impl Display,
        caller: &Location<'_>,
        mut find: impl FnMut() -> Option<T>,
    ) -> T {
        let mut timeout = std::pin::pin!(tokio::time::sleep(self.timeout));
        let mut is_late = false;
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            // What comes from here on is not missed.
            news.as_mut().enable();
            let over = self.look().over();
            if let Some(found) = find() {
                return found;
            }
            if let Some(closed) = over {
                let text = format!(
                    "{caller}: the connection was closed, {closed}, while waiting for {what}"
                );
                fail(self.look(), &text);
            }
            if is_late {
                let state = self.look();
                let pause = if state.is_paused { " (the client is paused)" } else { "" };
                let text = format!("{caller}: waited {:?} in vain for {what}{pause}", self.timeout);
                fail(state, &text);
            }
            // What has come until the very end counts.
            tokio::select! {
                () = news => {}
                () = &mut timeout => is_late = true,
            }
        }
    }
}

/// Panics with what has come.
fn fail(state: MutexGuard<'_, State>, text: &str) -> ! {
    let text = format!("{text}; the last messages were {}", Shown(&state.messages));
    drop(state);
    panic!("{text}");
}

impl State {
    /// How the connection was closed, once both sides are done with it and nothing more comes.
    pub(super) fn over(&self) -> Option<Closed> {
        self.closed.clone().filter(|_| self.is_over)
    }

    /// A new id for a call or a subscription.
    pub(super) fn next_id(&mut self) -> String {
        self.last_id += 1;
        self.last_id.to_string()
    }

    /// What the server has sent, the oldest first.
    pub(super) fn received(&self) -> impl Iterator<Item = &str> {
        let received = self.messages.iter().filter(|(from, _)| *from == Side::Server);
        received.map(|(_, text)| text.as_str())
    }

    /// Keeps a message to be looked at.
    pub(super) fn remember(&mut self, from: Side, text: &str) {
        if self.messages.len() == MESSAGES_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back((from, text.to_owned()));
    }

    /// Notes what the server did against the protocol; the first time counts.
    pub(super) fn fail(&mut self, text: &str) {
        if self.failure.is_none() {
            self.failure =
                Some(format!("{text}; the last messages were {}", Shown(&self.messages)));
        }
    }

    /// How the server broke the protocol, if not reported yet.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Takes a message of the server. True if it is to be answered by a `pong`.
    pub(super) fn handle(&mut self, text: &str) -> bool {
        self.remember(Side::Server, text);
        let handled = Message::read(text).and_then(|message| self.apply(message));
        handled.unwrap_or_else(|error| {
            self.fail(&format!("the server's message {text} does not fit: {error}"));
            false
        })
    }

    fn apply(&mut self, message: Message) -> Result<bool, String> {
        match message {
            Message::ServerId => {}
            Message::Connected { session } => self.session = Some(session),
            Message::Document { collection, id, change } => {
                self.changes += 1;
                self.minimongo.apply(&collection, id, change)?;
            }
            Message::Ready { subscriptions } => {
                for id in subscriptions {
                    let standing = self.standing(&id)?;
                    if let Standing::Stopped(_) = standing {
                        return Err(format!("subscription {id} has stopped"));
                    }
                    *standing = Standing::Ready;
                }
            }
            Message::Nosub { id, error } => *self.standing(&id)? = Standing::Stopped(error),
            Message::Result { id, result } => {
                if self.call(&id)?.result.replace(result).is_some() {
                    return Err(format!("call {id} has had its result"));
                }
            }
            Message::Updated { calls } => {
                for id in calls {
                    if std::mem::replace(&mut self.call(&id)?.is_updated, true) {
                        return Err(format!("call {id} has been updated before"));
                    }
                }
            }
            Message::Ping => return Ok(true),
            Message::Error { reason } => return Err(format!("the server refused: {reason}")),
        }
        Ok(false)
    }

    fn standing(&mut self, id: &str) -> Result<&mut Standing, String> {
        let standing = self.subscriptions.get_mut(id);
        standing.ok_or_else(|| format!("the client has no subscription {id}"))
    }

    fn call(&mut self, id: &str) -> Result<&mut Call, String> {
        self.calls.get_mut(id).ok_or_else(|| format!("the client waits for no call {id}"))
    }
}

/// The last messages, for a failure.
struct Shown<'a>(&'a VecDeque<(Side, String)>);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (from, text) in self.0.iter().skip(self.0.len().saturating_sub(SHOWN_MESSAGES)) {
            let arrow = if *from == Side::Client { '>' } else { '<' };
            write!(f, "\n  {arrow} ")?;
            match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => write!(f, "{}…", &text[..end])?,
                None => f.write_str(text)?,
            }
        }
        Ok(())
    }
}
