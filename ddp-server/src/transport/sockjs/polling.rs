//! The application's end of a session whose client polls or streams over HTTP.

use std::io;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;

use super::session::Session;
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
}

impl Polling {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session }
    }

    /// Whether the session has ended, so that output queued now is not delivered.
    pub(crate) fn is_closed(&self) -> bool {
        self.session.is_closed()
    }
}

impl Transport for Polling {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<String>, TransportError>> {
        self.session.poll_message(cx)
    }

    fn take_share(&mut self, bytes: usize) -> Option<Share> {
        self.session.take_share(bytes)
    }

    /// Requests wait, and their client may make others.
    fn is_held_back(&self) -> bool {
        false
    }

    fn pause(&mut self) {}

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

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.poll_flush(cx).map(Ok)
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.session.close(code, reason);
    }

    /// The session itself keeps what remains to be sent, and tells later requests why it ended.
    fn poll_closed(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(1000, "Normal closure");
        Poll::Ready(Ok(()))
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.session.interrupt();
    }
}
