//! The routes at which transports open.

use std::{future::ready, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, OriginalUri, Request},
    http::{Method, request::Parts},
    response::Response,
    routing::any,
};

use super::{
    AnyTransport, Headers, Protocol, TransportConfig,
    sockjs::{Endpoint, Mount, SockJs},
    websocket::{Upgrade, UpgradeRefused, WebSocket},
};

/// The prefix that Meteor's stream server gives to SockJS.
const SOCKJS_PREFIX: &str = "/sockjs";

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
    /// How the client opened the connection.
    pub(crate) protocol: Protocol,
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
    let sockjs = sockjs_router(SOCKJS_PREFIX, config.clone(), on_open.clone());
    let raw = any(move |request: Request| {
        ready(open(request, Protocol::RawWebSocket, &config, on_open.clone()))
    });
    Router::new().route("/websocket", raw.clone()).route("/websocket/", raw).merge(sockjs)
}

/// Mounts SockJS under a prefix, which begins with a slash and does not end with one.
pub(crate) fn sockjs_router<F, Fut>(prefix: &str, config: TransportConfig, on_open: F) -> Router
where
    F: Fn(AnyTransport, ConnectionInfo) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mount = Arc::new(Mount::new(config.sockjs.clone(), config.message_bytes_max));
    let config = Arc::new(config);
    let below = prefix.to_owned();
    let sockjs = any(move |request: Request| {
        let (mount, config, on_open) = (Arc::clone(&mount), Arc::clone(&config), on_open.clone());
        let path = request.uri().path();
        let path = path.strip_prefix(below.as_str()).unwrap_or(path).to_owned();
        async move {
            let endpoint = Endpoint::find(&path);
            let may_upgrade = mount.options.websocket && *request.method() == Method::GET;
            match endpoint {
                Some(Endpoint::RawWebSocket) if may_upgrade => {
                    open(request, Protocol::RawWebSocket, &config, on_open)
                }
                Some(Endpoint::WebSocket) if may_upgrade => {
                    open(request, Protocol::WebSocket, &config, on_open)
                }
                _ => {
                    let answer = mount.answer(endpoint, request, |transport, request, protocol| {
                        let info = connection_info(&request, protocol);
                        tokio::spawn(on_open(AnyTransport::Polling(transport), info));
                    });
                    answer.await
                }
            }
        }
    });
    Router::new()
        .route(prefix, sockjs.clone())
        .route(&format!("{prefix}/"), sockjs.clone())
        .route(&format!("{prefix}/{{*rest}}"), sockjs)
}

/// Answers a WebSocket handshake, and opens the transport when the answer is out.
fn open<F, Fut>(
    request: Request,
    protocol: Protocol,
    config: &TransportConfig,
    on_open: F,
) -> Response
where
    F: Fn(AnyTransport, ConnectionInfo) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut request = request.into_parts().0;
    let upgrade = match Upgrade::new(&mut request, config.compression) {
        Ok(upgrade) => upgrade,
        Err(UpgradeRefused::Upgrade) if protocol == Protocol::RawWebSocket => {
            return UpgradeRefused::NoWebSocket.response();
        }
        Err(refused) => return refused.response(),
    };
    let deflate = upgrade.deflate();
    let (response, upgraded) = upgrade.accept();
    let config = config.clone();
    // The request itself, and hyper's buffers under it, need not wait for the client.
    let info = connection_info(&request, protocol);
    tokio::spawn(async move {
        match upgraded.await {
            Ok((io, input)) => {
                let socket =
                    WebSocket::new(io, input, config.message_bytes_max).with_deflate(deflate);
                let transport = match protocol {
                    Protocol::RawWebSocket => AnyTransport::Raw(socket),
                    _ => AnyTransport::SockJs(SockJs::new(socket, &config)),
                };
                on_open(transport, info).await;
            }
            Err(error) => tracing::debug!(%error, "client left during the handshake"),
        }
    });
    response
}

pub(super) fn connection_info(request: &Parts, protocol: Protocol) -> ConnectionInfo {
    let remote_addr = request.extensions.get::<ConnectInfo<SocketAddr>>();
    // A router nested below a prefix sees only the rest of the path.
    let original = request.extensions.get::<OriginalUri>();
    let uri = original.map_or(&request.uri, |original| &original.0);
    ConnectionInfo {
        remote_addr: remote_addr.map(|info| info.0),
        path: uri.path().to_owned(),
        headers: Headers::keep(&request.headers),
        protocol,
    }
}
