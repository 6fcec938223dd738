//! The opening handshake (RFC 6455 section 4.2).

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Version,
        header::{
            ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, SEC_WEBSOCKET_ACCEPT,
            SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
        },
        request::Parts,
    },
    response::Response,
};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tungstenite::handshake::derive_accept_key;

use super::{UpgradedIo, extension};
use crate::transport::deflate::Deflate;

/// The protocol version of RFC 6455, the only one.
const VERSION: &str = "13";

/// An accepted request: the answer to send, and the stream that follows.
#[derive(Debug)]
pub(crate) struct Upgrade {
    accept: String,
    /// The answer to an offer of permessage-deflate, and what it commits us to.
    extension: Option<(&'static str, Deflate)>,
    on_upgrade: OnUpgrade,
}

impl Upgrade {
    /// Checks a request, and takes hyper's pending upgrade from it. Without `deflate` no extension
    /// is negotiated.
    pub(crate) fn new(
        request: &mut Parts,
        deflate: Option<Deflate>,
    ) -> Result<Self, UpgradeRefused> {
        let accept = accept_key(request)?;
        let offered = extension::negotiate(&request.headers);
        let answer = offered.map_err(|extension::Malformed| UpgradeRefused::Extensions)?;
        let on_upgrade =
            request.extensions.remove::<OnUpgrade>().ok_or(UpgradeRefused::NotUpgradable)?;
        let extension = answer.zip(deflate);
        Ok(Self { accept, extension, on_upgrade })
    }

    /// How messages are compressed, if the client offered it.
    pub(crate) fn deflate(&self) -> Option<Deflate> {
        self.extension.map(|(_, deflate)| deflate)
    }

    /// The 101 response, and the stream once hyper has sent it.
    pub(crate) fn accept(
        self,
    ) -> (Response, impl Future<Output = hyper::Result<(UpgradedIo, Bytes)>> + Send) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&self.accept).expect("base64 is a header value");
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some((answer, _)) = self.extension {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(answer));
        }
        let on_upgrade = self.on_upgrade;
        (response, async { Ok(UpgradedIo::new(on_upgrade.await?)) })
    }
}

/// Why a request is not a WebSocket handshake; makes the response.
///
/// The texts of `Upgrade` and `Connection` come from the SockJS protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpgradeRefused {
    /// Not a GET.
    #[error("")]
    Method,
    /// No `Upgrade` header, or one for another protocol.
    #[error("Can \"Upgrade\" only to \"WebSocket\".")]
    Upgrade,
    /// The same on a path without SockJS, with the text of Meteor's stream server.
    #[error("Not a valid websocket request")]
    NoWebSocket,
    /// The `Connection` header does not list the upgrade, perhaps because a proxy removed it.
    #[error("\"Connection\" must be \"Upgrade\".")]
    Connection,
    /// HTTP/1.0, which cannot upgrade, or HTTP/2, which does it differently.
    #[error("WebSocket needs HTTP/1.1.")]
    HttpVersion,
    /// A version other than 13; the response names ours (section 4.4).
    #[error("Only supported WebSocket protocol is RFC 6455.")]
    Version,
    /// The key is missing, repeated, or not 16 bytes in base64.
    #[error("Invalid \"Sec-WebSocket-Key\".")]
    Key,
    /// The extensions violate the grammar of section 9.1.
    #[error("Invalid \"Sec-WebSocket-Extensions\".")]
    Extensions,
    /// Pages of this origin may not connect.
    #[error("This origin is not allowed.")]
    Origin,
    /// The client's address has as many connections as it may.
    #[error("Too many connections from this address.")]
    Share,
    /// The connection serving this request does not support upgrades.
    #[error("This connection cannot be upgraded.")]
    NotUpgradable,
}

impl UpgradeRefused {
    /// The response for an endpoint without SockJS frames.
    pub(crate) fn raw_response(self) -> Response {
        match self {
            Self::Upgrade => Self::NoWebSocket.response(),
            other => other.response(),
        }
    }

    pub(crate) fn response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_string()));
        let text = HeaderValue::from_static("text/plain; charset=UTF-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        let (status, header) = match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, "GET"))),
            Self::Version => (StatusCode::UPGRADE_REQUIRED, Some((SEC_WEBSOCKET_VERSION, VERSION))),
            Self::Origin => (StatusCode::FORBIDDEN, None),
            Self::Share => (StatusCode::TOO_MANY_REQUESTS, None),
            Self::NotUpgradable => (StatusCode::INTERNAL_SERVER_ERROR, None),
            Self::Upgrade
            | Self::NoWebSocket
            | Self::Connection
            | Self::HttpVersion
            | Self::Key
            | Self::Extensions => (StatusCode::BAD_REQUEST, None),
        };
        *response.status_mut() = status;
        if let Some((name, value)) = header {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Checks a request (section 4.2.1) and computes the answer to its key (section 4.2.2).
fn accept_key(request: &Parts) -> Result<String, UpgradeRefused> {
    let headers = &request.headers;
    if request.method != Method::GET {
        return Err(UpgradeRefused::Method);
    }
    if !has_token(headers, &UPGRADE, "websocket") {
        return Err(UpgradeRefused::Upgrade);
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(UpgradeRefused::Connection);
    }
    if request.version != Version::HTTP_11 {
        return Err(UpgradeRefused::HttpVersion);
    }
    match headers.get(SEC_WEBSOCKET_VERSION) {
        Some(version) if version.as_bytes().trim_ascii() == VERSION.as_bytes() => {}
        _ => return Err(UpgradeRefused::Version),
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(UpgradeRefused::Key),
    }
}

/// Whether a comma-separated header, on any number of lines, contains a token in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// Whether this is 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.strip_suffix(b"==").is_some_and(|digits| digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    /// The handshake of RFC 6455 section 1.3 with some headers changed.
    fn request(changes: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::new(());
        let rfc = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        for (name, value) in rfc.iter().chain(changes) {
            let value = HeaderValue::from_static(value);
            request.headers_mut().insert(*name, value);
        }
        request.into_parts().0
    }

    #[test]
    fn the_key_of_the_rfc_is_answered() {
        let accept = accept_key(&request(&[])).expect("a good request");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn tokens_are_found_among_others_in_any_case() {
        let firefox = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(accept_key(&request(&firefox)).is_ok());
        let mut lines = request(&[("connection", "keep-alive")]);
        let value = HeaderValue::from_static("UPGRADE");
        lines.headers.append(CONNECTION, value);
        assert!(accept_key(&lines).is_ok());
    }

    #[test]
    fn each_fault_has_its_refusal() {
        use UpgradeRefused::{Connection, Key, Upgrade, Version};
        let table = [
            ("upgrade", "h2c", Upgrade, 400),
            ("upgrade", "websockets", Upgrade, 400),
            ("connection", "close", Connection, 400),
            ("sec-websocket-version", "8", Version, 426),
            ("sec-websocket-version", "", Version, 426),
            ("sec-websocket-key", "", Key, 400),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ", Key, 400),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j*Q==", Key, 400),
        ];
        for (name, value, refusal, status) in table {
            assert_eq!(accept_key(&request(&[(name, value)])), Err(refusal));
            assert_eq!(refusal.response().status(), status, "{name}: {value}");
        }
        let response = Version.response();
        assert_eq!(response.headers()[SEC_WEBSOCKET_VERSION], "13");
    }

    #[test]
    fn method_and_http_version_count() {
        let mut post = request(&[]);
        post.method = Method::POST;
        assert_eq!(accept_key(&post), Err(UpgradeRefused::Method));
        assert_eq!(UpgradeRefused::Method.response().headers()[ALLOW], "GET");
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut other = request(&[]);
            other.version = version;
            assert_eq!(accept_key(&other), Err(UpgradeRefused::HttpVersion));
        }
    }

    #[test]
    fn a_repeated_key_is_refused() {
        let mut twice = request(&[]);
        let key = twice.headers[SEC_WEBSOCKET_KEY].clone();
        twice.headers.append(SEC_WEBSOCKET_KEY, key);
        assert_eq!(accept_key(&twice), Err(UpgradeRefused::Key));
    }

    #[test]
    fn without_hypers_promise_there_is_no_upgrade() {
        let refused = Upgrade::new(&mut request(&[]), None).map(|_| ());
        assert_eq!(refused, Err(UpgradeRefused::NotUpgradable));
        let malformed = [("sec-websocket-extensions", "permessage-deflate;")];
        let refused = Upgrade::new(&mut request(&malformed), None).map(|_| ());
        assert_eq!(refused, Err(UpgradeRefused::Extensions));
    }
}
