//! Headers shared by several responses.

use std::time::Duration;
use std::time::SystemTime;

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::Response;

/// How long immutable responses may be cached: a year.
const CACHE_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The cookie that tells sessions apart for load balancers.
const SESSION_COOKIE: &str = "JSESSIONID";

pub(super) fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
}

/// Forbids caching of the response.
pub(super) fn forbid_caching(response: &mut Response) {
    set(
        response,
        header::CACHE_CONTROL,
        "no-store, no-cache, no-transform, must-revalidate, max-age=0",
    );
}

/// Forbids proxies to hold the response back until they have more of it. The header is nginx's,
/// which then also flushes what it compresses; others have adopted it.
pub(super) fn forbid_buffering(response: &mut Response) {
    set(response, HeaderName::from_static("x-accel-buffering"), "no");
}

/// Allows caching of the response for a year.
pub(super) fn allow_caching(response: &mut Response) {
    let expires = httpdate::fmt_http_date(SystemTime::now() + CACHE_AGE);
    let control = format!("public, max-age={}", CACHE_AGE.as_secs());
    for (name, value) in [(header::CACHE_CONTROL, control), (header::EXPIRES, expires)] {
        let value = HeaderValue::try_from(value).expect("digits, letters and punctuation");
        response.headers_mut().insert(name, value);
    }
}

/// Answers a browser's preflight request: these methods are allowed.
pub(super) fn allow_methods(response: &mut Response, methods: &'static str) {
    set(response, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let seconds = HeaderValue::from(CACHE_AGE.as_secs());
    response.headers_mut().insert(header::ACCESS_CONTROL_MAX_AGE, seconds);
    allow_caching(response);
}

/// Lets any origin read the response. With credentials, browsers insist on their own origin by
/// name.
pub(super) fn allow_origin(request: &HeaderMap, response: &mut Response) {
    let response = response.headers_mut();
    let origin = match request.get(header::ORIGIN) {
        Some(origin) => {
            let yes = HeaderValue::from_static("true");
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            origin.clone()
        }
        None => HeaderValue::from_static("*"),
    };
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(headers) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        && !headers.is_empty()
    {
        response.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
    }
}

/// Echoes the cookie that load balancers use, or sets it to a dummy value, which the load balancer
/// replaces.
pub(super) fn set_cookie(request: &HeaderMap, response: &mut Response) {
    let value = session_cookie(request).unwrap_or(b"dummy");
    let cookie = [SESSION_COOKIE.as_bytes(), b"=", value, b"; path=/"].concat();
    // What came in a header is valid in one.
    if let Ok(cookie) = HeaderValue::from_bytes(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

fn session_cookie(request: &HeaderMap) -> Option<&[u8]> {
    let lines = request.get_all(header::COOKIE).iter();
    let mut cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    cookies.find_map(|cookie| {
        let value = cookie.trim_ascii().strip_prefix(SESSION_COOKIE.as_bytes())?;
        value.strip_prefix(b"=").filter(|value| !value.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn response() -> Response {
        Response::new(Body::empty())
    }

    #[test]
    fn an_origin_is_named_with_its_credentials() {
        let mut request = HeaderMap::new();
        request.insert(header::ORIGIN, HeaderValue::from_static("https://app.example"));
        let headers = HeaderValue::from_static("x-one, x-two");
        request.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, headers);
        let mut response = response();
        allow_origin(&request, &mut response);
        let headers = response.headers();
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "x-one, x-two");
        assert_eq!(headers[header::VARY], "Origin");
    }

    #[test]
    fn without_an_origin_anybody_may_read() {
        let mut response = response();
        allow_origin(&HeaderMap::new(), &mut response);
        let headers = response.headers();
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_HEADERS));
    }

    #[test]
    fn preflight_may_be_cached() {
        let mut response = response();
        allow_methods(&mut response, "OPTIONS, GET");
        let headers = response.headers();
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "OPTIONS, GET");
        assert_eq!(headers[header::ACCESS_CONTROL_MAX_AGE], "31536000");
        assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=31536000");
        assert!(headers.contains_key(header::EXPIRES));
    }

    #[test]
    fn cookies_are_echoed() {
        let table: [(&[&str], &str); 6] = [
            (&[], "JSESSIONID=dummy; path=/"),
            (&["JSESSIONID=abc"], "JSESSIONID=abc; path=/"),
            (&["a=b;  JSESSIONID=abc; c=d"], "JSESSIONID=abc; path=/"),
            (&["a=b", "JSESSIONID=abc"], "JSESSIONID=abc; path=/"),
            (&["XJSESSIONID=abc"], "JSESSIONID=dummy; path=/"),
            (&["JSESSIONID="], "JSESSIONID=dummy; path=/"),
        ];
        for (cookies, expected) in table {
            let mut request = HeaderMap::new();
            for cookie in cookies {
                let cookie = HeaderValue::from_str(cookie).expect("a header value");
                request.append(header::COOKIE, cookie);
            }
            let mut response = response();
            set_cookie(&request, &mut response);
            assert_eq!(response.headers()[header::SET_COOKIE], expected, "{cookies:?}");
        }
    }
}
