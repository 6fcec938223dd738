//! A socket that changes hands.
//!
//! `tokio-postgres` does the handshake over a socket that is only lent to it. The `replication`
//! parameter, which it cannot send, is added to its first message on the way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// The code at the start of the startup message, protocol 3.0.
const STARTUP: [u8; 4] = [0, 3, 0, 0];
const REPLICATION: &[u8] = b"replication\0database\0";

/// A stream of bytes, with or without TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A stream that changes hands.
pub(super) struct Lent {
    stream: Arc<Mutex<Box<dyn Io>>>,
    /// Whether the startup message may still come.
    pub(super) is_startup: bool,
    /// To be written before anything else.
    pending: Vec<u8>,
    /// What binds passwords to this stream's TLS, if any. Taken once.
    pub(super) binding: Mutex<Option<ChannelBinding>>,
}

impl Lent {
    pub(super) fn new(stream: Box<dyn Io>) -> Self {
        let stream = Arc::new(Mutex::new(stream));
        Self { stream, is_startup: true, pending: Vec::new(), binding: Mutex::new(None) }
    }

    /// Another handle, for the next holder.
    pub(super) fn share(&self) -> Self {
        let stream = Arc::clone(&self.stream);
        Self { stream, is_startup: false, pending: Vec::new(), binding: Mutex::new(None) }
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let mut stream = self.stream.lock();
            let written = ready!(Pin::new(&mut **stream).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The startup message with `replication` added. `None` if it is another message.
fn with_replication(message: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = message.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let is_startup = rest.starts_with(&STARTUP) && usize::try_from(length) == Ok(message.len());
    let parameters = rest.strip_prefix(&STARTUP).filter(|_| is_startup)?;
    let length = length + u32::try_from(REPLICATION.len()).ok()?;
    Some([&length.to_be_bytes()[..], &STARTUP, REPLICATION, parameters].concat())
}

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.stream.lock()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        if self.is_startup
            && let Some(message) = with_replication(bytes)
        {
            self.is_startup = false;
            self.pending = message;
            // The bytes count as written; the flush sends what is left of them.
            if let Poll::Ready(Err(error)) = self.poll_pending(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut **self.stream.lock()).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut **self.stream.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.stream.lock()).poll_shutdown(cx)
    }
}

impl TlsStream for Lent {
    fn channel_binding(&self) -> ChannelBinding {
        self.binding.lock().take().unwrap_or_else(ChannelBinding::none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_message_that_begins_a_session_is_extended() {
        let startup = b"\0\0\0\x10\0\x03\0\0user\0a\0\0";
        let length = startup.len() + 4;
        let mut startup = startup.to_vec();
        startup[3] = u8::try_from(startup.len()).unwrap();
        let extended = with_replication(&startup).unwrap();
        assert!(extended.ends_with(b"\0\x03\0\0replication\0database\0user\0a\0\0"));
        assert_eq!(usize::from(extended[3]), extended.len());
        assert!(length < extended.len());
        for other in [
            &b"\0\0\0\x08\x04\xd2\x16\x2f"[..],
            b"\x16\x03\x01\x02\0\x01",
            b"",
            b"\0\0\0\x10\0\x03\0\0",
        ] {
            assert_eq!(with_replication(other), None);
        }
    }
}
