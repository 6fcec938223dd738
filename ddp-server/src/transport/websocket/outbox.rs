//! Output waiting for the socket.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::transport::framing::BUFFER_BYTES;

/// How many buffers one vectored write offers.
const SLICES_MAX: usize = 64;

/// A queue that grew beyond this frees its memory when it is empty.
const IDLE_CAPACITY_MAX: usize = 32;

/// If more pongs than this are waiting, only the newest is kept.
const PONG_BYTES_MAX: usize = 1024;

/// Whole frames in shared buffers, and pongs that overtake them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Bytes>,
    /// Whether the socket has taken part of the queue's front, so that nothing may precede it.
    front_started: bool,
    /// The answers to the latest pings. By RFC 6455 section 5.5.3 the last one may stand for
    /// earlier ones, so a flood of pings queues only a few.
    pongs: Option<BytesMut>,
    queued_bytes: usize,
}

impl Outbox {
    /// Appends whole frames.
    pub(super) fn push(&mut self, frames: Bytes) {
        if !frames.is_empty() {
            self.queued_bytes += frames.len();
            self.queue.push_back(frames);
        }
    }

    /// Puts a pong before everything not yet begun except other pongs, which it replaces if there
    /// are many.
    pub(super) fn push_pong(&mut self, frame: &[u8]) {
        let pongs = self.pongs.get_or_insert_default();
        if pongs.len() + frame.len() > PONG_BYTES_MAX {
            self.queued_bytes -= pongs.len();
            pongs.clear();
        }
        self.queued_bytes += frame.len();
        pongs.extend_from_slice(frame);
    }

    /// Bytes that the socket has not taken yet.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// The same, and what the buffers take.
    pub(super) fn kept_bytes(&self) -> usize {
        self.queued_bytes + self.queue.len() * BUFFER_BYTES
    }

    /// Writes until everything is taken or the socket is full; ready only when nothing is left.
    pub(super) fn poll_write<Io>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        Io: AsyncWrite + Unpin,
    {
        while self.queued_bytes > 0 {
            let io = Pin::new(&mut *io);
            let taken = match (self.queue.front(), self.queue.len(), &self.pongs) {
                // The usual case: a plain write is cheaper for the kernel.
                (Some(only), 1, None) => ready!(io.poll_write(cx, only))?,
                _ => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let count = self.fill(&mut slices);
                    ready!(io.poll_write_vectored(cx, &slices[..count]))?
                }
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(taken);
        }
        if self.queue.capacity() > IDLE_CAPACITY_MAX {
            self.queue = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Lists the waiting buffers in the order in which they are sent.
    fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (started, waiting) = (usize::from(self.front_started), self.queue.iter());
        let first = waiting.clone().take(started);
        let first = first.map(|bytes| &bytes[..]);
        let pongs = self.pongs.iter().map(|bytes| &bytes[..]);
        let ordered = first.chain(pongs).chain(waiting.skip(started).map(|bytes| &bytes[..]));
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(ordered) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// Removes what the socket took, in the same order.
    fn advance(&mut self, mut taken: usize) {
        self.queued_bytes = self.queued_bytes.saturating_sub(taken);
        while taken > 0 {
            if !self.front_started
                && let Some(pongs) = self.pongs.take()
            {
                self.queue.push_front(pongs.freeze());
            }
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if taken < front.len() {
                front.advance(taken);
                self.front_started = true;
                return;
            }
            taken -= front.len();
            self.queue.pop_front();
            self.front_started = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = outbox.fill(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_pong_precedes_frames_not_yet_begun() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"one"));
        outbox.push(Bytes::from_static(b"two"));
        outbox.push_pong(b"PONG");
        assert_eq!(wire(&outbox), b"PONGonetwo");
    }

    #[test]
    fn a_pong_never_splits_frames_begun() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"one"));
        outbox.push(Bytes::from_static(b"two"));
        outbox.advance(1);
        outbox.push_pong(b"PONG");
        assert_eq!(wire(&outbox), b"nePONGtwo");
        outbox.advance(4);
        // The pong has begun, so the next one waits until it is complete.
        outbox.push_pong(b"LATE");
        assert_eq!(wire(&outbox), b"NGLATEtwo");
        assert_eq!(outbox.queued_bytes(), 9);
    }

    #[test]
    fn pongs_wait_in_order_until_they_are_many() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"one"));
        outbox.advance(1);
        for pong in [&b"first"[..], b"second", &[b'x'; PONG_BYTES_MAX - 11]] {
            outbox.push_pong(pong);
        }
        assert!(wire(&outbox).starts_with(b"nefirstsecondx"));
        assert_eq!(outbox.queued_bytes(), 2 + PONG_BYTES_MAX);
        outbox.push_pong(b"newest");
        assert_eq!(wire(&outbox), b"nenewest");
        assert_eq!(outbox.queued_bytes(), 8);
        outbox.advance(8);
        assert_eq!((outbox.queued_bytes(), wire(&outbox).len()), (0, 0));
    }

    #[test]
    fn what_buffers_take_counts_until_they_are_written() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.push(Bytes::from_static(b"1"));
        }
        assert_eq!(outbox.kept_bytes(), 100 + 100 * BUFFER_BYTES);
        outbox.advance(99);
        assert_eq!(outbox.kept_bytes(), 1 + BUFFER_BYTES);
        outbox.advance(1);
        assert_eq!(outbox.kept_bytes(), 0);
    }

    #[test]
    fn any_sequence_of_partial_writes_keeps_the_order() {
        for step in 1..12 {
            let mut outbox = Outbox::default();
            for part in ["a", "bc", "def", "", "ghij"] {
                outbox.push(Bytes::from_static(part.as_bytes()));
            }
            let mut written = Vec::new();
            while outbox.queued_bytes() > 0 {
                let waiting = wire(&outbox);
                let taken = step.min(waiting.len());
                written.extend_from_slice(&waiting[..taken]);
                outbox.advance(taken);
            }
            assert_eq!(written, b"abcdefghij", "in steps of {step}");
        }
    }
}
