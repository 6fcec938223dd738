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
    /// They are closed, and new ones are accepted and never answered, not even later.
    Mute,
    /// The same, except that new ones are welcomed as PostgreSQL does it.
    Welcome,
}

impl Network {
    fn closes(self) -> bool {
        !matches!(self, Self::Up | Self::Silent)
    }
}

/// No password is needed, and statements may come.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

/// A proxy in front of one address, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// How many of its connections were forgotten, if they were.
    forgotten: Arc<watch::Sender<usize>>,
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
        let forgotten = Arc::new(watch::Sender::new(0));
        let forgets = Arc::clone(&forgotten);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let forgets = forgets.subscribe();
                tokio::spawn(connect(near, target, for_connections.subscribe(), forgets));
            }
        });
        Self { address, forgotten, network, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forgets the connections that there are: nothing gets through any more, on none of them, and
    /// nobody is notified. New ones work.
    pub fn forget(&self) {
        self.forgotten.send_modify(|times| *times += 1);
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

async fn connect(
    near: TcpStream,
    target: SocketAddr,
    mut network: watch::Receiver<Network>,
    mut forgets: watch::Receiver<usize>,
) {
    let now = *network.borrow();
    if now.closes() {
        return be_mute(near, now, network).await;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let (out, back) = (network.clone(), network.clone());
    let copied = async {
        tokio::select! {
            () = copy(from_near, to_far, out) => {}
            () = copy(from_far, to_near, back) => {}
        }
    };
    // Once they are forgotten, the sockets stay open.
    let mut copied = std::pin::pin!(copied);
    let lasts = async {
        tokio::select! {
            () = &mut copied => return,
            _ = forgets.changed() => {}
        }
        std::future::pending().await
    };
    tokio::select! {
        // The network goes down.
        _ = network.wait_for(|network| network.closes()) => {}
        () = lasts => {}
    }
}

/// Says no more than a welcome until the network goes down.
async fn be_mute(mut near: TcpStream, now: Network, mut network: watch::Receiver<Network>) {
    if now == Network::Down {
        return;
    }
    let mut buffer = vec![0; 1024];
    // What comes first is the message that begins a session.
    if now == Network::Welcome
        && let Ok(1..) = near.read(&mut buffer).await
        && near.write_all(WELCOME).await.is_err()
    {
        return;
    }
    let _ = network.wait_for(|network| *network == Network::Down).await;
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
