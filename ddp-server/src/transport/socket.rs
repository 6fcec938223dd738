//! Sockets that this crate has accepted.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::patience::Patience;
use super::share::Share;

/// What is taken at this speed extends the deadline by as long as it takes. The systems of both sides
/// take some hundred kilobytes for a client that reads nothing.
const BYTES_PER_SECOND: u64 = 4096;

/// For HTTP, where fewer wake-ups matter more than who is slow.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// How long a connection is silent before the system asks whether its other end is there, how often
/// it then asks, and how many times. One that is gone is closed after two minutes.
const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// A client's socket, and its place among those that may be open.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// Kept for as long as the socket is open; none if somebody else has accepted it.
    _place: Option<Place>,
    /// For a client that does not read, as long as HTTP is spoken.
    patience: Option<Box<Patience>>,
}

/// What a socket takes of what all sockets share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) _among_all: OwnedSemaphorePermit,
    pub(crate) _of_address: Share,
}

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Socket {
    pub(crate) fn new(stream: Stream, place: Option<Place>) -> Self {
        Self { stream, _place: place, patience: None }
    }

    /// Writing fails when it has waited for the client longer than this in all, and a second more
    /// for each 4 KiB.
    pub(crate) fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.limit_unsent(UNSENT_BYTES_MAX);
        self.patience = Some(Box::new(Patience::new(timeout, BYTES_PER_SECOND)));
        self
    }

    /// From here on, whoever writes has a deadline of their own.
    pub(super) fn without_write_timeout(mut self) -> Self {
        self.patience = None;
        self
    }

    /// Limits how many unsent bytes the kernel holds. Otherwise it takes megabytes for a slow
    /// client, which then seems to take nothing while it reads them, or all while it reads nothing.
    #[cfg_attr(not(any(target_os = "linux", target_os = "android")), expect(unused_variables))]
    pub(super) fn limit_unsent(&self, bytes_max: u32) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Err(error) = SockRef::from(self.tcp()).set_tcp_notsent_lowat(bytes_max) {
            tracing::debug!(%error, "TCP_NOTSENT_LOWAT refused");
        }
    }

    /// What the system knows it as.
    pub(super) fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Waits no longer for a client than there is patience.
    fn patiently<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        let Some(patience) = &mut self.patience else { return result };
        if let Poll::Ready(result) = result {
            patience.goes_on(result.as_ref().map_or(0, bytes));
            return Poll::Ready(result);
        }
        ready!(patience.poll_over(cx));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client reads no response")))
    }
}

/// Has the system find out whether the other end is still there, or those of the connections that a
/// listener accepts. Not every client is pinged: those of DDP's version `pre1` know no pings, and
/// handlers of HTTP may be silent for as long as they like.
pub(crate) fn keep_alive<'a>(socket: impl Into<SockRef<'a>>) {
    let (time, interval, retries) = ALIVE;
    let keepalive = TcpKeepalive::new().with_time(time);
    // Elsewhere the system's own are good enough.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", windows))]
    let keepalive = keepalive.with_interval(interval).with_retries(retries);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", windows)))]
    let _ = (interval, retries);
    if let Err(error) = socket.into().set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "SO_KEEPALIVE refused");
    }
}

/// Calls a method of the actual stream.
macro_rules! delegate {
    ($socket:expr, $stream:ident => $call:expr) => {
        match &mut $socket.stream {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        delegate!(socket, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let result = delegate!(socket, stream => stream.poll_write(cx, bytes));
        socket.patiently(cx, result, |bytes| *bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let result = delegate!(socket, stream => stream.poll_write_vectored(cx, slices));
        socket.patiently(cx, result, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let result = delegate!(socket, stream => stream.poll_flush(cx));
        socket.patiently(cx, result, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let result = delegate!(socket, stream => stream.poll_shutdown(cx));
        socket.patiently(cx, result, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::{Instant, timeout};

    use super::super::websocket::UpgradedIo;
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);
    const LONG: Duration = Duration::from_secs(24 * 60 * 60);
    const LARGE: &[u8] = &[b'x'; 16 * 1024 * 1024];

    /// A socket, and a client of it that reads nothing.
    async fn unread() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client = TcpSocket::new_v4().expect("a socket");
        client.set_recv_buffer_size(4096).expect("a small buffer");
        let address = listener.local_addr().expect("a bound address");
        let client = client.connect(address).await.expect("a connection");
        let (stream, _) = listener.accept().await.expect("a connection");
        (Socket::new(Stream::Plain(stream), None).with_write_timeout(TIMEOUT), client)
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_written_to_for_long_who_does_not_read() {
        let (mut socket, _client) = unread().await;
        let begun = Instant::now();
        let error = socket.write_all(LARGE).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // A second more for each 4 KiB that the kernel took, which is far from a megabyte.
        let took = begun.elapsed();
        assert!(took >= TIMEOUT && took < TIMEOUT + Duration::from_secs(250), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn websockets_have_another_deadline() {
        let (socket, _client) = unread().await;
        let mut io = UpgradedIo::socket(socket);
        timeout(LONG, io.write_all(LARGE)).await.expect_err("it waits");
    }

    /// What the system does to find out whether the other end is there.
    #[track_caller]
    fn assert_kept_alive(stream: &TcpStream) {
        let socket = SockRef::from(stream);
        assert!(socket.keepalive().expect("an option"));
        #[cfg(target_os = "linux")]
        {
            let time = socket.tcp_keepalive_time().expect("an option");
            let interval = socket.tcp_keepalive_interval().expect("an option");
            let retries = socket.tcp_keepalive_retries().expect("an option");
            assert_eq!((time, interval, retries), ALIVE);
        }
    }

    #[tokio::test]
    async fn websockets_are_kept_alive_by_the_system() {
        let (socket, _client) = unread().await;
        assert!(!SockRef::from(socket.tcp()).keepalive().expect("an option"));
        let UpgradedIo::Socket(socket) = UpgradedIo::socket(socket) else { panic!("a socket") };
        assert_kept_alive(socket.tcp());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn so_is_what_a_listener_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        keep_alive(&listener);
        let address = listener.local_addr().expect("a bound address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        assert_kept_alive(&accepted.expect("a connection").0);
        client.expect("a connection");
    }
}
