//! The routes that open transports.

use std::future::ready;

use axum::{Router, extract::Request, routing::any};

#[cfg(feature = "sockjs")]
use super::sockjs;
use super::{
    AnyTransport, TransportConfig,
    open::{ConnectionInfo, RAW_WEBSOCKET, open},
    websocket::UpgradeRefused,
};

/// The SockJS prefix of Meteor's stream server.
#[cfg(feature = "sockjs")]
const SOCKJS_PREFIX: &str = "/sockjs";

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
    let raw = move |request: Request| {
        let on_open = on_open.clone();
        let on_open = move |socket, info| on_open(AnyTransport::Raw(socket), info);
        let answer = open(request, RAW_WEBSOCKET, &config, on_open);
        ready(answer.unwrap_or_else(UpgradeRefused::raw_response))
    };
    // With an explicit GET, a second route for it is an error instead of replacing this one.
    let raw = any(raw.clone()).get(raw);
    let routes = Router::new().route("/websocket", raw.clone()).route("/websocket/", raw);
    #[cfg(feature = "sockjs")]
    let routes = routes.merge(sockjs);
    routes
}
