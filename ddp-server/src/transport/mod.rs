//! Transports: text in, text out, close.
//!
//! A transport does not know DDP, and the driver of a [`Transport`] does not know WebSocket or
//! SockJS. Only `sockjs/` knows SockJS, only `websocket/` knows RFC 6455, `deflate` knows RFC 7692,
//! and `framing` writes everybody's frames. Nothing here imports anything above this module.
//!
//! Without the feature `sockjs` that folder is not compiled. Without `compression` the type
//! [`Deflate`] has no values, so no connection can negotiate it.
//!
//! Outgoing messages are encoded independently of any connection, by a
//! [`FrameBuilder`](framing::FrameBuilder), and then queued as shared [`Bytes`]: a change that goes
//! to ten thousand clients is framed once per [`Framing`] and copied only by the kernel.

mod any;
#[cfg(feature = "compression")]
mod compression;
pub(crate) mod cookies;
#[cfg_attr(not(feature = "compression"), path = "no_deflate.rs")]
mod deflate;
mod effort;
mod error;
pub(crate) mod framing;
mod headers;
#[cfg(feature = "testing")]
pub(crate) mod in_process;
pub(crate) mod large;
mod memory;
pub(crate) mod open;
pub(crate) mod origin;
mod patience;
pub(crate) mod routes;
mod share;
mod socket;
#[cfg(feature = "sockjs")]
pub(crate) mod sockjs;
#[cfg(test)]
pub(crate) mod tests;
mod turns;
pub(crate) mod websocket;

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

#[cfg(feature = "compression")]
pub use self::compression::Compression;
pub use self::headers::Headers;
pub use self::origin::{NotAnOrigin, Origins};
pub(crate) use self::{
    any::AnyTransport,
    deflate::Deflate,
    error::{TransportError, Violation},
    framing::Framing,
    large::{Deadline, LargeMessages},
    memory::{Asking, Memory, Share},
    patience::Patience,
    share::{Address, Shares},
    socket::{Place, Socket, Stream, keep_alive},
    turns::{NextTurn, Turn},
};

/// One client's transport, polled by the task that owns the connection. Now and then somebody else
/// with exclusive access queues frames and calls [`poll_flush`](Self::poll_flush) with that task's
/// waker, perhaps on another thread.
///
/// One read may hold thousands of messages, and each `poll_recv` returns one without yielding, so
/// the driver limits how many it takes before it lets others run. What makes no message, such as
/// pings, the driver does not see: after some of it the transport is pending by itself, and wakes the
/// task.
///
/// The driver's loop: [`poll_recv`](Self::poll_recv) until pending, [`queue`](Self::queue) the
/// output, [`poll_flush`](Self::poll_flush). After `poll_recv` has returned an error or `None`, or
/// after [`close`](Self::close), only [`poll_closed`](Self::poll_closed) is of use, and the driver
/// limits it with a timeout. Dropping a transport closes its socket without a handshake.
pub(crate) trait Transport: Send + Unpin + 'static {
    /// The next message's text; `None` when the peer has closed, with or without a handshake.
    ///
    /// This also writes answers to pings, heartbeats and whatever is queued, as far as the socket
    /// takes them, so a driver that only waits for messages keeps the peer alive.
    ///
    /// # Errors
    ///
    /// When the socket fails or the peer breaks the protocol. In the second case the close frame
    /// is queued and `poll_closed` delivers it.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<String>, TransportError>>;

    /// The memory of the last message, if it was a large one: up to its number of bytes. Whoever keeps
    /// the message takes it; what is not taken ends with the next call of `poll_recv`.
    fn take_share(&mut self, bytes: usize) -> Option<Share>;

    /// Whether a message waits for memory or for its turn, so that the peer is not read from.
    fn is_held_back(&self) -> bool;

    /// Called instead of `poll_recv` while no messages are wanted: gives back what a message waits
    /// for, which would be given to nobody else. It is asked for again with the next `poll_recv`.
    ///
    /// Ready with an error, as that of `poll_recv`, if a message holds its memory for too long.
    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<TransportError>;

    /// How to encode messages for this transport.
    fn framing(&self) -> Framing;

    /// Queues whole frames, made by a [`FrameBuilder`](framing::FrameBuilder) with this transport's framing.
    ///
    /// The bytes are shared, never copied. The queue has no bound of its own: the driver watches
    /// [`kept_bytes`](Self::kept_bytes). Frames queued after the close are dropped.
    fn queue(&mut self, frames: Bytes);

    /// What is queued from now on must not reach the client in a frame with what was queued so far.
    /// Only for transports that take frames apart and join their messages anew.
    fn end_frame(&mut self) {}

    /// Bytes queued that the socket has not taken yet.
    fn queued_bytes(&self) -> usize;

    /// The same, and what their buffers take: most of it if the frames are small.
    fn kept_bytes(&self) -> usize;

    /// Writes as much as the socket takes; ready when nothing is queued and everything is flushed.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Queues the closing handshake after everything already queued. Only the first call counts.
    ///
    /// RFC 6455 section 7.4 must allow an endpoint to send `code`. A reason longer than 123 bytes
    /// is truncated.
    fn close(&mut self, code: u16, reason: &str);

    /// Drives the closing handshake to its end, closing with 1000 if not closed yet.
    ///
    /// Messages that still arrive are dropped. This stays pending while the peer does not answer.
    ///
    /// # Errors
    ///
    /// When the socket fails; the connection is over then as well.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Limits and timers of the transports.
#[derive(Clone, Debug)]
pub(crate) struct TransportConfig {
    /// The largest message accepted, in bytes; a SockJS frame counts as one message.
    ///
    /// 4 MiB by default: room for a method call with a file of 3 MB in base64. Meteor's default of
    /// 64 MiB lets each connection claim that much memory.
    pub(crate) message_bytes_max: usize,
    /// How many proxies tell clients' addresses.
    pub(crate) forwarded_count: usize,
    /// Whose scripts may connect.
    pub(crate) origins: Origins,
    /// The names of the cookies that are kept.
    pub(crate) cookies: Arc<[Arc<str>]>,
    /// The WebSockets of each client's address.
    pub(crate) websockets: Arc<Shares>,
    /// What large messages of all transports share.
    pub(crate) large: Arc<LargeMessages>,
    /// How WebSocket messages are compressed if the client offers it.
    pub(crate) deflate: Option<Deflate>,
    /// The options of SockJS.
    #[cfg(feature = "sockjs")]
    pub(crate) sockjs: sockjs::SockJsConfig,
}

impl Default for TransportConfig {
    fn default() -> Self {
        let message_bytes_max = 4 * 1024 * 1024;
        Self {
            message_bytes_max,
            forwarded_count: 0,
            origins: Origins::default(),
            cookies: Arc::default(),
            websockets: Shares::new(usize::MAX),
            large: Arc::new(LargeMessages::new(64 * 1024 * 1024, message_bytes_max)),
            deflate: Deflate::by_default(),
            #[cfg(feature = "sockjs")]
            sockjs: sockjs::SockJsConfig::default(),
        }
    }
}
