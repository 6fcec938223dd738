//! The stream under an upgraded connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::transport::{Socket, Stream, keep_alive};

/// How many unsent bytes the kernel may hold, so that it shows at once who is slow.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// A socket that we know if possible, otherwise whatever hyper served, behind its dynamic dispatch.
#[derive(Debug)]
pub(crate) enum UpgradedIo {
    /// The usual case, with TCP_NODELAY set.
    Socket(Socket),
    /// Somebody else's TLS, a Unix socket, a test's pipe.
    Other(TokioIo<Upgraded>),
}

impl UpgradedIo {
    /// Unwraps what hyper hands over, including bytes that it read beyond the request.
    pub(super) fn new(upgraded: Upgraded) -> (Self, Bytes) {
        let upgraded = match upgraded.downcast::<TokioIo<Socket>>() {
            Ok(parts) => return (Self::socket(parts.io.into_inner()), parts.read_buf),
            Err(upgraded) => upgraded,
        };
        let plain = |io: TokioIo<TcpStream>| {
            Self::socket(Socket::new(Stream::Plain(io.into_inner()), None))
        };
        // axum's server detects the HTTP version, and so wraps the stream once more than hyper's
        // own connection. Each has its own downcast.
        let upgraded = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => return (plain(parts.io), parts.read_buf),
            Err(upgraded) => upgraded,
        };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (plain(parts.io), parts.read_buf),
            Err(upgraded) => (Self::Other(TokioIo::new(upgraded)), Bytes::new()),
        }
    }

    pub(in crate::transport) fn socket(socket: Socket) -> Self {
        let stream = socket.tcp();
        // A failure only costs latency, and a dead socket shows at the first read.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
        socket.limit_unsent(UNSENT_BYTES_MAX);
        keep_alive(stream);
        Self::Socket(socket.without_write_timeout())
    }
}

impl AsyncRead for UpgradedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Other(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for UpgradedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Other(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Other(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Socket(io) => io.is_write_vectored(),
            Self::Other(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(io) => Pin::new(io).poll_flush(cx),
            Self::Other(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(io) => Pin::new(io).poll_shutdown(cx),
            Self::Other(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
