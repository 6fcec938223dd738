//! Peers that always have more to read, and never a message.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake},
};

use tokio::io::ReadBuf;

use super::*;
#[cfg(feature = "sockjs")]
use crate::transport::sockjs::SockJs;

/// How often a peer may be read from; then it hangs up.
const READS: usize = 400;

/// How many reads of one poll are few.
const FEW: usize = 9;

/// A peer that sends the same frames again and again, and takes everything.
#[derive(Debug)]
struct Flood {
    frame: &'static [u8],
    reads: Arc<AtomicUsize>,
}

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads.fetch_add(1, Ordering::Relaxed) < READS {
            while buffer.remaining() >= self.frame.len() {
                buffer.put_slice(self.frame);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Counts how often the task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A socket that has received `first`, and whose peer then floods it; and how often it was read.
fn flooded(first: &'static [u8], frame: &'static [u8]) -> (WebSocket<Flood>, Arc<AtomicUsize>) {
    let reads = Arc::new(AtomicUsize::new(0));
    let io = Flood { frame, reads: Arc::clone(&reads) };
    (WebSocket::new(io, first.into(), 64 << 20), reads)
}

/// Polls to the end, and checks that every poll reads little and goes on by itself. Returns how many
/// polls it took, too.
#[track_caller]
fn poll_to_end<T>(
    reads: &AtomicUsize,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> (T, usize) {
    let wakes = Arc::new(Wakes::default());
    let waker = Arc::clone(&wakes).into();
    let mut cx = Context::from_waker(&waker);
    for polls in 1.. {
        let before = reads.load(Ordering::Relaxed);
        let polled = poll(&mut cx);
        let read = reads.load(Ordering::Relaxed) - before;
        assert!(read <= FEW, "{read} reads in one poll");
        if let Poll::Ready(output) = polled {
            return (output, polls);
        }
        assert_eq!(wakes.0.load(Ordering::Relaxed), polls, "nobody else wakes the task");
    }
    unreachable!("it is polled until it ends")
}

const PING: &[u8] = b"\x89\x80\0\0\0\0";
const PONG: &[u8] = b"\x8a\x80\0\0\0\0";

#[test]
fn others_have_turns_while_nothing_makes_a_message() {
    let table: [(&[u8], &[u8]); 4] = [
        (b"", PING),
        (b"", PONG),
        // A message in parts that has begun, and parts of it without bytes.
        (b"\x01\x80\0\0\0\0", b"\0\x80\0\0\0\0"),
        // The beginning of one of 32 MiB.
        (b"\x81\xff\0\0\0\0\x02\0\0\0\0\0\0\0", b"x"),
    ];
    for (first, frame) in table {
        let (mut socket, reads) = flooded(first, frame);
        let (end, _) = poll_to_end(&reads, |cx| socket.poll_recv(cx));
        assert!(matches!(end, Ok(None)), "{frame:x?}");
        assert!(reads.load(Ordering::Relaxed) > READS, "all of it was read: {frame:x?}");
    }
}

#[test]
fn others_have_turns_while_a_connection_ends() {
    let (mut socket, reads) = flooded(b"", PING);
    socket.close(1000, "");
    let (end, _) = poll_to_end(&reads, |cx| socket.poll_closed(cx));
    assert!(end.is_ok() && reads.load(Ordering::Relaxed) > READS);

    // What comes after a violation is thrown away.
    let (mut socket, reads) = flooded(b"\x81\0", b"x");
    let (end, _) = poll_to_end(&reads, |cx| socket.poll_recv(cx));
    assert!(matches!(end, Err(TransportError::Violation(_))));
    let (end, _) = poll_to_end(&reads, |cx| socket.poll_closed(cx));
    assert!(end.is_ok() && reads.load(Ordering::Relaxed) > READS);
}

#[cfg(feature = "sockjs")]
#[tokio::test]
async fn others_have_turns_while_frames_of_sockjs_are_empty() {
    for frame in [&b"\x81\x80\0\0\0\0"[..], b"\x81\x82\0\0\0\0[]"] {
        let (socket, reads) = flooded(b"", frame);
        let mut transport = SockJs::new(socket, Duration::from_secs(45));
        let (end, _) = poll_to_end(&reads, |cx| transport.poll_recv(cx));
        assert!(matches!(end, Ok(None)));
        assert!(reads.load(Ordering::Relaxed) > READS);
    }
}

#[cfg(all(feature = "sockjs", feature = "compression"))]
#[tokio::test]
async fn others_have_turns_while_frames_of_sockjs_are_inflated() {
    let blank = format!("[{}]", " ".repeat(60 * 1024));
    let payload = super::compression::deflate(9, blank.as_bytes());
    let length = u8::try_from(payload.len()).expect("it is short").min(125);
    assert_eq!(usize::from(length), payload.len());
    let frame = [&[0xc1, 0x80 | length, 0, 0, 0, 0], &payload[..]].concat();
    let frames = 100;
    let io = Flood { frame: b"", reads: Arc::new(AtomicUsize::new(READS)) };
    let reads = Arc::clone(&io.reads);
    let socket = WebSocket::new(io, frame.repeat(frames).into(), 1 << 20);
    let socket = socket.with_deflate(super::super::Deflate::by_default());
    let mut transport = SockJs::new(socket, Duration::from_secs(45));
    let (end, polls) = poll_to_end(&reads, |cx| transport.poll_recv(cx));
    assert!(matches!(end, Ok(None)));
    assert!(polls > frames / 4, "{polls} polls");
}
