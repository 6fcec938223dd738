//! Messages on their way from a client, and what they may take.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ddp_core::Session;
use ddp_core::session::LARGE_MESSAGE_BYTES;
use futures::FutureExt;

use super::kept::{Kept, More};
use super::outbound::Outbound;
use crate::transport::large::TURN_BYTES;
use crate::transport::{
    AnyTransport, Deadline, LargeMessages, NextTurn, Share, Transport, TransportError, Turn,
};

/// How long a task reads messages before it lets others run. Messages differ in what they cost by a
/// factor of a thousand, so counting them is not enough.
const BUSY_MAX: Duration = Duration::from_millis(1);

/// What a connection needs to take messages from its transport.
#[derive(Debug)]
pub(super) struct Inbound {
    /// When the task began to do what it does.
    busy_since: Instant,
    /// What the session keeps.
    kept: Kept,
    /// A message over 64 KiB that waits for its turn to be handled.
    large: Option<Box<Waiting>>,
    /// The turn of the one that is being handled.
    turn: Option<Box<Turn>>,
}

struct Waiting {
    text: String,
    /// Asked for while messages are taken.
    turn: Option<NextTurn>,
    /// Until when it may wait with its memory.
    until: Deadline,
}

impl Inbound {
    pub(super) fn new(kept: Kept) -> Self {
        Self { busy_since: Instant::now(), kept, large: None, turn: None }
    }

    /// The task runs again.
    pub(super) fn begin(&mut self) {
        self.busy_since = Instant::now();
    }

    /// Whether others should have their turn.
    pub(super) fn is_tired(&self) -> bool {
        self.busy_since.elapsed() > BUSY_MAX
    }

    /// Whether a message waits for memory or for its turn.
    pub(super) fn waits(&self, transport: &AnyTransport) -> bool {
        self.large.is_some() || self.kept.wants_more() || transport.is_held_back()
    }

    /// The session may get a message, if it wants one.
    pub(super) fn before(&self, session: &mut Session) {
        session.set_bytes_max(self.kept.bytes_max());
    }

    /// Ready if there is something to tell of a `sub` that wants memory. If that is there, it is to be
    /// [given](Self::give).
    pub(super) fn poll_more(&mut self, session: &Session, cx: &mut Context<'_>) -> Poll<More> {
        self.kept.poll_more(session, cx)
    }

    /// [`poll_more`](Self::poll_more) is not called for a while.
    pub(super) fn poll_no_more(&mut self, cx: &mut Context<'_>) -> Poll<More> {
        self.kept.poll_no_more(cx)
    }

    /// Whether nothing is read from the client because a `sub` of its waits for memory.
    pub(super) fn holds_back(&self, session: &Session) -> bool {
        self.kept.wants_more() && !session.wants_input()
    }

    /// The session is gone, and the memory of what its client has not taken yet remains.
    pub(super) fn leave(self, outbound: &Outbound) -> Option<Box<Share>> {
        self.kept.leave(outbound.large_bytes())
    }

    /// Has the session handle the `sub` for which there is memory now.
    pub(super) fn give(&self, session: &mut Session) {
        self.kept.give(session);
    }

    /// The session has done what it wanted to do.
    pub(super) fn after(&mut self, session: &mut Session, outbound: &Outbound) {
        self.turn = None;
        self.note_large(session, outbound);
        self.kept.update(session);
    }

    /// The session has handled something, or the socket has taken something.
    pub(super) fn note_large(&mut self, session: &Session, outbound: &Outbound) {
        // One that waits for its turn is not the session's yet.
        let waiting = self.large.as_ref().map_or(0, |large| large.text.len());
        self.kept.note_large(session.large_bytes() + waiting, outbound.large_bytes());
    }

    /// Messages are not taken for now. What is waited for would be given all the same, and nobody else
    /// could have it. Ready if one holds its memory for too long.
    pub(super) fn poll_paused(
        &mut self,
        transport: &mut AnyTransport,
        cx: &mut Context<'_>,
    ) -> Poll<TransportError> {
        if let Some(large) = &mut self.large {
            large.turn = None;
            if large.until.poll(cx).is_ready() {
                self.large = None;
                let error = TransportError::TooSlow;
                if let Some((code, reason)) = error.close() {
                    transport.close(code, reason);
                }
                return Poll::Ready(error);
            }
        }
        transport.poll_paused(cx)
    }

    /// The client's next message. One that takes long waits for its turn.
    pub(super) fn poll_message(
        &mut self,
        transport: &mut AnyTransport,
        shared: &LargeMessages,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<String>, TransportError>> {
        let mut large = match self.large.take() {
            Some(large) => large,
            None => match ready!(transport.poll_recv(cx)) {
                Ok(Some(text)) if text.len() > LARGE_MESSAGE_BYTES => {
                    self.kept.add(transport.take_share(text.len()));
                    if text.len() <= TURN_BYTES {
                        return Poll::Ready(Ok(Some(text)));
                    }
                    Box::new(Waiting { text, turn: None, until: Deadline::begin() })
                }
                received => return Poll::Ready(received),
            },
        };
        let ask = || shared.turn(self.kept.address());
        match large.turn.get_or_insert_with(ask).poll_unpin(cx) {
            Poll::Ready(turn) => {
                self.turn = Some(Box::new(turn));
                Poll::Ready(Ok(Some(large.text)))
            }
            Poll::Pending => {
                self.large = Some(large);
                Poll::Pending
            }
        }
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waiting").field(&self.text.len()).finish()
    }
}
