//! Answers over plain HTTP, as sockjs-node gives them.

use std::time::{Duration, SystemTime};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_TYPE, EXPIRES, ORIGIN,
            VARY,
        },
    },
    response::Response,
};

/// How long a browser may remember the answer to a preflight request: a year.
const PREFLIGHT_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `GET` of the prefix: the greeting of the SockJS protocol.
pub(crate) fn welcome() -> Response {
    text(StatusCode::OK, "Welcome to SockJS!\n")
}

/// Anything unknown below the prefix.
pub(crate) fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 Error: Page not found\n")
}

/// A known path with another method.
pub(crate) fn method_not_allowed(allow: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    set(&mut response, ALLOW, allow);
    response
}

/// `GET /info`: what this server offers, and randomness for a client that has none.
pub(crate) fn info(request: &HeaderMap) -> Response {
    let Ok(entropy) = getrandom::u32() else {
        tracing::error!("the system has no randomness to give");
        return text(StatusCode::INTERNAL_SERVER_ERROR, "");
    };
    let body = format!(
        r#"{{"websocket":true,"origins":["*:*"],"cookie_needed":false,"entropy":{entropy}}}"#
    );
    let mut response = Response::new(Body::from(body));
    set(&mut response, CONTENT_TYPE, "application/json; charset=UTF-8");
    set(
        &mut response,
        CACHE_CONTROL,
        "no-store, no-cache, no-transform, must-revalidate, max-age=0",
    );
    allow_origin(request, response.headers_mut());
    response
}

/// `OPTIONS /info`: a browser's preflight.
pub(crate) fn info_options(request: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    set(&mut response, ACCESS_CONTROL_ALLOW_METHODS, "OPTIONS, GET");
    allow_origin(request, response.headers_mut());

    let seconds = PREFLIGHT_AGE.as_secs();
    let expires = httpdate::fmt_http_date(SystemTime::now() + PREFLIGHT_AGE);
    let computed = [
        (ACCESS_CONTROL_MAX_AGE, seconds.to_string()),
        (CACHE_CONTROL, format!("public, max-age={seconds}")),
        (EXPIRES, expires),
    ];
    for (name, value) in computed {
        let value = HeaderValue::try_from(value).expect("digits, letters and punctuation");
        response.headers_mut().insert(name, value);
    }
    response
}

/// Lets any origin read the answer. With credentials a browser insists on its own name.
fn allow_origin(request: &HeaderMap, response: &mut HeaderMap) {
    let anyone = HeaderValue::from_static("*");
    let origin = match request.get(ORIGIN) {
        Some(origin) => {
            let yes = HeaderValue::from_static("true");
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            origin.clone()
        }
        None => anyone,
    };
    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.insert(VARY, HeaderValue::from_static("Origin"));
    if let Some(headers) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        response.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
    }
}

fn text(status: StatusCode, body: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "text/plain; charset=UTF-8");
    response
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn info_is_fresh_and_uncached() {
        let mut entropies = Vec::new();
        for _ in 0..3 {
            let response = info(&HeaderMap::new());
            assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
            let cache = &response.headers()[CACHE_CONTROL];
            assert!(cache.to_str().is_ok_and(|cache| cache.contains("no-store")));
            let body = to_bytes(response.into_body(), 1000).await.expect("a body");
            let mut body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            entropies.push(body["entropy"].take().as_u64().expect("a number"));
            let expected = serde_json::json!({
                "websocket": true, "origins": ["*:*"], "cookie_needed": false, "entropy": null,
            });
            assert_eq!(body, expected);
        }
        assert!(entropies.iter().all(|entropy| *entropy < 1 << 32));
        entropies.dedup();
        assert!(entropies.len() > 1, "three equal draws of 32 bits");
    }

    #[test]
    fn an_origin_is_named_with_its_credentials() {
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, HeaderValue::from_static("https://app.example"));
        let headers = HeaderValue::from_static("x-one, x-two");
        request.insert(ACCESS_CONTROL_REQUEST_HEADERS, headers);
        for response in [info(&request), info_options(&request)] {
            let headers = response.headers();
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "x-one, x-two");
            assert_eq!(headers[VARY], "Origin");
        }
    }

    #[test]
    fn preflight_may_be_cached() {
        let response = info_options(&HeaderMap::new());
        let headers = response.headers();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "OPTIONS, GET");
        assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], "31536000");
        assert_eq!(headers[CACHE_CONTROL], "public, max-age=31536000");
        assert!(headers.contains_key(EXPIRES));
    }
}
