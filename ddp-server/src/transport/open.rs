//! How a transport opens, and what is then known about its client.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, OriginalUri, Request};
use axum::http::request::Parts;
use axum::response::Response;

use super::websocket::{Upgrade, UpgradeRefused, UpgradedIo, WebSocket};
use super::{Headers, TransportConfig};

/// sockjs-node's name for a WebSocket without SockJS frames.
pub(super) const RAW_WEBSOCKET: &str = "websocket-raw";

/// What is known about a client besides its messages.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// The other end of the TCP connection, perhaps a proxy. Known if the router is served with
    /// axum's [`ConnectInfo`].
    pub(crate) remote_addr: Option<SocketAddr>,
    /// The headers of the opening request.
    pub(crate) headers: Headers,
    /// The path of the opening request, as the client sent it.
    pub(crate) path: String,
    /// How the client opened the connection, in sockjs-node's terms.
    pub(crate) protocol: &'static str,
}

impl ConnectionInfo {
    pub(super) fn of(request: &Parts, protocol: &'static str) -> Self {
        let remote_addr = request.extensions.get::<ConnectInfo<SocketAddr>>();
        // A router nested below a prefix sees only the rest of the path.
        let original = request.extensions.get::<OriginalUri>();
        let uri = original.map_or(&request.uri, |original| &original.0);
        Self {
            remote_addr: remote_addr.map(|info| info.0),
            path: uri.path().to_owned(),
            headers: Headers::keep(&request.headers),
            protocol,
        }
    }
}

/// Answers a WebSocket handshake, and calls `on_open` in a new task once the answer is sent.
pub(super) fn open<Fut>(
    request: Request,
    protocol: &'static str,
    config: &TransportConfig,
    on_open: impl FnOnce(WebSocket<UpgradedIo>, ConnectionInfo) -> Fut + Send + 'static,
) -> Result<Response, UpgradeRefused>
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut request = request.into_parts().0;
    let upgrade = Upgrade::new(&mut request, config.deflate)?;
    let deflate = upgrade.deflate();
    let (response, upgraded) = upgrade.accept();
    let (message_bytes_max, large) = (config.message_bytes_max, Arc::clone(&config.large));
    // Frees the request and hyper's buffers under it before waiting for the client.
    let info = ConnectionInfo::of(&request, protocol);
    tokio::spawn(async move {
        match upgraded.await {
            Ok((io, input)) => {
                let socket = WebSocket::new(io, input, message_bytes_max);
                let socket = socket.with_deflate(deflate).with_large(large);
                on_open(socket, info).await;
            }
            Err(error) => tracing::debug!(%error, "client left during the handshake"),
        }
    });
    Ok(response)
}
