//! A response that carries frames to a client.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::time::Instant;
use tokio::time::Sleep;

use super::outbox::PIECE_BYTES;
use super::session::Outgoing;
use super::session::Session;
use super::wire::Wire;

/// The body of a response: the prelude, then frames until the limit is reached.
///
/// The HTTP connection drops it when the client is gone. Unless it was complete, something may be
/// lost, so the session ends.
#[derive(Debug)]
pub(super) struct Receiver {
    session: Arc<Session>,
    /// The session's id for this response, until it is complete.
    id: Option<u64>,
    wire: Wire,
    prelude: Option<Bytes>,
    /// What is left of a frame.
    rest: Bytes,
    /// Whether some of it has been handed over.
    is_in_pieces: bool,
    bytes_left: usize,
    heartbeat: Pin<Box<Sleep>>,
    period: Duration,
}

impl Receiver {
    /// A response for the receiver with this `id` in the session.
    pub(super) fn new(
        session: Arc<Session>,
        id: u64,
        wire: Wire,
        bytes_max: usize,
        period: Duration,
    ) -> Self {
        Self {
            session,
            id: Some(id),
            prelude: wire.prelude(),
            rest: Bytes::new(),
            is_in_pieces: false,
            bytes_left: if wire.is_polling() { 1 } else { bytes_max },
            wire,
            heartbeat: Box::pin(tokio::time::sleep(period)),
            period,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(id) = self.id else {
            return Poll::Ready(None);
        };
        if !self.rest.is_empty() {
            return Poll::Ready(Some(self.next_piece(id)));
        }
        let frame = match self.session.poll_outgoing(id, cx) {
            Poll::Ready(Some(Outgoing::Frame(frame))) => frame,
            Poll::Ready(Some(Outgoing::Close(frame))) => {
                self.id = None;
                return Poll::Ready(Some(self.wire.encode(&frame)));
            }
            Poll::Ready(None) => {
                self.id = None;
                return Poll::Ready(None);
            }
            Poll::Pending => match self.heartbeat.as_mut().poll(cx) {
                Poll::Ready(()) => Bytes::from_static(b"h"),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.heartbeat.as_mut().reset(Instant::now() + self.period);
        self.rest = self.wire.encode(&frame);
        self.bytes_left = self.bytes_left.saturating_sub(self.rest.len());
        Poll::Ready(Some(self.next_piece(id)))
    }

    /// The next piece of the frame; with the last one of a response the receiver leaves the session.
    fn next_piece(&mut self, id: u64) -> Bytes {
        let is_whole = self.rest.len() <= PIECE_BYTES;
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        if !is_whole || self.is_in_pieces {
            self.session.hands_over(id, self.rest.len());
        }
        self.is_in_pieces = !is_whole;
        if is_whole && self.bytes_left == 0 {
            self.id = None;
            self.session.detach(id);
        }
        piece
    }
}

impl Stream for Receiver {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(prelude) = this.prelude.take() {
            return Poll::Ready(Some(Ok(prelude)));
        }
        this.poll_frame(cx).map(|chunk| chunk.map(Ok))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.session.abort(id);
        }
    }
}
