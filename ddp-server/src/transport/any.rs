//! The transports that the routes open, without dynamic dispatch for each message.

use std::{
    io,
    task::{Context, Poll},
};

use bytes::Bytes;

#[cfg(feature = "sockjs")]
use super::sockjs::{Polling, SockJs};
use super::{
    Framing, Share, Transport, TransportError,
    websocket::{UpgradedIo, WebSocket},
};

/// Any transport a client may choose.
#[derive(Debug)]
pub(crate) enum AnyTransport {
    /// A plain WebSocket.
    Raw(WebSocket<UpgradedIo>),
    /// SockJS frames over a WebSocket.
    #[cfg(feature = "sockjs")]
    SockJs(SockJs<UpgradedIo>),
    /// SockJS by HTTP requests.
    #[cfg(feature = "sockjs")]
    Polling(Polling),
    /// A plain WebSocket within this process.
    #[cfg(feature = "testing")]
    InProcess(WebSocket<tokio::io::DuplexStream>),
}

/// Calls a method of the actual transport.
macro_rules! delegate {
    ($any:expr, $transport:ident => $call:expr) => {
        match $any {
            Self::Raw($transport) => $call,
            #[cfg(feature = "sockjs")]
            Self::SockJs($transport) => $call,
            #[cfg(feature = "sockjs")]
            Self::Polling($transport) => $call,
            #[cfg(feature = "testing")]
            Self::InProcess($transport) => $call,
        }
    };
}

impl Transport for AnyTransport {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<String>, TransportError>> {
        delegate!(self, transport => transport.poll_recv(cx))
    }

    fn take_share(&mut self, bytes: usize) -> Option<Share> {
        delegate!(self, transport => transport.take_share(bytes))
    }

    fn is_held_back(&self) -> bool {
        delegate!(self, transport => transport.is_held_back())
    }

    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        delegate!(self, transport => transport.poll_paused(cx))
    }

    fn framing(&self) -> Framing {
        delegate!(self, transport => transport.framing())
    }

    fn queue(&mut self, frames: Bytes) {
        delegate!(self, transport => transport.queue(frames));
    }

    fn end_frame(&mut self) {
        delegate!(self, transport => transport.end_frame());
    }

    fn queued_bytes(&self) -> usize {
        delegate!(self, transport => transport.queued_bytes())
    }

    fn kept_bytes(&self) -> usize {
        delegate!(self, transport => transport.kept_bytes())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, transport => transport.poll_flush(cx))
    }

    fn close(&mut self, code: u16, reason: &str) {
        delegate!(self, transport => transport.close(code, reason));
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, transport => transport.poll_closed(cx))
    }
}
