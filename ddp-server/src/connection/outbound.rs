//! Output on its way to a client, and how fast the client takes it.

use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ddp_core::merge_box::Outgoing;

use crate::transport::framing::FrameBuilder;
use crate::transport::large::{BYTES_PER_SECOND, LARGE_MESSAGE_BYTES};
use crate::transport::{AnyTransport, Framing, Transport};

/// A transport, and the output waiting for it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) transport: AnyTransport,
    framing: Framing,
    /// Bytes given to the transport so far.
    queued_total: u64,
    /// How many of them the socket had taken at the last write.
    written: u64,
    /// While this many bytes are waiting, nothing more is encoded for the client.
    outbox_bytes_max: usize,
    /// Since when the client has taken nothing, although something is waiting.
    stalled_since: Option<Instant>,
    /// What large messages for this session only are waiting.
    large: Option<Large>,
    /// Whether, since the last timer, the client was not read from because it fell behind, or took
    /// something after that.
    was_behind: bool,
}

/// Large messages that wait for the socket.
#[derive(Debug)]
struct Large {
    bytes: usize,
    since: Instant,
    /// What the socket had taken then.
    written: u64,
}

/// Messages for this session only, not framed yet.
pub(crate) struct Messages {
    frames: FrameBuilder,
    is_empty: bool,
}

impl Messages {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { frames: FrameBuilder::new(framing), is_empty: true }
    }
}

impl Outbound {
    pub(crate) fn new(transport: AnyTransport, outbox_bytes_max: usize) -> Self {
        let framing = transport.framing();
        let (queued_total, written, stalled_since, large, was_behind) = Default::default();
        Self {
            transport,
            framing,
            queued_total,
            written,
            outbox_bytes_max,
            stalled_since,
            large,
            was_behind,
        }
    }

    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) fn has_room(&self) -> bool {
        self.transport.queued_bytes() < self.outbox_bytes_max
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transport.queued_bytes() == 0
    }

    /// How many bytes of large messages for this session only the socket has not taken yet.
    pub(crate) fn large_bytes(&self) -> usize {
        self.large.as_ref().map_or(0, |large| large.bytes)
    }

    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// When the client is given up if it takes nothing more: after `timeout` or, while a large message
    /// waits, whose memory others wait for, unless it takes 500 bytes for each second beyond that.
    pub(crate) fn gives_up_at(&self, timeout: Duration) -> Option<Instant> {
        let stalled = self.stalled_since? + timeout;
        let slow = self.large.as_ref().map(|large| {
            let taken = self.written.saturating_sub(large.written);
            large.since + timeout + Duration::from_millis(taken * 1000 / BYTES_PER_SECOND)
        });
        Some(slow.map_or(stalled, |slow| slow.min(stalled)))
    }

    /// The client is not being read from because it fell behind.
    pub(crate) fn note_behind(&mut self) {
        self.was_behind = true;
    }

    pub(crate) fn take_was_behind(&mut self) -> bool {
        std::mem::take(&mut self.was_behind)
    }

    /// Queues something to be sent after `messages`, or appends it to them.
    pub(crate) fn send(&mut self, outgoing: Outgoing, messages: &mut Messages) {
        let framing = self.framing;
        match outgoing {
            Outgoing::Text(text) => {
                if text.len() > LARGE_MESSAGE_BYTES {
                    let (since, written) = (Instant::now(), self.written);
                    let large = self.large.get_or_insert(Large { bytes: 0, since, written });
                    large.bytes += text.len();
                }
                messages.frames.message(&text);
                messages.is_empty = false;
            }
            Outgoing::Shared(delta) => {
                if !messages.is_empty {
                    self.queue(std::mem::replace(messages, Messages::new(framing)));
                }
                self.queue_frames(delta.frames(framing.index(), |delta| {
                    let mut frames = FrameBuilder::new(framing);
                    delta.for_each_message(|text| frames.message(text));
                    frames.finish()
                }));
            }
        }
    }

    /// Queues `messages`, apart from all that follows.
    pub(crate) fn end_frame(&mut self, messages: &mut Messages) {
        if self.framing.joins_messages() {
            self.queue(std::mem::replace(messages, Messages::new(self.framing)));
            self.transport.end_frame();
        }
    }

    pub(crate) fn queue(&mut self, messages: Messages) {
        if !messages.is_empty {
            self.queue_frames(messages.frames.finish());
        }
    }

    fn queue_frames(&mut self, frames: Bytes) {
        self.queued_total += frames.len() as u64;
        self.transport.queue(frames);
    }

    /// Writes what the socket takes. Ready only if the socket has failed.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let flushed = match self.transport.poll_flush(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        let written = self.queued_total.saturating_sub(self.transport.queued_bytes() as u64);
        let moves = written > self.written;
        self.written = written;
        // What is not there any more has been taken, whatever else waits behind it.
        let waiting = self.transport.queued_bytes();
        self.large.take_if(|large| {
            large.bytes = large.bytes.min(waiting);
            large.bytes <= LARGE_MESSAGE_BYTES
        });
        self.was_behind |= moves && self.stalled_since.is_some();
        if flushed {
            self.stalled_since = None;
        } else if moves || self.stalled_since.is_none() {
            self.stalled_since = Some(Instant::now());
        }
        Poll::Pending
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use axum::http::Request;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::transport::{TransportConfig, in_process};

    /// What the server gives a client when it takes some of a message after 50 ms.
    async fn gives_up_later(message_bytes: usize, taken: usize) -> Duration {
        const TIMEOUT: Duration = Duration::from_secs(30);
        let (io, mut client) = duplex(16);
        let request = Request::new(()).into_parts().0;
        let (transport, _) = in_process::open(io, &request, &TransportConfig::default());
        let mut outbound = Outbound::new(transport, 256 * 1024);
        let mut messages = Messages::new(outbound.framing());
        outbound.send(Outgoing::Text("x".repeat(message_bytes)), &mut messages);
        outbound.queue(messages);
        let mut write = || {
            assert!(
                outbound
                    .poll_write(&mut Context::from_waker(std::task::Waker::noop()))
                    .is_pending()
            );
            outbound.gives_up_at(TIMEOUT).expect("it waits")
        };
        let before = write();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut later = before;
        for _ in 0..taken / 5 {
            client.read_exact(&mut [0; 5]).await.expect("so many bytes");
            later = write();
        }
        later - before
    }

    #[tokio::test]
    async fn who_takes_a_large_message_byte_by_byte_is_given_up() {
        assert!(gives_up_later(100_000, 5).await < Duration::from_millis(45));
        assert!(gives_up_later(100_000, 50).await >= Duration::from_millis(50));
        assert!(gives_up_later(10_000, 5).await >= Duration::from_millis(50));
    }
}
