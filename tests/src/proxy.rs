//! A TCP proxy that can be cut, to take the network away from a server.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// They work.
    Up,
    /// Nothing gets through, and nobody is notified.
    Silent,
    /// They are closed, and new ones as well.
    Down,
}

/// A proxy in front of one address, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<watch::Sender<Network>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, and passes on to `target`.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let network = Arc::new(watch::Sender::new(Network::Up));
        let for_connections = Arc::clone(&network);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connect(near, target, for_connections.subscribe()));
            }
        });
        Self { address, network, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to all connections.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Network::Down);
    }
}

async fn connect(near: TcpStream, target: SocketAddr, mut network: watch::Receiver<Network>) {
    if *network.borrow() == Network::Down {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let (out, back) = (network.clone(), network.clone());
    tokio::select! {
        // The network goes down.
        _ = network.wait_for(|network| *network == Network::Down) => {}
        () = copy(from_near, to_far, out) => {}
        () = copy(from_far, to_near, back) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let is_up = network.wait_for(|network| *network == Network::Up).await.is_ok();
        if !is_up || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
