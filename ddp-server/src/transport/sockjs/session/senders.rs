//! Requests that send, and wait until their session has room and has handled what they brought.

use std::pin::pin;
use std::time::Duration;

use super::{FRAME_OVERHEAD, Session, wake};
use crate::transport::Deadline;
use crate::transport::sockjs::frame::ClientFrame;

/// How long the response to a sender waits for the application to handle its messages.
///
/// sockjs-node responds after the application has seen them, so a client that polls next finds the
/// replies. A slower application is not waited for, since the client may poll only after the
/// response.
const HANDLED_WITHIN: Duration = Duration::from_secs(1);

/// How many senders may wait for room. Clients of SockJS send one request after the other.
const WAITING_MAX: usize = 8;

/// How many bytes they may have together, unless there is only one. Frames whose memory was asked for
/// do not count.
const WAITING_BYTES_MAX: usize = 16 * 1024;

/// Why a client's frame does not reach the application.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::transport::sockjs) enum Undelivered {
    /// The session was interrupted.
    Lost,
    /// Enough senders wait already.
    Crowded,
    /// There was no room for it in time.
    Late,
}

/// A sender that waits for room.
struct Waiting<'a>(&'a Session, usize);

impl<'a> Waiting<'a> {
    fn begin(session: &'a Session, bytes: usize) -> Result<Self, Undelivered> {
        let mut state = session.state.lock();
        let fits = state.waiting_bytes.saturating_add(bytes) <= WAITING_BYTES_MAX;
        if state.waiting == WAITING_MAX || state.waiting > 0 && !fits {
            return Err(Undelivered::Crowded);
        }
        state.waiting += 1;
        state.waiting_bytes += bytes;
        Ok(Self(session, bytes))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.waiting -= 1;
        state.waiting_bytes -= self.1;
    }
}

impl Session {
    /// Hands a client's frame to the application, and waits until it is handled if that does not
    /// take long.
    ///
    /// If `bytes_max` are still unhandled, it first waits for room, for a minute: the client gets no
    /// response and sends nothing more, except in further requests. A few of these wait, each with its
    /// own frame.
    ///
    /// After a close the frame is dropped without notice, as in sockjs-node: the client learns of
    /// the close from what it receives.
    pub(in crate::transport::sockjs) async fn deliver(
        &self,
        frame: ClientFrame,
        bytes_max: usize,
    ) -> Result<(), Undelivered> {
        let mut frame = Some(frame);
        let number = match self.try_deliver(&mut frame, bytes_max)? {
            Some(number) => number,
            None => {
                let uncounted = frame.as_ref().filter(|frame| !frame.has_share());
                let bytes = uncounted.map_or(0, ClientFrame::bytes);
                let _waiting = Waiting::begin(self, bytes)?;
                let delivered = self.deliver_in_turn(&mut frame, bytes_max);
                let delivered = Deadline::begin().limit(delivered).await;
                delivered.ok_or(Undelivered::Late)??
            }
        };
        let handled = async {
            loop {
                let mut moved = pin!(self.inbox_moved.notified());
                moved.as_mut().enable();
                if self.is_done_with(number) {
                    return;
                }
                moved.await;
            }
        };
        // Whether in time or not, the application has it now.
        let _ = tokio::time::timeout(HANDLED_WITHIN, handled).await;
        Ok(())
    }

    /// Waits for room. Returns the frame's number.
    async fn deliver_in_turn(
        &self,
        frame: &mut Option<ClientFrame>,
        bytes_max: usize,
    ) -> Result<u64, Undelivered> {
        loop {
            let mut moved = pin!(self.inbox_moved.notified());
            moved.as_mut().enable();
            if let Some(number) = self.try_deliver(frame, bytes_max)? {
                return Ok(number);
            }
            moved.await;
        }
    }

    /// Whether the application has handled this frame, or never will.
    fn is_done_with(&self, number: u64) -> bool {
        let state = self.state.lock();
        state.handled >= number || state.closed.is_some()
    }

    /// Takes the frame if there is room, and numbers it. A dropped frame gets the number of the
    /// last one taken.
    fn try_deliver(
        &self,
        frame: &mut Option<ClientFrame>,
        bytes_max: usize,
    ) -> Result<Option<u64>, Undelivered> {
        let mut state = self.state.lock();
        if let Some(end) = &state.closed {
            return if end.is_lost { Err(Undelivered::Lost) } else { Ok(Some(state.delivered)) };
        }
        let bytes = frame.as_ref().map_or(0, ClientFrame::bytes) + FRAME_OVERHEAD;
        if !state.inbox.is_empty() && state.inbox_bytes.saturating_add(bytes) > bytes_max {
            return Ok(None);
        }
        if let Some(frame) = frame.take() {
            state.inbox.push_back(frame);
            state.inbox_bytes += bytes;
            state.delivered += 1;
        }
        let number = state.delivered;
        let waker = state.application_waker.take();
        drop(state);
        wake(waker);
        Ok(Some(number))
    }
}
