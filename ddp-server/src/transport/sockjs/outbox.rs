//! What waits for a client that polls or streams.

use std::collections::VecDeque;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use super::frame::split_messages;
use crate::transport::framing::BUFFER_BYTES;

/// How much a response hands to its socket at once. It is asked for when there is room, so what a
/// client has not taken is known, and counts, until then.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// Messages for the client, quoted and separated by commas. The application's end limits them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// How much of the last frame its receiver has still to hand to the socket.
    in_flight: usize,
}

#[derive(Debug)]
struct Chunk {
    messages: Bytes,
    /// Whether a frame must end here.
    ends_frame: bool,
}

impl Outbox {
    /// Queues the messages of whole frames.
    pub(super) fn push(&mut self, mut frames: Bytes) {
        while let Some(messages) = split_messages(&mut frames) {
            self.bytes += messages.len();
            self.chunks.push_back(Chunk { messages, ends_frame: false });
        }
    }

    /// What is queued so far and what follows are different frames.
    pub(super) fn end_frame(&mut self) {
        if let Some(last) = self.chunks.back_mut() {
            last.ends_frame = true;
        }
    }

    /// Whether there is nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// What waits, and what a response has not handed to its socket.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes + self.in_flight
    }

    /// The same, and what the buffers take.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes() + self.chunks.len() * BUFFER_BYTES
    }

    /// What a response has not handed to its socket.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A response has still to hand over so much.
    pub(super) fn hands_over(&mut self, left: usize) {
        self.in_flight = left;
    }

    /// A frame of the messages up to its end, or of all.
    pub(super) fn take_frame(&mut self) -> Option<Bytes> {
        if self.chunks.is_empty() {
            return None;
        }
        let end = self.chunks.iter().position(|chunk| chunk.ends_frame);
        let count = end.map_or(self.chunks.len(), |last| last + 1);
        let bytes: usize = self.chunks.iter().take(count).map(|chunk| chunk.messages.len()).sum();
        let mut frame = BytesMut::with_capacity(bytes + count + 2);
        frame.put_slice(b"a[");
        for (index, chunk) in self.chunks.drain(..count).enumerate() {
            if index > 0 {
                frame.put_u8(b',');
            }
            frame.put_slice(&chunk.messages);
        }
        frame.put_u8(b']');
        self.bytes -= bytes;
        // A small one is handed over as a whole.
        self.in_flight = if frame.len() > PIECE_BYTES { frame.len() } else { 0 };
        if self.chunks.is_empty() {
            // An idle client keeps no memory for it.
            self.chunks = VecDeque::new();
        }
        Some(frame.freeze())
    }
}
