//! A WebSocket over any stream.

use std::{
    fmt, io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::coding::CloseCode;

use super::{
    frame::{Decoder, Event},
    outbox::Outbox,
};
use crate::transport::{
    Address, Asking, Deadline, Framing, LargeMessages, NextTurn, Share, Transport, TransportError,
    Turn,
    deflate::Deflate,
    effort::{self, Effort},
    framing::{close_frame, pong_frame},
    large::LARGE_MESSAGE_BYTES,
};

/// The most that one read takes. The buffer is on the stack: an idle connection has none.
const READ_BYTES: usize = 16 * 1024;

/// The server's end of a WebSocket, after the opening handshake.
#[derive(Debug)]
pub(crate) struct WebSocket<Io> {
    io: Io,
    decoder: Decoder,
    /// Bytes read but not decoded yet, because they arrived together with a message.
    input: Bytes,
    outbox: Outbox,
    phase: Phase,
    deflate: Option<Deflate>,
    /// What large messages share, unless they may have all the memory that they want; and whose
    /// they are.
    shared: Option<Arc<LargeMessages>>,
    address: Option<Address>,
    large: Option<Box<Large>>,
}

/// What becomes of a large message.
enum Large {
    /// It waits for memory.
    Share(Asking),
    /// It is being read.
    Reading(Held),
    /// It has arrived, and waits for its turn to be made of its payload.
    Turn(Held, NextTurn),
    /// It has been given. A frame of SockJS is held until its last message has been taken.
    Given(Held),
}

/// Memory that a message has, and until when.
struct Held {
    share: Share,
    until: Deadline,
}

impl Held {
    /// That of a message that has been made, which has so many bytes.
    fn of(mut self, bytes: usize) -> Self {
        self.share.shrink_to(bytes);
        Self { share: self.share, until: Deadline::begin() }
    }
}

impl fmt::Debug for Large {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Share(_) => "waits for memory",
            Self::Reading(..) => "is being read",
            Self::Turn(..) => "waits for its turn",
            Self::Given(..) => "has been given",
        })
    }
}

/// The state of the closing handshake (RFC 6455 section 7.1).
///
/// ```text
///        close()                peer's close, end of stream
/// Open ───────────► CloseSent ────────┐
///  │ ╲                 │              ▼
///  │  ╲ peer's close   │ violation   CloseReceived ──► Closed
///  │   ╲───────────────┼──────────────▲                  ▲
///  ▼ violation         ▼                                 │
/// Failed ◄─────────────┘ ──► Draining ── end of stream ──┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Messages flow.
    Open,
    /// Our close frame is queued, and we wait for the peer's.
    CloseSent,
    /// Nothing more will arrive; queued output is still written.
    CloseReceived,
    /// The peer broke the protocol, so its bytes are meaningless. Our close frame is queued.
    Failed,
    /// The same, with our half of the stream shut down. Reading on until the peer hangs up keeps
    /// the kernel from resetting the connection before our close frame arrives.
    Draining,
    /// Finished.
    Closed,
}

impl<Io> WebSocket<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    /// A socket over `io`; `input` has already been read from it.
    pub(crate) fn new(io: Io, input: Bytes, message_bytes_max: usize) -> Self {
        Self {
            io,
            decoder: Decoder::new(message_bytes_max),
            // Copied, because even an empty slice would keep the handshake's whole buffer.
            input: Bytes::copy_from_slice(&input),
            outbox: Outbox::default(),
            phase: Phase::Open,
            deflate: None,
            shared: None,
            address: None,
            large: None,
        }
    }

    /// Sets what its large messages share with those of others, and whose they are.
    pub(crate) fn with_large(
        mut self,
        shared: Arc<LargeMessages>,
        address: Option<Address>,
    ) -> Self {
        self.decoder.ask_for_large();
        self.shared = Some(shared);
        self.address = address;
        self
    }

    /// Sets the negotiated permessage-deflate, if any.
    pub(crate) fn with_deflate(mut self, deflate: Option<Deflate>) -> Self {
        self.decoder.set_deflate(deflate.is_some());
        self.deflate = deflate;
        self
    }

    /// The next event; `None` at the end of the stream.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        effort: &mut Effort,
    ) -> Poll<Result<Option<Event>, TransportError>> {
        loop {
            if !effort.allows(effort::FRAME, cx) {
                return Poll::Pending;
            }
            let turn = match self.large {
                None => None,
                Some(_) => ready!(self.poll_large(cx)),
            };
            // Whoever has its turn now has sent everything, however long that took to come.
            if turn.is_none() && self.poll_deadline(cx).is_ready() {
                return Poll::Ready(Err(TransportError::TooSlow));
            }
            if !self.input.is_empty() || self.decoder.is_whole() {
                let mut rest = &self.input[..];
                let decoded = self.decoder.decode(&mut rest)?;
                let taken = self.input.len() - rest.len();
                self.input.advance(taken);
                if self.input.is_empty() {
                    // Even an empty `Bytes` keeps its allocation.
                    self.input = Bytes::new();
                }
                drop(turn);
                if self.wants_more(decoded.as_ref()) {
                    continue;
                }
                if decoded.is_some() {
                    return Poll::Ready(Ok(decoded));
                }
            }
            if !effort.allows(effort::READ, cx) {
                return Poll::Pending;
            }
            let mut storage = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut storage);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            let mut rest = buffer.filled();
            if rest.is_empty() {
                return Poll::Ready(Ok(None));
            }
            if let Some(Large::Reading(held)) = self.large.as_deref_mut() {
                held.until.note(rest.len());
            }
            let decoded = self.decoder.decode(&mut rest)?;
            if !rest.is_empty() {
                self.input = Bytes::copy_from_slice(rest);
            }
            if decoded.is_some() && !self.wants_more(decoded.as_ref()) {
                return Poll::Ready(Ok(decoded));
            }
        }
    }

    /// Asks for what a large message needs, and notes when it is given.
    fn wants_more(&mut self, decoded: Option<&Event>) -> bool {
        let (Some(shared), Some(event)) = (&self.shared, decoded) else { return false };
        let before = self.large.take().map(|large| *large);
        let (next, wants_more) = match (event, before) {
            (Event::Large(bytes), _) => {
                let asking = shared.memory().ask(self.address.as_ref(), *bytes);
                (Some(Large::Share(asking)), true)
            }
            (Event::Whole, Some(Large::Reading(mut held))) => {
                held.until.complete();
                let turn = shared.turn(held.share.address());
                (Some(Large::Turn(held, turn)), true)
            }
            (Event::Message(text), Some(Large::Reading(held))) => {
                // What was asked for was what it might have become.
                let is_large = text.len() > LARGE_MESSAGE_BYTES;
                (is_large.then(|| Large::Given(held.of(text.len()))), false)
            }
            (_, before) => (before, false),
        };
        self.large = next.map(Box::new);
        wants_more
    }

    /// Waits for what a large message needs. A turn is to be dropped when the message has been made.
    fn poll_large(&mut self, cx: &mut Context<'_>) -> Poll<Option<Turn>> {
        let Some(large) = self.large.as_deref_mut() else { return Poll::Ready(None) };
        match large {
            Large::Share(waiting) => {
                let share = ready!(waiting.poll_unpin(cx));
                self.decoder.allow_large();
                let mut until = Deadline::paced();
                until.note(self.input.len());
                *large = Large::Reading(Held { share, until });
                Poll::Ready(None)
            }
            Large::Turn(_, waiting) => {
                let turn = ready!(waiting.poll_unpin(cx));
                self.decoder.allow_whole();
                if let Some(Large::Turn(held, _)) = self.large.take().map(|large| *large) {
                    self.large = Some(Box::new(Large::Reading(held)));
                }
                Poll::Ready(Some(turn))
            }
            Large::Reading(_) | Large::Given(_) => Poll::Ready(None),
        }
    }

    /// Ready when a message has held its memory for too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.large.as_deref_mut() {
            Some(Large::Reading(held) | Large::Given(held)) => held.until.poll(cx),
            // Turns are short, and no address waits for the line of another.
            Some(Large::Turn(..) | Large::Share(_)) | None => Poll::Pending,
        }
    }

    /// Answers control frames, notes the end of the input, and returns a message.
    fn handle(&mut self, event: Option<Event>) -> Option<String> {
        match event {
            Some(Event::Message(text)) => return Some(text),
            Some(Event::Ping(payload)) if self.phase == Phase::Open => {
                self.outbox.push_pong(&pong_frame(&payload));
            }
            Some(Event::Ping(_) | Event::Pong | Event::Large(_) | Event::Whole) => {}
            Some(Event::Close(code)) => {
                tracing::trace!(code, "peer closes");
                if self.phase == Phase::Open {
                    self.outbox.push(close_frame(close_answer(code), ""));
                }
                self.phase = Phase::CloseReceived;
            }
            None => self.phase = Phase::CloseReceived,
        }
        None
    }

    /// Queues the close frame for the peer's violation, unless one is queued already.
    fn fail(&mut self, error: &TransportError) {
        self.large = None;
        if let Some((code, reason)) = error.close()
            && self.phase == Phase::Open
        {
            self.outbox.push(close_frame(Some(code), reason));
        }
        self.phase = Phase::Failed;
    }

    /// Waits for the peer's close frame or the end of the stream.
    fn poll_peer_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut effort = Effort::new();
        while self.phase == Phase::CloseSent {
            match ready!(self.poll_event(cx, &mut effort)) {
                Ok(event) => {
                    self.handle(event);
                }
                Err(TransportError::Io(error)) => return Poll::Ready(Err(error)),
                Err(error) => self.fail(&error),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and discards until the end of the stream.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut storage = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut storage);
        let mut effort = Effort::new();
        while effort.allows(effort::READ, cx) {
            buffer.clear();
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

/// The code that answers a close frame: the peer's own (RFC 6455 section 5.5.1) if it may be sent.
/// Those are the codes that the RFC defines or IANA has registered since, and those reserved for
/// libraries and applications (section 7.4). 1005 means that there is no code, as does an answer
/// without one.
fn close_answer(code: Option<u16>) -> Option<u16> {
    match code? {
        1005 => None,
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Some(code),
        _ => Some(CloseCode::Protocol.into()),
    }
}

impl<Io> WebSocket<Io>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// [`poll_recv`](Transport::poll_recv) within what is left of a poll.
    pub(in crate::transport) fn poll_text(
        &mut self,
        cx: &mut Context<'_>,
        effort: &mut Effort,
    ) -> Poll<Result<Option<String>, TransportError>> {
        self.large.take_if(|large| matches!(**large, Large::Given(_)));
        while self.phase == Phase::Open {
            match self.poll_event(cx, effort) {
                Poll::Ready(Ok(event)) => {
                    if let Some(text) = self.handle(event) {
                        return Poll::Ready(Ok(Some(text)));
                    }
                }
                Poll::Ready(Err(error)) => {
                    self.fail(&error);
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                        return Poll::Ready(Err(error.into()));
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl<Io> Transport for WebSocket<Io>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<String>, TransportError>> {
        self.poll_text(cx, &mut Effort::new())
    }

    fn take_share(&mut self, bytes: usize) -> Option<Share> {
        match self.large.as_deref_mut() {
            Some(Large::Given(held)) => held.share.split(bytes),
            _ => None,
        }
    }

    fn is_held_back(&self) -> bool {
        match self.large.as_deref() {
            Some(Large::Share(waiting)) => waiting.is_waiting(),
            Some(Large::Turn(..)) => true,
            Some(Large::Reading(_) | Large::Given(_)) | None => false,
        }
    }

    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        // The decoder asks for another turn.
        if let Some(Large::Turn(held, _)) =
            self.large.take_if(|large| matches!(**large, Large::Turn(..))).map(|large| *large)
        {
            self.large = Some(Box::new(Large::Reading(held)));
        }
        match self.large.as_deref_mut() {
            Some(Large::Share(waiting)) => waiting.pause(),
            Some(Large::Reading(held)) => held.until.excuse(),
            Some(Large::Turn(..) | Large::Given(_)) | None => {}
        }
        ready!(self.poll_deadline(cx));
        let error = TransportError::TooSlow;
        self.fail(&error);
        Poll::Ready(error)
    }

    fn framing(&self) -> Framing {
        Framing::raw(self.deflate)
    }

    fn queue(&mut self, frames: Bytes) {
        if self.phase == Phase::Open {
            self.outbox.push(frames);
        }
    }

    fn queued_bytes(&self) -> usize {
        self.outbox.queued_bytes()
    }

    fn kept_bytes(&self) -> usize {
        self.outbox.kept_bytes()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outbox.poll_write(&mut self.io, cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn close(&mut self, code: u16, reason: &str) {
        if self.phase == Phase::Open {
            self.outbox.push(close_frame(Some(code), reason));
            self.phase = Phase::CloseSent;
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(CloseCode::Normal.into(), "");
        // Keep reading while writing is stuck: the peer may be stuck writing, too.
        let heard = self.poll_peer_close(cx)?;
        ready!(self.poll_flush(cx))?;
        ready!(heard);
        if self.phase == Phase::Closed {
            return Poll::Ready(Ok(()));
        }
        if self.phase != Phase::Draining {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        if matches!(self.phase, Phase::Failed | Phase::Draining) {
            self.phase = Phase::Draining;
            ready!(self.poll_drain(cx))?;
        }
        self.phase = Phase::Closed;
        Poll::Ready(Ok(()))
    }
}
