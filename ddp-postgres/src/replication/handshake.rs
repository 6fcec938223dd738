//! Connecting in replication mode.
//!
//! `tokio-postgres` does the handshake over a [lent](Lent) socket, so TLS, passwords and channel
//! binding work as on any other connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::{Config, SimpleQueryMessage};

#[cfg(feature = "tls")]
use super::lending::LendingTls;
use super::lent::{Io, Lent};
use crate::db::dial::PORT;
use crate::db::tls::Tls;
use crate::error::Error;

/// Connects to one host at one address. Returns the stream after the handshake.
pub(super) async fn connect(config: &Config, tls: &Tls) -> Result<Lent, Error> {
    let port = config.get_ports().first().copied().unwrap_or(PORT);
    let host = config.get_hosts().first();
    let name = match host {
        Some(Host::Tcp(name)) => name.as_str(),
        _ => "",
    };
    let socket = match (config.get_hostaddrs().first(), host) {
        (Some(address), _) => tcp(config, &[SocketAddr::new(*address, port)]).await,
        (None, Some(Host::Unix(folder))) => {
            let path = folder.join(format!(".s.PGSQL.{port}"));
            let stream = UnixStream::connect(path).await;
            stream.map(|stream| Box::new(stream) as Box<dyn Io>)
        }
        // It was not found in time, or not at all.
        (None, _) => match lookup_host((name, port)).await {
            Ok(found) => tcp(config, &found.collect::<Vec<_>>()).await,
            Err(error) => Err(error),
        },
    };
    let socket = socket.map_err(|error| Error::replication(error.into()))?;
    shake_hands(config, tls, name, socket).await
}

/// A socket to the first address that answers, configured as requested.
async fn tcp(config: &Config, addresses: &[SocketAddr]) -> io::Result<Box<dyn Io>> {
    let mut last = None;
    for address in addresses {
        let stream = match TcpStream::connect(address).await {
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

/// TLS for a connection to a host; it leaves a share of the stream in `left`.
#[cfg(feature = "tls")]
fn connector(tls: &Tls, host: &str, left: &Arc<Mutex<Lent>>) -> Result<LendingTls, Error> {
    LendingTls::new(tls, host, Arc::clone(left))
}

/// Without TLS the stream stays as it was.
#[cfg(not(feature = "tls"))]
fn connector(tls: &Tls, _: &str, _: &Arc<Mutex<Lent>>) -> Result<Tls, Error> {
    Ok(*tls)
}

async fn shake_hands(
    config: &Config,
    tls: &Tls,
    host: &str,
    socket: Box<dyn Io>,
) -> Result<Lent, Error> {
    let lent = Lent::new(socket);
    let left = Arc::new(Mutex::new(lent.share()));
    let tls = connector(tls, host, &left)?;
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
    // Neither sends a Terminate message, since they are not polled again.
    drop((client, connection));
    let stream = left.lock().share();
    Ok(stream)
}
