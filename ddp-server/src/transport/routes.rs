//! The routes at which transports open.

use std::{future::ready, net::SocketAddr};

use axum::{
    Router,
    extract::{ConnectInfo, OriginalUri, Request},
    http::request::Parts,
    response::Response,
    routing::any,
};

#[cfg(feature = "sockjs")]
use super::sockjs;
use super::{
    AnyTransport, Headers, TransportConfig,
    websocket::{Upgrade, UpgradeRefused, UpgradedIo, WebSocket},
};

/// The prefix that Meteor's stream server gives to SockJS.
#[cfg(feature = "sockjs")]
const SOCKJS_PREFIX: &str = "/sockjs";

/// sockjs-node's name for a WebSocket without SockJS frames.
pub(super) const RAW_WEBSOCKET: &str = "websocket-raw";

/// What is known of a client besides its messages.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// The other end of the TCP connection, perhaps a proxy. Known if the router is served with
    /// axum's [`ConnectInfo`].
    pub(crate) remote_addr: Option<SocketAddr>,
    /// The headers of the opening request.
    pub(crate) headers: Headers,
    /// The path of the opening request, as the client sent it.
    pub(crate) path: String,
    /// How the client opened the connection, in sockjs-node's words.
    pub(crate) protocol: &'static str,
}

impl ConnectionInfo {
    /// Copies what is kept of the opening request.
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

/// Mounts `/websocket` for plain DDP and `/sockjs` for SockJS, as Meteor's stream server does.
///
/// `on_open` is called once for each client, in a new task, as soon as its transport is open. The
/// task ends with the future that it returns.
pub(crate) fn router<F, Fut>(config: TransportConfig, on_open: F) -> Router
where
    F: Fn(AnyTransport, ConnectionInfo) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    #[cfg(feature = "sockjs")]
    let sockjs = {
        let on_open = on_open.clone();
        let on_open = move |transport, info, _| on_open(transport, info);
        sockjs::router(SOCKJS_PREFIX, config.clone(), on_open)
    };
    let raw = any(move |request: Request| {
        let on_open = on_open.clone();
        let on_open = move |socket, info| on_open(AnyTransport::Raw(socket), info);
        let answer = open(request, RAW_WEBSOCKET, &config, on_open);
        ready(answer.unwrap_or_else(UpgradeRefused::raw_response))
    });
    let routes = Router::new().route("/websocket", raw.clone()).route("/websocket/", raw);
    #[cfg(feature = "sockjs")]
    let routes = routes.merge(sockjs);
    routes
}

/// Answers a WebSocket handshake, and calls `on_open` in a new task when the answer is out.
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
    let message_bytes_max = config.message_bytes_max;
    // The request itself, and hyper's buffers under it, need not wait for the client.
    let info = ConnectionInfo::of(&request, protocol);
    tokio::spawn(async move {
        match upgraded.await {
            Ok((io, input)) => {
                let socket = WebSocket::new(io, input, message_bytes_max).with_deflate(deflate);
                on_open(socket, info).await;
            }
            Err(error) => tracing::debug!(%error, "client left during the handshake"),
        }
    });
    Ok(response)
}
