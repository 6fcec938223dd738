//! Connecting in replication mode.
//!
//! `tokio-postgres` shakes hands over a socket that is only lent to it: TLS, passwords and channel
//! binding are those of every other connection. The one thing that it cannot say, `replication`, is
//! added to its first message on the way.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::Error;

const PORT: u16 = 5432;
/// The code at the start of the message that begins a session, protocol 3.0.
const STARTUP: [u8; 4] = [0, 3, 0, 0];
const REPLICATION: &[u8] = b"replication\0database\0";

/// A stream of bytes, with or without TLS.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A stream that several hold, one after the other.
pub(super) struct Lent {
    stream: Arc<Mutex<Box<dyn Io>>>,
    /// Whether the message that begins the session may still come.
    is_startup: bool,
    /// What is to be written before anything else.
    pending: Vec<u8>,
    /// Asked for once.
    binding: Mutex<Option<ChannelBinding>>,
}

impl Lent {
    fn new(stream: Box<dyn Io>) -> Self {
        let stream = Arc::new(Mutex::new(stream));
        Self { stream, is_startup: true, pending: Vec::new(), binding: Mutex::new(None) }
    }

    /// Another holder, which writes as it is told.
    fn share(&self) -> Self {
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

/// The message that begins a session with one more parameter. `None` if it is another message.
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
            // Taken note of; the rest is written by the flush.
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

/// TLS that leaves a share of its stream behind.
struct LendingTls {
    connector: <MakeRustlsConnect as MakeTlsConnect<Lent>>::TlsConnect,
    left: Arc<Mutex<Lent>>,
}

impl TlsConnect<Lent> for LendingTls {
    type Stream = Lent;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Lent>>;

    fn connect(self, mut stream: Lent) -> Self::Future {
        // From now on only TLS is written to it.
        stream.is_startup = false;
        let Self { connector, left } = self;
        async move {
            let stream = connector.connect(stream).await?;
            let binding = stream.channel_binding();
            let lent = Lent::new(Box::new(stream));
            *lent.binding.lock() = Some(binding);
            *left.lock() = lent.share();
            Ok(lent)
        }
        .boxed()
    }
}

/// Connects to the first host that is there and may be written to, or not, as the configuration
/// demands. The answer is the stream, after the handshake.
pub(super) async fn connect(config: &Config, tls: &MakeRustlsConnect) -> Result<Lent, Error> {
    let (hosts, addresses, ports) =
        (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let mut last = None;
    for index in 0..hosts.len().max(addresses.len()) {
        let host = hosts.get(index);
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
        let name = match host {
            Some(Host::Tcp(name)) => name.as_str(),
            _ => "",
        };
        let sockets = match (addresses.get(index), host) {
            (Some(address), _) => tcp(config, &[SocketAddr::new(*address, port)]).await,
            (None, Some(Host::Unix(folder))) => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                let stream = UnixStream::connect(path).await;
                stream.map(|stream| Box::new(stream) as Box<dyn Io>)
            }
            (None, _) => match lookup_host((name, port)).await {
                Ok(found) => tcp(config, &found.collect::<Vec<_>>()).await,
                Err(error) => Err(error),
            },
        };
        let outcome = match sockets {
            Ok(socket) => shake_hands(config, tls, name, socket).await,
            Err(error) => Err(Error::replication(error.into())),
        };
        match outcome {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(Error::closed))
}

/// A socket to the first address that answers, set up as the configuration says.
async fn tcp(config: &Config, addresses: &[SocketAddr]) -> io::Result<Box<dyn Io>> {
    let mut last = None;
    for address in addresses {
        let connecting = TcpStream::connect(address);
        let connected = match config.get_connect_timeout() {
            Some(timeout) => tokio::time::timeout(*timeout, connecting)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            None => connecting.await,
        };
        let stream = match connected {
            Ok(stream) => stream,
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(config.get_tcp_user_timeout().copied())?;
        if config.get_keepalives() {
            let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
            if let Some(interval) = config.get_keepalives_interval() {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(retries) = config.get_keepalives_retries() {
                keepalive = keepalive.with_retries(retries);
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
        return Ok(Box::new(stream));
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

async fn shake_hands(
    config: &Config,
    tls: &MakeRustlsConnect,
    host: &str,
    socket: Box<dyn Io>,
) -> Result<Lent, Error> {
    let lent = Lent::new(socket);
    let left = Arc::new(Mutex::new(lent.share()));
    let connector = MakeTlsConnect::<Lent>::make_tls_connect(&mut tls.clone(), host);
    let connector =
        connector.map_err(|error| Error::replication(io::Error::other(error).into()))?;
    let tls = LendingTls { connector, left: Arc::clone(&left) };
    let (client, mut connection) =
        config.connect_raw(lent, tls).await.map_err(Error::replication_handshake)?;
    let attributes = config.get_target_session_attrs();
    if attributes != TargetSessionAttrs::Any {
        let answer = tokio::select! {
            answer = client.simple_query("SHOW transaction_read_only") => answer?,
            _ = &mut connection => return Err(Error::closed()),
        };
        let is_read_only = answer.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("on"),
            _ => false,
        });
        if is_read_only != (attributes == TargetSessionAttrs::ReadOnly) {
            return Err(Error::wrong_session_attributes(is_read_only));
        }
    }
    // Neither says good-bye if it is not asked to go on.
    drop((client, connection));
    let stream = left.lock().share();
    Ok(stream)
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
