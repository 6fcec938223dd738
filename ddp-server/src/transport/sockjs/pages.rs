//! Responses that need no session, as in sockjs-node.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;

use super::config::SockJsConfig;
use super::headers;
use crate::transport::Origins;

/// The page of the iframe transports, before and after the URL of the client library. The SockJS
/// protocol prescribes it exactly.
const IFRAME: [&str; 2] = [
    "<!DOCTYPE html>\n<html>\n<head>\n  \
    <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n  \
    <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n  \
    <script src=\"",
    "\"></script>\n  <script>\n    document.domain = document.domain;\n    \
    SockJS.bootstrap_iframe();\n  </script>\n</head>\n<body>\n  <h2>Don't panic!</h2>\n  \
    <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>\n</body>\n</html>",
];

/// `GET` of the prefix: the greeting of the SockJS protocol.
pub(super) fn welcome() -> Response {
    text(StatusCode::OK, "Welcome to SockJS!\n")
}

/// Anything unknown below the prefix.
pub(super) fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 Error: Page not found\n")
}

/// A known path with another method.
pub(super) fn method_not_allowed(allow: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    headers::set(&mut response, header::ALLOW, allow);
    response
}

/// A status and a line.
pub(super) fn text(status: StatusCode, body: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    headers::set(&mut response, header::CONTENT_TYPE, "text/plain; charset=UTF-8");
    response
}

/// `GET /info`: what this server offers, and randomness for a client that has none.
pub(super) fn info(options: &SockJsConfig, origins: &Origins) -> Response {
    let Ok(entropy) = getrandom::u32() else {
        tracing::error!("the system provides no randomness");
        return text(StatusCode::INTERNAL_SERVER_ERROR, "");
    };
    let SockJsConfig { websocket, jsessionid, disable_cors, .. } = options;
    let origins = if *disable_cors || !origins.is_any() { "" } else { r#""origins":["*:*"],"# };
    let body = format!(
        r#"{{"websocket":{websocket},{origins}"cookie_needed":{jsessionid},"entropy":{entropy}}}"#
    );
    let mut response = Response::new(Body::from(body));
    headers::set(&mut response, header::CONTENT_TYPE, "application/json; charset=UTF-8");
    headers::forbid_caching(&mut response);
    response
}

/// `GET /iframe.html`: the page that lets in clients from other domains.
#[derive(Debug)]
pub(super) struct Iframe {
    page: String,
    etag: HeaderValue,
    /// Whose pages may contain it; any, if there is none.
    ancestors: Option<HeaderValue>,
}

impl Iframe {
    /// The page that loads the client library from this URL, for pages of these origins.
    pub(super) fn new(sockjs_url: &str, origins: &Origins) -> Self {
        let url = sockjs_url.replace('&', "&amp;").replace('"', "&quot;");
        let page = IFRAME.join(&url);
        let etag = format!("\"{:016x}\"", fnv1a(page.as_bytes()));
        let etag = HeaderValue::try_from(etag).expect("hexadecimal digits in quotes");
        let ancestors = origins.listed().map(|listed| {
            let policy = format!("frame-ancestors 'self' {listed}");
            HeaderValue::try_from(policy).expect("origins are visible ASCII")
        });
        Self { page, etag, ancestors }
    }

    /// The page, or 304 if the client already has it.
    pub(super) fn response(&self, request: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        if request.get(header::IF_NONE_MATCH) == Some(&self.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = Body::from(self.page.clone());
            headers::set(&mut response, header::CONTENT_TYPE, "text/html; charset=UTF-8");
        }
        response.headers_mut().insert(header::ETAG, self.etag.clone());
        if let Some(ancestors) = &self.ancestors {
            let policy = header::CONTENT_SECURITY_POLICY;
            response.headers_mut().insert(policy, ancestors.clone());
        }
        headers::allow_caching(&mut response);
        response
    }
}

/// FNV-1a: the same hash in all processes, so that all servers of an application send the same tag.
/// Collision resistance does not matter here.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    async fn body(response: Response) -> String {
        let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn info_is_fresh_and_uncached() {
        let mut entropies = Vec::new();
        for _ in 0..3 {
            let response = info(&SockJsConfig::default(), &Origins::any());
            let cache = &response.headers()[header::CACHE_CONTROL];
            assert!(cache.to_str().is_ok_and(|cache| cache.contains("no-store")));
            let mut body: serde_json::Value =
                serde_json::from_str(&body(response).await).expect("JSON");
            entropies.push(body["entropy"].take().as_u64().expect("a number"));
            let expected = json!({
                "websocket": true, "origins": ["*:*"], "cookie_needed": false, "entropy": null,
            });
            assert_eq!(body, expected);
        }
        assert!(entropies.iter().all(|entropy| *entropy < 1 << 32));
        entropies.dedup();
        assert!(entropies.len() > 1, "three equal draws of 32 bits");
    }

    #[tokio::test]
    async fn info_tells_the_options() {
        let options = SockJsConfig {
            websocket: false,
            disable_cors: true,
            jsessionid: true,
            ..SockJsConfig::default()
        };
        let mut body: serde_json::Value =
            serde_json::from_str(&body(info(&options, &Origins::any())).await).expect("JSON");
        body["entropy"].take();
        let expected = json!({"websocket": false, "cookie_needed": true, "entropy": null});
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn the_iframe_page_is_not_sent_twice() {
        let iframe = Iframe::new("/sockjs.js?a=\"&b", &Origins::any());
        let mut request = HeaderMap::new();
        let response = iframe.response(&request);
        let etag = response.headers()[header::ETAG].clone();
        assert!(body(response).await.contains("<script src=\"/sockjs.js?a=&quot;&amp;b\">"));

        request.insert(header::IF_NONE_MATCH, etag);
        let response = iframe.response(&request);
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(!response.headers().contains_key(header::CONTENT_TYPE));
        assert_eq!(body(response).await, "");

        let response = Iframe::new("/other.js", &Origins::any()).response(&request);
        assert_eq!(response.status(), StatusCode::OK);
    }
}
