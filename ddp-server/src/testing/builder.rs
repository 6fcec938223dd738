//! How a test's client connects.

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::{HeaderName, HeaderValue, Request};
use tokio::sync::{mpsc, watch};

use super::client::Client;
use super::socket::{Outgoing, Socket};
use super::state::Shared;
use crate::connection;
use crate::server::Server;
use crate::transport::in_process;

/// How many messages of a client wait for the server before further calls wait.
const OUTGOING_MAX: usize = 64;

/// A client to be connected, with an address, headers and limits of its own.
///
/// ```
/// use ddp_server::Server;
/// use ddp_server::extract::Connection;
/// use ddp_server::testing::Client;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = Server::builder()
///     .method("whence", async |connection: Connection| {
///         let agent = connection.headers().get("user-agent").map(str::to_owned);
///         Ok::<_, ddp_server::Error>((connection.client_address().map(str::to_owned), agent))
///     })
///     .build();
/// let client = Client::builder(&server)
///     .remote_addr(([192, 0, 2, 7], 40_000))
///     .header("user-agent", "a test")
///     .connect()
///     .await;
/// let whence: (String, String) = client.call("whence", ()).await.unwrap();
/// assert_eq!(whence, ("192.0.2.7".to_owned(), "a test".to_owned()));
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a client that is not connected does nothing"]
pub struct ClientBuilder {
    server: Server,
    request: Request<()>,
    timeout: Duration,
    buffer_bytes: usize,
}

impl ClientBuilder {
    pub(super) fn new(server: &Server) -> Self {
        let mut request = Request::new(());
        *request.uri_mut() = axum::http::Uri::from_static("/websocket");
        let builder = Self {
            server: server.clone(),
            request,
            timeout: Duration::from_secs(10),
            buffer_bytes: 64 * 1024,
        };
        builder.remote_addr((Ipv4Addr::LOCALHOST, 40_000))
    }

    /// The other end of the connection as the server sees it; 127.0.0.1:40000.
    pub fn remote_addr(mut self, address: impl Into<SocketAddr>) -> Self {
        self.request.extensions_mut().insert(ConnectInfo(address.into()));
        self
    }

    /// Adds a header to the request that would open the connection.
    ///
    /// # Panics
    /// If it cannot be a header.
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let parsed = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
        let (Ok(parsed_name), Ok(parsed_value)) = parsed else {
            panic!("{name:?}: {value:?} is not a header");
        };
        self.request.headers_mut().append(parsed_name, parsed_value);
        self
    }

    /// How long the client waits for anything before the test fails; 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many bytes the connection holds in each direction; 64 KiB. A client that has been
    /// [paused](Client::pause) takes so many.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Connects, and waits until the server has agreed.
    ///
    /// # Panics
    /// If the server refuses, or outside of a tokio runtime.
    #[track_caller]
    pub fn connect(self) -> impl Future<Output = Client> {
        let caller = Location::caller();
        async move {
            let Self { server, request, timeout, buffer_bytes } = self;
            let registry = Arc::clone(server.registry());
            let strategies = registry.config.session.strategies.clone();
            let shared = Arc::new(Shared::new(strategies, timeout));
            let (io, peer) = tokio::io::duplex(buffer_bytes);
            let config = registry.transport();
            let (transport, info) = in_process::open(peer, &request.into_parts().0, &config);
            let over = Over(Arc::clone(&shared));
            tokio::spawn(async move {
                connection::run(registry, transport, info).await;
                drop(over);
            });
            let (outgoing, receiver) = mpsc::channel(OUTGOING_MAX);
            let (paused, is_paused) = watch::channel(false);
            let socket =
                Socket { io, shared: Arc::clone(&shared), outgoing: receiver, paused: is_paused };
            tokio::spawn(socket.run());
            let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
            // There is room for the first message; should the server have closed, the wait says so.
            let _ = outgoing.try_send(Outgoing::Text(connect.to_owned()));
            let connected = || shared.look().session.clone();
            let session = shared.wait("`connected`", caller, connected).await;
            Client { shared, outgoing, paused, session }
        }
    }
}

impl Client {
    /// Connects to a server, and waits until it is connected.
    ///
    /// # Panics
    /// If the server refuses, or outside of a tokio runtime.
    #[track_caller]
    pub fn connect(server: &Server) -> impl Future<Output = Self> + use<> {
        Self::builder(server).connect()
    }

    /// A client with an address, headers or limits of its own.
    pub fn builder(server: &Server) -> ClientBuilder {
        ClientBuilder::new(server)
    }
}

/// Tells of the end of the server's task, however it comes.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.note(|state| state.is_over = true);
    }
}
