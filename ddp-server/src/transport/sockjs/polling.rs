//! The application's end of a session whose client polls or streams over HTTP.

use std::io;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;

use super::session::Session;
use crate::transport::Deadline;
use crate::transport::Framing;
use crate::transport::Share;
use crate::transport::Transport;
use crate::transport::TransportError;

/// A transport whose socket is a session in the store.
///
/// If dropped without a close, it reports to the client that the connection was interrupted.
#[derive(Debug)]
pub(crate) struct Polling {
    session: Arc<Session>,
    /// Until when a large frame may wait that nothing is taken from.
    paused_until: Option<Deadline>,
}

impl Polling {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session, paused_until: None }
    }

    /// Whether the session has ended, so that output queued now is not delivered.
    pub(crate) fn is_closed(&self) -> bool {
        self.session.is_closed()
    }
}

impl Transport for Polling {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<String>, TransportError>> {
        self.paused_until = None;
        self.session.poll_message(cx)
    }

    fn take_share(&mut self, bytes: usize) -> Option<Share> {
        self.session.take_share(bytes)
    }

    /// Requests wait, and their client may make others.
    fn is_held_back(&self) -> bool {
        false
    }

    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        if self.session.has_large() {
            ready!(self.paused_until.get_or_insert_with(Deadline::begin).poll(cx));
            return Poll::Ready(TransportError::TooSlow);
        }
        Poll::Pending
    }

    fn framing(&self) -> Framing {
        Framing::raw(None).in_sockjs()
    }

    fn queue(&mut self, frames: Bytes) {
        self.session.queue(frames);
    }

    fn end_frame(&mut self) {
        self.session.end_frame();
    }

    fn queued_bytes(&self) -> usize {
        self.session.queued_bytes()
    }

    fn kept_bytes(&self) -> usize {
        self.session.kept_bytes()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.poll_flush(cx).map(Ok)
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.session.close(code, reason);
    }

    /// The session itself keeps what remains to be sent, and tells later requests why it ended.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(1000, "Normal closure");
        self.session.poll_handed_over(cx).map(Ok)
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.session.interrupt();
        self.session.forget();
    }
}
