//! Output on its way to a client, and how fast the client takes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ddp_core::merge_box::Outgoing;

use super::together::{Together, change};
use crate::transport::framing::FrameBuilder;
use crate::transport::large::LARGE_MESSAGE_BYTES;
use crate::transport::{AnyTransport, Framing, Transport};

/// How much of a large message a client takes each second at least, when the time is over for which it
/// may take nothing.
const BYTES_PER_SECOND: u64 = 16 * 1024;

/// How long it may take for one, however much it takes.
const LARGE_MESSAGE_WITHIN: Duration = Duration::from_secs(5 * 60);

/// While no more waits than this, there is room, whatever waits for others.
const OWN_BYTES: usize = 8 * 1024;

/// How many clients of one address may have a full outbox, while others of it have [`OWN_BYTES`].
const FULL_OUTBOXES: usize = 64;

/// A transport, and the output waiting for it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) transport: AnyTransport,
    framing: Framing,
    /// Bytes given to the transport so far.
    queued_total: u64,
    /// How many of them the socket had taken at the last write.
    written: u64,
    /// While this many bytes are waiting, with what their buffers take, nothing more is encoded for
    /// the client.
    outbox_bytes_max: usize,
    /// What waits for clients of its address, and how much of that for this one.
    together: Arc<Together>,
    shared: usize,
    /// Since when the client has taken nothing, although something is waiting.
    stalled_since: Option<Instant>,
    /// What large messages for this session only are waiting.
    large: Option<Box<Large>>,
    /// Whether, since the last timer, the client was not read from because it fell behind, or took
    /// something after that.
    was_behind: bool,
}

/// Large messages that wait for the socket.
#[derive(Debug)]
struct Large {
    bytes: usize,
    /// Since when the first of them wait.
    since: Instant,
    /// What the socket had taken then.
    written: u64,
    /// What the socket has taken when it has taken these; not known before it was written to.
    end: Option<u64>,
}

impl Large {
    fn new(written: u64) -> Self {
        Self { bytes: 0, since: now(), written, end: None }
    }

    /// Notes that the socket has taken so much of so much, and that so many bytes still wait.
    fn note(&mut self, written: u64, total: u64, waiting: usize) {
        // What is not there any more has been taken, whatever else waits behind it.
        self.bytes = self.bytes.min(waiting);
        if written >= *self.end.get_or_insert(total) {
            // Those that came later have their own time.
            *self = Self { bytes: self.bytes, end: Some(total), ..Self::new(written) };
        }
    }

    /// Until when they may wait, if the socket has taken so much by now.
    fn until(&self, written: u64, timeout: Duration) -> Instant {
        let taken = written.saturating_sub(self.written);
        let earned = Duration::from_millis(taken.saturating_mul(1000) / BYTES_PER_SECOND);
        self.since + timeout.saturating_add(earned).min(timeout.max(LARGE_MESSAGE_WITHIN))
    }
}

/// The time, which tests stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
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

    fn bytes(&self) -> usize {
        self.frames.bytes()
    }
}

impl Outbound {
    pub(crate) fn new(
        transport: AnyTransport,
        outbox_bytes_max: usize,
        together: Arc<Together>,
    ) -> Self {
        let framing = transport.framing();
        let (queued_total, written, stalled_since, large, was_behind) = Default::default();
        Self {
            transport,
            framing,
            queued_total,
            written,
            outbox_bytes_max,
            together,
            shared: 0,
            stalled_since,
            large,
            was_behind,
        }
    }

    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) fn has_room(&self) -> bool {
        self.has_room_for(self.transport.kept_bytes())
    }

    /// Whether there is room for more if so many bytes wait.
    fn has_room_for(&self, bytes: usize) -> bool {
        bytes < self.outbox_bytes_max && (bytes < OWN_BYTES || self.shares())
    }

    /// Whether there is something left of what clients of its address share.
    fn shares(&self) -> bool {
        let all = FULL_OUTBOXES.saturating_mul(self.outbox_bytes_max);
        self.together.outboxes.load(Ordering::Relaxed) < all
    }

    /// Whether there is room if `messages` are queued as well.
    pub(crate) fn has_room_beside(&self, messages: &Messages) -> bool {
        self.has_room_for(self.transport.kept_bytes() + messages.bytes())
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
    /// waits, whose memory others wait for, unless it takes 16 KiB for each second beyond that. After
    /// five minutes, or `timeout` if that is longer, it must have taken that one.
    pub(crate) fn gives_up_at(&self, timeout: Duration) -> Option<Instant> {
        let stalled = self.stalled_since? + timeout;
        let slow = self.large.as_ref().map(|large| large.until(self.written, timeout));
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
                    let written = self.written;
                    self.large.get_or_insert_with(|| Box::new(Large::new(written))).bytes +=
                        text.len();
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
        let (total, waiting) = (self.queued_total, self.transport.queued_bytes());
        let shared = self.transport.kept_bytes().saturating_sub(OWN_BYTES);
        change(&self.together.outboxes, &mut self.shared, shared);
        self.large.take_if(|large| {
            large.note(written, total, waiting);
            large.bytes <= LARGE_MESSAGE_BYTES
        });
        self.was_behind |= moves && self.stalled_since.is_some();
        if flushed {
            self.stalled_since = None;
        } else if moves || self.stalled_since.is_none() {
            self.stalled_since = Some(now());
        }
        Poll::Pending
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        change(&self.together.outboxes, &mut self.shared, 0);
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use axum::http::Request;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::connection::together::Addresses;
    use crate::transport::{Address, TransportConfig, in_process};

    const TIMEOUT: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    /// An outbound to a client that takes what it is told to.
    fn connect() -> (Outbound, tokio::io::DuplexStream) {
        let (io, client) = duplex(8192);
        let request = Request::new(()).into_parts().0;
        let (transport, _) = in_process::open(io, &request, &TransportConfig::default());
        let together = Arc::new(Addresses::default()).of(None);
        (Outbound::new(transport, 256 * 1024, together), client)
    }

    fn send(outbound: &mut Outbound, bytes: usize) {
        let mut messages = Messages::new(outbound.framing());
        outbound.send(Outgoing::Text("x".repeat(bytes)), &mut messages);
        outbound.queue(messages);
        write(outbound);
    }

    fn write(outbound: &mut Outbound) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(outbound.poll_write(&mut cx).is_pending());
    }

    /// Takes so many bytes each second, and sends so many messages more, each when the one before is
    /// nearly taken. Returns after how long the client is given up, `None` if it takes everything.
    async fn given_up(message_bytes: usize, taken: usize, more: usize) -> Option<Duration> {
        // Otherwise a write may come to nothing, and nobody would write again.
        tokio::task::unconstrained(take_slowly(message_bytes, taken, more)).await
    }

    async fn take_slowly(message_bytes: usize, taken: usize, mut more: usize) -> Option<Duration> {
        let (mut outbound, mut client) = connect();
        let begun = now();
        send(&mut outbound, message_bytes);
        loop {
            match outbound.gives_up_at(TIMEOUT) {
                None if more == 0 => return None,
                Some(at) if at <= now() => return Some(now() - begun),
                _ => {}
            }
            tokio::time::sleep(SECOND).await;
            let mut left = taken;
            while left > 0 && !outbound.is_empty() {
                let mut buffer = [0; 8192];
                left -=
                    client.read(&mut buffer[..left.min(8192)]).await.expect("an open connection");
                write(&mut outbound);
            }
            if more > 0 && outbound.transport.queued_bytes() < 100_000 {
                more -= 1;
                send(&mut outbound, message_bytes);
            }
        }
    }

    #[tokio::test]
    async fn clients_of_one_address_share_what_they_have_beyond_a_little() {
        let addresses = Arc::new(Addresses::default());
        let connect = |address: &str| {
            let (io, client) = duplex(8192);
            let request = Request::new(()).into_parts().0;
            let (transport, _) = in_process::open(io, &request, &TransportConfig::default());
            let together = addresses.of(Some(&Address::of(address)));
            (Outbound::new(transport, 256 * 1024, together), client)
        };
        let mut full = Vec::new();
        for _ in 0..FULL_OUTBOXES * 3 / 2 {
            let (mut outbound, client) = connect("192.0.2.1");
            while outbound.has_room() {
                send(&mut outbound, 30_000);
            }
            full.push((outbound, client));
        }
        let waiting: usize = full.iter().map(|(one, _)| one.transport.queued_bytes()).sum();
        let most = FULL_OUTBOXES * 256 * 1024 + full.len() * (OWN_BYTES + 30_100);
        assert!(waiting <= most, "{waiting}");
        for (address, has_room) in [("192.0.2.1", false), ("192.0.2.2", true)] {
            let (mut outbound, _client) = connect(address);
            for _ in 0..2 {
                assert!(outbound.has_room(), "what each may have anyway");
                send(&mut outbound, 14_000);
            }
            assert_eq!(outbound.has_room(), has_room, "{address}");
            let mut messages = Messages::new(outbound.framing());
            outbound.send(Outgoing::Text("x".repeat(250_000)), &mut messages);
            assert!(!outbound.has_room_beside(&messages), "what is made counts at once");
        }
        full.truncate(FULL_OUTBOXES / 2);
        let (mut outbound, _client) = connect("192.0.2.1");
        send(&mut outbound, 40_000);
        assert!(outbound.has_room(), "others have left");
    }

    /// Whether a time is about so many seconds.
    fn is_about(time: Option<Duration>, seconds: u64) -> bool {
        time.is_some_and(|time| time.as_secs().abs_diff(seconds) <= 1)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_large_message_too_slowly_is_given_up() {
        // Half a minute, and what was taken in that time is worth nearly another second.
        let slow = given_up(4 << 20, 500, 0).await;
        assert!(is_about(slow, 31), "{slow:?}");
        // Half of the speed doubles the time.
        let slow = given_up(4 << 20, 8 * 1024, 0).await;
        assert!(is_about(slow, 60), "{slow:?}");
        assert_eq!(given_up(4 << 20, 20 * 1024, 0).await, None);
        // However large it is, and however fast the client: some minutes.
        let slow = given_up(20 << 20, 20 * 1024, 0).await;
        assert!(is_about(slow, 300), "{slow:?}");
        // A small one holds nothing that others wait for.
        assert_eq!(given_up(15_000, 500, 0).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_one_large_message_after_the_other_is_not_given_up() {
        // Eight minutes, in which a large one always waits.
        assert_eq!(given_up(2 << 20, 100 * 1024, 23).await, None);
        let slow = given_up(2 << 20, 8 * 1024, 23).await;
        assert!(is_about(slow, 60), "{slow:?}");
    }
}
