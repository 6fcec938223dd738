//! SockJS frames over a WebSocket.

use std::{
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::frame::{Broken, ClientFrame, close_frame, heartbeat_frame, open_frame};
use crate::transport::{
    Framing, Share, Transport, TransportError,
    effort::{self, Effort},
    websocket::WebSocket,
};

/// A SockJS session that lives as long as its WebSocket.
#[derive(Debug)]
pub(crate) struct SockJs<Io> {
    socket: WebSocket<Io>,
    /// The frame whose messages are being read.
    frame: Option<ClientFrame>,
    heartbeat: Interval,
}

impl<Io> SockJs<Io>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Opens the session: first sends `o`, then a heartbeat after each idle period.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with timers, or with a period of zero.
    pub(crate) fn new(mut socket: WebSocket<Io>, period: Duration) -> Self {
        let mut heartbeat = interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        socket.queue(open_frame());
        Self { socket, frame: None, heartbeat }
    }

    /// Closes after a broken frame, without a `c` frame, like sockjs-node.
    fn refuse(&mut self) -> TransportError {
        self.frame = None;
        let error = TransportError::SockJsFraming;
        if let Some((code, reason)) = error.close() {
            self.socket.close(code, reason);
        }
        error
    }

    /// Sends a due heartbeat, and wakes the task for the next one.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.heartbeat.poll_tick(cx).is_ready() {
            // Anything already queued is as good a sign of life once the peer reads it.
            if self.socket.queued_bytes() == 0 {
                self.socket.queue(heartbeat_frame());
            }
            if let Poll::Ready(flushed) = self.socket.poll_flush(cx) {
                flushed?;
            }
        }
        Ok(())
    }
}

impl<Io> Transport for SockJs<Io>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<String>, TransportError>> {
        let mut effort = Effort::new();
        loop {
            if let Some(frame) = &mut self.frame {
                match frame.next() {
                    Ok(Some(message)) => return Poll::Ready(Ok(Some(message))),
                    Ok(None) => {
                        let price = effort::of(frame.bytes());
                        self.frame = None;
                        if !effort.allows(price, cx) {
                            break;
                        }
                    }
                    Err(Broken) => return Poll::Ready(Err(self.refuse())),
                }
            }
            match self.socket.poll_text(cx, &mut effort) {
                Poll::Ready(Ok(Some(text))) => self.frame = Some(ClientFrame::new(text)),
                Poll::Ready(other) => return Poll::Ready(other),
                Poll::Pending => break,
            }
        }
        self.poll_heartbeat(cx)?;
        Poll::Pending
    }

    fn take_share(&mut self, bytes: usize) -> Option<Share> {
        self.socket.take_share(bytes)
    }

    fn is_held_back(&self) -> bool {
        self.socket.is_held_back()
    }

    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        let error = ready!(self.socket.poll_paused(cx));
        self.frame = None;
        Poll::Ready(error)
    }

    fn framing(&self) -> Framing {
        self.socket.framing().in_sockjs()
    }

    fn queue(&mut self, frames: Bytes) {
        self.socket.queue(frames);
    }

    fn queued_bytes(&self) -> usize {
        self.socket.queued_bytes()
    }

    fn kept_bytes(&self) -> usize {
        self.socket.kept_bytes()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush(cx)
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.frame = None;
        self.socket.queue(close_frame(code, reason));
        self.socket.close(code, reason);
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(1000, "Normal closure");
        self.socket.poll_closed(cx)
    }
}
