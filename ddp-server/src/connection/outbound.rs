//! Output on its way to a client, and how fast the client takes it.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use ddp_core::merge_box::Outgoing;

use crate::transport::framing::FrameBuilder;
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
    /// Whether, since the last timer, the client was not read from because it fell behind, or took
    /// something after that.
    was_behind: bool,
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
        let (queued_total, written, stalled_since, was_behind) = Default::default();
        Self {
            transport,
            framing,
            queued_total,
            written,
            outbox_bytes_max,
            stalled_since,
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

    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
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
        self.was_behind |= moves && self.stalled_since.is_some();
        if flushed {
            self.stalled_since = None;
        } else if moves || self.stalled_since.is_none() {
            self.stalled_since = Some(Instant::now());
        }
        Poll::Pending
    }
}
