//! The routes at which transports open.

use std::{future::ready, net::SocketAddr};

use axum::{
    Router,
    extract::{ConnectInfo, OriginalUri, Request},
    http::{HeaderMap, Method, request::Parts},
    response::Response,
    routing::any,
};

use super::{
    AnyTransport, TransportConfig,
    sockjs::{self, Endpoint, SockJs},
    websocket::{Upgrade, UpgradedIo, WebSocket},
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
    pub(crate) headers: HeaderMap,
    /// The path of the opening request, as the client sent it.
    pub(crate) path: String,
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
    let raw = {
        let (config, on_open) = (config.clone(), on_open.clone());
        any(move |request: Request| ready(open(request, Protocol::Raw, config, on_open)))
    };
    let sockjs = any(move |request: Request| ready(sockjs_request(request, config, on_open)));
    Router::new()
        .route("/websocket", raw.clone())
        .route("/websocket/", raw)
        .route(SOCKJS_PREFIX, sockjs.clone())
        .route("/sockjs/", sockjs.clone())
        .route("/sockjs/{*rest}", sockjs)
}

/// What a WebSocket carries.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    Raw,
    SockJs,
}

/// Answers a request at or below the SockJS prefix.
fn sockjs_request<F, Fut>(request: Request, config: TransportConfig, on_open: F) -> Response
where
    F: Fn(AnyTransport, ConnectionInfo) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let path = request.uri().path();
    let below = path.strip_prefix(SOCKJS_PREFIX).unwrap_or(path);
    let Some(endpoint) = Endpoint::find(below) else {
        return sockjs::not_found();
    };
    match (endpoint, request.method()) {
        (Endpoint::RawWebSocket, _) => open(request, Protocol::Raw, config, on_open),
        (Endpoint::WebSocket, _) => open(request, Protocol::SockJs, config, on_open),
        (Endpoint::Welcome, &Method::GET) => sockjs::welcome(),
        (Endpoint::Welcome, _) => sockjs::method_not_allowed("GET"),
        (Endpoint::Info, &Method::GET) => sockjs::info(request.headers()),
        (Endpoint::Info, &Method::OPTIONS) => sockjs::info_options(request.headers()),
        (Endpoint::Info, _) => sockjs::method_not_allowed("OPTIONS, GET"),
    }
}

/// Answers a WebSocket handshake, and opens the transport when the answer is out.
fn open<F, Fut>(
    request: Request,
    protocol: Protocol,
    config: TransportConfig,
    on_open: F,
) -> Response
where
    F: Fn(AnyTransport, ConnectionInfo) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut request = request.into_parts().0;
    let upgrade = match Upgrade::new(&mut request, config.compression) {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.response(),
    };
    let deflate = upgrade.deflate();
    let (response, upgraded) = upgrade.accept();
    tokio::spawn(async move {
        match upgraded.await {
            Ok((io, input)) => {
                let socket =
                    WebSocket::new(io, input, config.message_bytes_max).with_deflate(deflate);
                let transport = transport(socket, protocol, &config);
                on_open(transport, connection_info(request)).await;
            }
            Err(error) => tracing::debug!(%error, "client left during the handshake"),
        }
    });
    response
}

fn transport(
    socket: WebSocket<UpgradedIo>,
    protocol: Protocol,
    config: &TransportConfig,
) -> AnyTransport {
    match protocol {
        Protocol::Raw => AnyTransport::Raw(socket),
        Protocol::SockJs => AnyTransport::SockJs(SockJs::new(socket, config)),
    }
}

fn connection_info(request: Parts) -> ConnectionInfo {
    let remote_addr = request.extensions.get::<ConnectInfo<SocketAddr>>();
    // A router nested below a prefix sees only the rest of the path.
    let original = request.extensions.get::<OriginalUri>();
    let uri = original.map_or(&request.uri, |original| &original.0);
    ConnectionInfo {
        remote_addr: remote_addr.map(|info| info.0),
        path: uri.path().to_owned(),
        headers: request.headers,
    }
}
