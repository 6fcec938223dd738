//! How a transport opens, and what is then known about its client.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, OriginalUri, Request};
use axum::http::request::Parts;
use axum::response::Response;

use super::cookies::Cookies;
use super::share::Address;
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
    /// The client's IP address, perhaps as a proxy tells it.
    pub(crate) client_address: Option<Box<str>>,
    /// Whether nobody between can listen: the socket has TLS, or a proxy that is trusted says that its
    /// client's has.
    pub(crate) is_secure: bool,
    /// The headers of the opening request.
    pub(crate) headers: Headers,
    /// The cookies of it that are kept.
    pub(crate) cookies: Cookies,
    /// The path of the opening request, as the client sent it.
    pub(crate) path: String,
    /// How the client opened the connection, in sockjs-node's terms.
    pub(crate) protocol: &'static str,
}

impl ConnectionInfo {
    /// That of a connection without a client.
    pub(crate) fn of_nobody() -> Self {
        let (remote_addr, client_address, cookies, path) = Default::default();
        let headers = Headers::keep(&axum::http::HeaderMap::new());
        let is_secure = false;
        Self { remote_addr, client_address, is_secure, headers, cookies, path, protocol: "none" }
    }

    /// What is known by the request that opens a connection.
    pub(super) fn opening(
        request: &Parts,
        protocol: &'static str,
        config: &TransportConfig,
    ) -> Self {
        let cookies = Cookies::keep(&request.headers, &config.cookies, &config.origins);
        Self { cookies, ..Self::of(request, protocol, config.forwarded_count) }
    }

    pub(super) fn of(request: &Parts, protocol: &'static str, forwarded_count: usize) -> Self {
        let remote_addr = request.extensions.get::<ConnectInfo<SocketAddr>>();
        let remote_addr = remote_addr.map(|info| info.0);
        let headers = Headers::keep(&request.headers);
        // A router nested below a prefix sees only the rest of the path.
        let original = request.extensions.get::<OriginalUri>();
        let uri = original.map_or(&request.uri, |original| &original.0);
        Self {
            client_address: client_address(remote_addr, &headers, forwarded_count),
            is_secure: is_secure(request, &headers, forwarded_count),
            remote_addr,
            path: uri.path().to_owned(),
            headers,
            cookies: Cookies::default(),
            protocol,
        }
    }

    /// What is known of a request to one of the other routes.
    #[cfg(feature = "accounts")]
    pub(crate) fn of_request(request: &Parts) -> Self {
        let forwarded_count = request.extensions.get::<ForwardedCount>().map_or(0, |count| count.0);
        Self::of(request, "http", forwarded_count)
    }

    /// Whose share the connection is of; whoever its client is, if nothing is known.
    pub(crate) fn address(&self) -> Option<Address> {
        let client = self.client_address.as_deref().map(Address::of);
        client.or_else(|| Some(self.remote_addr?.ip().into()))
    }
}

/// The client's address by the rule of Meteor's `HTTP_FORWARDED_COUNT`.
fn client_address(
    remote: Option<SocketAddr>,
    headers: &Headers,
    forwarded_count: usize,
) -> Option<Box<str>> {
    if forwarded_count == 0 {
        return Some(remote?.ip().to_canonical().to_string().into());
    }
    // A client can put anything at the front of the header; what is counted from its end was put
    // there by proxies.
    let mut addresses = headers.get("x-forwarded-for")?.rsplit(',');
    Some(addresses.nth(forwarded_count - 1)?.trim().into())
}

/// Put into the extensions of requests to other routes: how many proxies are in front.
#[cfg(feature = "accounts")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardedCount(pub(crate) usize);

/// Put into the extensions of a request that came over TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverTls;

/// Whether the client's own connection has TLS.
fn is_secure(request: &Parts, headers: &Headers, forwarded_count: usize) -> bool {
    if forwarded_count == 0 {
        return request.extensions.get::<OverTls>().is_some();
    }
    // The first of our proxies speaks with the client. Each appends what it saw, or there is one value
    // that the first has set and the others pass on.
    let schemes = headers.get("x-forwarded-proto").unwrap_or_default();
    let mut schemes: Vec<&str> = schemes.rsplit(',').take(forwarded_count).collect();
    schemes.pop().is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
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
    if !config.origins.allow(&request.headers) {
        return Err(UpgradeRefused::Origin);
    }
    let upgrade = Upgrade::new(&mut request, config.deflate)?;
    let deflate = upgrade.deflate();
    let (message_bytes_max, large) = (config.message_bytes_max, Arc::clone(&config.large));
    // Frees the request and hyper's buffers under it before waiting for the client.
    let info = ConnectionInfo::opening(&request, protocol, config);
    let address = info.address();
    let share = match address.clone() {
        Some(address) => Some(config.websockets.take(address).ok_or(UpgradeRefused::Share)?),
        None => None,
    };
    let (response, upgraded) = upgrade.accept();
    tokio::spawn(async move {
        match upgraded.await {
            Ok((io, input)) => {
                let socket = WebSocket::new(io, input, message_bytes_max);
                let socket = socket.with_deflate(deflate).with_large(large, address);
                let served = on_open(socket, info);
                // A task of its own, which keeps nothing of the handshake.
                tokio::spawn(async move {
                    let _share = &share;
                    served.await;
                });
            }
            Err(error) => tracing::debug!(%error, "client left during the handshake"),
        }
    });
    Ok(response)
}
