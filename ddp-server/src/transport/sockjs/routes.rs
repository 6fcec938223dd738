//! The routes of a SockJS endpoint.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use axum::routing::any;

use super::Protocol;
use super::SockJs;
use super::mount::Mount;
use super::path::Endpoint;
use crate::transport::AnyTransport;
use crate::transport::TransportConfig;
use crate::transport::open::ConnectionInfo;
use crate::transport::open::open;
use crate::transport::websocket::UpgradeRefused;

/// Mounts SockJS under a prefix, which starts with a slash and does not end with one.
///
/// `on_open` is called once for each client, in a new task, as soon as its transport is open. The
/// task ends with the future that it returns.
pub(crate) fn router<F, Fut>(prefix: &str, config: TransportConfig, on_open: F) -> Router
where
    F: Fn(AnyTransport, ConnectionInfo, Protocol) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mount = Arc::new(Mount::new(&config));
    let config = Arc::new(config);
    let below = prefix.to_owned();
    let sockjs = any(move |request: Request| {
        let (mount, config, on_open) = (Arc::clone(&mount), Arc::clone(&config), on_open.clone());
        let path = request.uri().path();
        let path = path.strip_prefix(below.as_str()).unwrap_or(path).to_owned();
        async move { answer(&path, request, &mount, &config, on_open).await }
    });
    Router::new()
        .route(prefix, sockjs.clone())
        .route(&format!("{prefix}/"), sockjs.clone())
        .route(&format!("{prefix}/{{*rest}}"), sockjs)
}

/// Answers a request for a path below the prefix.
async fn answer<F, Fut>(
    path: &str,
    request: Request,
    mount: &Mount,
    config: &TransportConfig,
    on_open: F,
) -> Response
where
    F: Fn(AnyTransport, ConnectionInfo, Protocol) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let endpoint = Endpoint::find(path);
    let may_upgrade = mount.options.websocket && *request.method() == Method::GET;
    match endpoint {
        Some(Endpoint::RawWebSocket) if may_upgrade => {
            let protocol = Protocol::RawWebSocket;
            let opened = open(request, protocol.as_str(), config, move |socket, info| {
                on_open(AnyTransport::Raw(socket), info, protocol)
            });
            opened.unwrap_or_else(UpgradeRefused::raw_response)
        }
        Some(Endpoint::WebSocket) if may_upgrade => {
            let protocol = Protocol::WebSocket;
            let heartbeat = mount.options.heartbeat;
            let opened = open(request, protocol.as_str(), config, move |socket, info| {
                let transport = SockJs::new(socket, heartbeat);
                on_open(AnyTransport::SockJs(transport), info, protocol)
            });
            opened.unwrap_or_else(UpgradeRefused::response)
        }
        _ => {
            let answer = mount.answer(endpoint, request, |transport, request, protocol| {
                let info = ConnectionInfo::opening(&request, protocol.as_str(), config);
                tokio::spawn(on_open(AnyTransport::Polling(transport), info, protocol));
            });
            answer.await
        }
    }
}
