//! Which server to load, and how to talk to it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use axum::http::Uri;

use super::Error;

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One WebSocket message for each DDP message.
    Raw,
    /// SockJS over WebSocket.
    SockJs,
}

/// A server's endpoint: `ws://host:port/websocket` uses raw WebSocket, and any other path, such as
/// `http://host:port/sockjs`, uses SockJS. `https` and `wss` are refused, because encryption would
/// be measured, too.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name.
    pub host: String,
    /// How messages are sent.
    pub transport: Transport,
    prefix: String,
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Target(format!("{text}: {what}"));
        let uri: Uri = text.parse().map_err(|_| wrong("not a URL"))?;
        if !matches!(uri.scheme_str(), None | Some("ws" | "http")) {
            return Err(wrong("only ws:// and http:// can be loaded"));
        }
        let host = uri.authority().ok_or_else(|| wrong("no host"))?.to_string();
        let with_port = if uri.port().is_some() { host.clone() } else { format!("{host}:80") };
        let addresses = with_port.to_socket_addrs();
        let address = addresses.map_err(|_| wrong("unknown host"))?.next();
        let path = uri.path().trim_end_matches('/');
        let (transport, prefix) = match path {
            "" => (Transport::Raw, "/websocket"),
            path if path.ends_with("/websocket") => (Transport::Raw, path),
            path => (Transport::SockJs, path),
        };
        Ok(Self {
            address: address.ok_or_else(|| wrong("unknown host"))?,
            host,
            transport,
            prefix: prefix.to_owned(),
        })
    }
}

impl Target {
    /// Where the connection with this number opens its WebSocket.
    pub(super) fn path(&self, number: usize) -> String {
        match self.transport {
            Transport::Raw => self.prefix.clone(),
            // The ids that SockJS requires: of a server behind a balancer, and of a session.
            Transport::SockJs => {
                format!("{}/{:03}/load{number:08}/websocket", self.prefix, number % 1000)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_how_to_speak() {
        for (text, transport, path) in [
            ("ws://127.0.0.1:3000/websocket", Transport::Raw, "/websocket"),
            ("http://127.0.0.1:3000", Transport::Raw, "/websocket"),
            ("http://127.0.0.1:3000/app/websocket/", Transport::Raw, "/app/websocket"),
            (
                "http://127.0.0.1:3000/sockjs",
                Transport::SockJs,
                "/sockjs/007/load00000007/websocket",
            ),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.transport, target.path(7)), (transport, path.to_owned()), "{text}");
            assert_eq!(target.address.port(), 3000);
        }
        for text in ["wss://127.0.0.1/websocket", "/websocket", "no url"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
