//! A session that outlives its client's requests.
//!
//! One lock is between its two ends. The application's end is a [`Polling`](super::Polling)
//! transport. The client's end consists of requests: at most one at a time receives, through a
//! [`Receiver`](super::receiver::Receiver), and any number send.
//!
//! ```text
//!       application closes, or drops its end ─► c[code,"reason"]
//!       the client breaks a response off     ─► c[1002,"Connection interrupted"]
//!       no request for the disconnect delay  ─► the same, and nobody is there to see it
//! Open ────────────────────────────────────────► Closed ── disconnect delay ──► forgotten
//! ```
//!
//! The delay is shorter while the client has sent nothing: whoever opens a session sends something
//! at once, unless it only wants many.
//!
//! As in sockjs-node, the disconnect delay counts from the end, and again from each request that is
//! answered with it. Nothing is added to a closed session, so however long a client keeps asking,
//! it takes no more memory than an open one.

pub(super) mod senders;

use std::collections::VecDeque;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::frame::ClientFrame;
use super::frame::close_text;
use super::outbox::{Outbox, PIECE_BYTES};
use crate::transport::Share;
use crate::transport::TransportError;

/// What a frame takes besides its text.
const FRAME_OVERHEAD: usize = 64;

/// How long a second receiver waits for the first one's departure to be noticed.
///
/// A client may abort a response and ask again on another connection. Which of the two the server
/// sees first is up to the scheduler.
const SEEN_TO_LEAVE_WITHIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Session {
    state: Mutex<State>,
    /// Notified when messages are taken from the inbox, and when the session ends.
    inbox_moved: Notify,
}

#[derive(Debug)]
struct State {
    closed: Option<End>,
    /// Whether `o` has been sent.
    is_greeted: bool,
    outbox: Outbox,
    /// The client's messages, limited by [`Session::deliver`].
    inbox: VecDeque<ClientFrame>,
    inbox_bytes: usize,
    /// How many senders wait for room in it.
    waiting: usize,
    /// What they have together.
    waiting_bytes: usize,
    /// How many frames have arrived, and how many of them the application is done with.
    delivered: u64,
    handled: u64,
    /// The request that is receiving.
    receiver: Option<u64>,
    next_receiver: u64,
    receiver_waker: Option<Waker>,
    application_waker: Option<Waker>,
    /// When the last receiver left, or the session ended.
    idle_since: Instant,
}

/// How a session ended.
#[derive(Debug)]
struct End {
    /// The frame that reports it.
    frame: Bytes,
    /// Whether messages may be lost, or else the application closed the session.
    is_lost: bool,
}

/// What a receiver must send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// A frame.
    Frame(Bytes),
    /// The last frame.
    Close(Bytes),
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                closed: None,
                is_greeted: false,
                outbox: Outbox::default(),
                inbox: VecDeque::new(),
                inbox_bytes: 0,
                waiting: 0,
                waiting_bytes: 0,
                delivered: 0,
                handled: 0,
                receiver: None,
                next_receiver: 0,
                receiver_waker: None,
                application_waker: None,
                idle_since: Instant::now(),
            }),
            inbox_moved: Notify::new(),
        }
    }

    /// Makes a request the receiver; `None` if there already is one.
    pub(super) async fn attach(&self) -> Option<u64> {
        let attached = async {
            loop {
                let mut ended = pin!(self.inbox_moved.notified());
                ended.as_mut().enable();
                if let Some(receiver) = self.try_attach() {
                    return receiver;
                }
                ended.await;
            }
        };
        tokio::time::timeout(SEEN_TO_LEAVE_WITHIN, attached).await.ok()
    }

    fn try_attach(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if state.receiver.is_some() {
            return None;
        }
        let receiver = state.next_receiver;
        state.next_receiver += 1;
        state.receiver = Some(receiver);
        // From now on it matters whether waiting messages are taken.
        let waker = state.application_waker.take();
        drop(state);
        wake(waker);
        Some(receiver)
    }

    /// Releases a receiver whose response is complete.
    pub(super) fn detach(&self, receiver: u64) {
        let mut state = self.state.lock();
        state.detach(receiver);
        let waker = state.application_waker.take();
        drop(state);
        wake(waker);
    }

    /// Releases a receiver whose response broke off. Some of it may be lost, so the session ends.
    pub(super) fn abort(&self, receiver: u64) {
        let is_receiver = self.state.lock().detach(receiver);
        if is_receiver {
            self.interrupt();
        }
    }

    /// A receiver has still to hand over so much of its frame.
    pub(super) fn hands_over(&self, receiver: u64, left: usize) {
        let mut state = self.state.lock();
        if state.receiver != Some(receiver) {
            return;
        }
        state.outbox.hands_over(left);
        let waker = state.application_waker.take();
        drop(state);
        wake(waker);
    }

    /// What the receiver must send next. After a close, or once another receiver has replaced it,
    /// there is nothing more.
    pub(super) fn poll_outgoing(&self, receiver: u64, cx: &Context<'_>) -> Poll<Option<Outgoing>> {
        let mut state = self.state.lock();
        if state.receiver != Some(receiver) {
            return Poll::Ready(None);
        }
        if !state.is_greeted {
            state.is_greeted = true;
            return Poll::Ready(Some(Outgoing::Frame(Bytes::from_static(b"o"))));
        }
        if let Some(frame) = state.outbox.take_frame() {
            let waker = state.application_waker.take();
            drop(state);
            wake(waker);
            return Poll::Ready(Some(Outgoing::Frame(frame)));
        }
        if let Some(frame) = state.closed.as_ref().map(|end| end.frame.clone()) {
            state.detach(receiver);
            return Poll::Ready(Some(Outgoing::Close(frame)));
        }
        keep(&mut state.receiver_waker, cx);
        Poll::Pending
    }

    /// The client's next message; `None` when the session is over.
    pub(super) fn poll_message(
        &self,
        cx: &Context<'_>,
    ) -> Poll<Result<Option<String>, TransportError>> {
        let mut state = self.state.lock();
        let mut moved = false;
        let polled = loop {
            let Some(frame) = state.inbox.front_mut() else {
                // The application asks for more, so it is done with everything it got.
                moved |= state.handled < state.delivered;
                state.handled = state.delivered;
                if state.closed.is_some() {
                    break Poll::Ready(Ok(None));
                }
                keep(&mut state.application_waker, cx);
                break Poll::Pending;
            };
            match frame.next() {
                Ok(Some(message)) => break Poll::Ready(Ok(Some(message))),
                Ok(None) => {
                    let bytes = frame.bytes() + FRAME_OVERHEAD;
                    state.inbox.pop_front();
                    state.inbox_bytes -= bytes;
                    moved = true;
                }
                // Senders have checked their frames, so this does not happen.
                Err(_) => break Poll::Ready(Err(TransportError::SockJsFraming)),
            }
        };
        // The client may need to receive something before it sends more.
        let receiver = state.waiting_receiver();
        drop(state);
        if moved {
            self.inbox_moved.notify_waiters();
        }
        wake(receiver);
        polled
    }

    /// Hands over the memory of the last message.
    pub(super) fn take_share(&self, bytes: usize) -> Option<Share> {
        self.state.lock().inbox.front_mut()?.take_share(bytes)
    }

    /// Whether a large frame waits, or has messages that have not been taken.
    pub(super) fn has_large(&self) -> bool {
        self.state.lock().inbox.front().is_some_and(ClientFrame::has_share)
    }

    /// The application is gone. What it has not taken is kept for nobody, and of what its client has not
    /// taken no more than a little, while the session may be kept for as long as its client asks for it.
    pub(super) fn forget(&self) {
        let mut state = self.state.lock();
        let inbox = std::mem::take(&mut state.inbox);
        state.inbox_bytes = 0;
        if state.outbox.kept_bytes() > PIECE_BYTES {
            state.outbox = Outbox::default();
        }
        drop(state);
        drop(inbox);
    }

    /// Queues the messages of whole frames.
    pub(super) fn queue(&self, frames: Bytes) {
        let mut state = self.state.lock();
        if state.closed.is_none() {
            state.outbox.push(frames);
        }
    }

    /// Keeps what is queued so far out of the frames of what follows. A client that polls gets it
    /// in its next response.
    pub(super) fn end_frame(&self) {
        self.state.lock().outbox.end_frame();
    }

    /// What waits, and what a response has not handed to its socket.
    pub(super) fn queued_bytes(&self) -> usize {
        self.state.lock().outbox.bytes()
    }

    /// The same, and what the buffers take.
    pub(super) fn kept_bytes(&self) -> usize {
        self.state.lock().outbox.kept_bytes()
    }

    /// Ready when nothing is on its way to the client any more, and no more than a little waits for it.
    pub(super) fn poll_handed_over(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.outbox.in_flight() == 0 && state.outbox.kept_bytes() <= PIECE_BYTES {
            return Poll::Ready(());
        }
        keep(&mut state.application_waker, cx);
        Poll::Pending
    }

    /// Ready when the receiver has taken everything, and also if there is no receiver: a client
    /// between two requests is not slow, and the disconnect delay limits how long it may stay away.
    /// Either way, the caller's task is woken when something is taken.
    pub(super) fn poll_flush(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.outbox.bytes() == 0 || state.closed.is_some() {
            return Poll::Ready(());
        }
        keep(&mut state.application_waker, cx);
        let poll = if state.receiver.is_some() { Poll::Pending } else { Poll::Ready(()) };
        let waker = state.waiting_receiver();
        drop(state);
        wake(waker);
        poll
    }

    /// Ends the session; only the first end counts. Queued messages are still sent.
    pub(super) fn close(&self, code: u16, reason: &str) {
        self.end(code, reason, false);
    }

    /// Ends the session when something may already be lost.
    pub(super) fn interrupt(&self) {
        self.end(1002, "Connection interrupted", true);
    }

    fn end(&self, code: u16, reason: &str, is_lost: bool) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(End { frame: close_text(code, reason), is_lost });
        state.idle_since = Instant::now();
        if is_lost {
            state.outbox = Outbox::default();
        }
        let wakers = [state.receiver_waker.take(), state.application_waker.take()];
        drop(state);
        self.inbox_moved.notify_waiters();
        wakers.into_iter().for_each(wake);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed.is_some()
    }

    /// Until when to keep the session at least; `None` to forget it now. One whose client has sent
    /// nothing yet is kept for the shorter delay.
    pub(super) fn kept_until(
        &self,
        silent_delay: Duration,
        disconnect_delay: Duration,
    ) -> Option<Instant> {
        let now = Instant::now();
        let state = self.state.lock();
        let is_silent = state.delivered == 0;
        let disconnect_delay =
            if is_silent { silent_delay.min(disconnect_delay) } else { disconnect_delay };
        let is_used = state.receiver.is_some() && state.closed.is_none();
        let until = if is_used { now } else { state.idle_since } + disconnect_delay;
        (until > now).then_some(until)
    }
}

impl State {
    /// Returns whether it was the receiver.
    fn detach(&mut self, receiver: u64) -> bool {
        if self.receiver != Some(receiver) {
            return false;
        }
        self.receiver = None;
        self.receiver_waker = None;
        self.outbox.hands_over(0);
        self.idle_since = Instant::now();
        true
    }

    /// The receiver to wake, if there is something that it waits for.
    fn waiting_receiver(&mut self) -> Option<Waker> {
        if self.outbox.is_empty() { None } else { self.receiver_waker.take() }
    }
}

fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
