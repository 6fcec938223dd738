//! The server under attack.

use std::net::SocketAddr;
use std::str::FromStr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Error;

/// The address of a server on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim(SocketAddr);

impl Victim {
    /// # Errors
    /// If the address is not a loopback address.
    pub fn new(address: SocketAddr) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        Ok(Self(address))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        self.0
    }

    /// A request, and the status of the answer with as much of its body as comes with it. `None` if
    /// the server closes instead.
    pub(super) async fn request(self, method: &str, path: &str) -> Option<(u16, String)> {
        let mut socket = TcpStream::connect(self.0).await.ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            self.0
        );
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // What is cut off was cut off by the server.
        let _ = socket.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Some((status, body.to_owned()))
    }
}

impl FromStr for Victim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse().map_err(|_| "write it as 127.0.0.1:3000".to_owned())?;
        Self::new(address).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_attacked() {
        for text in ["127.0.0.1:3000", "127.5.0.1:3000", "[::1]:3000"] {
            assert!(text.parse::<Victim>().is_ok(), "{text}");
        }
        for text in ["192.0.2.1:3000", "10.0.0.1:80", "0.0.0.0:3000", "[2001:db8::1]:80"] {
            let error = text.parse::<Victim>().unwrap_err();
            assert!(error.contains("not on this machine"), "{error}");
        }
        assert!("localhost:3000".parse::<Victim>().is_err(), "a name may mean anything");
    }
}
