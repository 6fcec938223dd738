//! Requests, and what any answer to them must be.

use arbitrary::Arbitrary;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};

use super::PREFIX;
use super::frames::Wire;

const METHODS: [&str; 8] = ["GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "TRACE", "M-SEARCH"];

const HEADERS: [(&str, &[u8]); 14] = [
    ("upgrade", b"websocket"),
    ("connection", b"keep-alive, Upgrade"),
    ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", b"13"),
    ("sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
    ("origin", b"https://app.example"),
    ("cookie", b"a=b; JSESSIONID=abc"),
    ("access-control-request-headers", b"x-one, x-two"),
    ("content-type", b"text/plain"),
    ("content-type", b"application/x-www-form-urlencoded; charset=x"),
    ("if-none-match", b"*"),
    ("x-forwarded-for", b"::1, \xff"),
    ("referer", b""),
    ("host", b"[::1]:80"),
];

const PATHS: [&str; 14] = [
    "",
    "/",
    "/info",
    "/iframe.html",
    "/iframe-1.html",
    "/websocket",
    "/a/b/websocket",
    "/a/b/xhr",
    "/a/b/xhr_streaming",
    "/a/b/eventsource",
    "/a/b/htmlfile",
    "/a/b/jsonp",
    "/a/b/xhr_send",
    "/a/b/jsonp_send",
];

/// Some headers, chosen by bits, and one with any value.
#[derive(Arbitrary, Debug, Default)]
pub(super) struct Headers<'a> {
    bits: u16,
    own: Option<(u8, &'a [u8])>,
}

impl Headers<'_> {
    fn add<T>(&self, request: &mut Request<T>) {
        let headers = request.headers_mut();
        for (index, (name, value)) in HEADERS.into_iter().enumerate() {
            if self.bits >> index & 1 == 1
                && let Ok(value) = HeaderValue::from_bytes(value)
            {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        if let Some((index, value)) = self.own
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            let (name, _) = HEADERS[usize::from(index) % HEADERS.len()];
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Any request.
#[derive(Arbitrary, Debug)]
pub(super) struct AnyRequest<'a> {
    method: u8,
    path: u8,
    own_path: Option<&'a str>,
    query: &'a str,
    headers: Headers<'a>,
    body: &'a [u8],
}

impl AnyRequest<'_> {
    /// The request, if it is valid HTTP and for a session without a model.
    pub(super) fn build(&self) -> Option<Request<Body>> {
        let path = self.own_path.unwrap_or(PATHS[usize::from(self.path) % PATHS.len()]);
        if path.contains("sess") {
            return None;
        }
        let request = Request::builder()
            .method(METHODS[usize::from(self.method) % METHODS.len()])
            .uri(format!("{PREFIX}{path}?{}", self.query))
            .body(Body::from(self.body.to_vec()));
        let mut request = request.ok()?;
        self.headers.add(&mut request);
        Some(request)
    }
}

pub(super) const WIRES: [Wire; 5] =
    [Wire::Xhr, Wire::XhrStreaming, Wire::EventSource, Wire::HtmlFile, Wire::Jsonp];

/// A receiving request.
pub(super) fn receive(name: &str, wire: Wire, headers: &Headers<'_>) -> Request<Body> {
    let (method, access) = match wire {
        Wire::Xhr => ("POST", "xhr"),
        Wire::XhrStreaming => ("POST", "xhr_streaming"),
        Wire::EventSource => ("GET", "eventsource"),
        Wire::HtmlFile => ("GET", "htmlfile?c=cb"),
        Wire::Jsonp => ("GET", "jsonp?x=&callback=%63b"),
    };
    let uri = format!("{PREFIX}/000/{name}/{access}");
    let mut request =
        Request::builder().method(method).uri(uri).body(Body::empty()).expect("a request");
    headers.add(&mut request);
    request
}

/// What is wrong with a body that should contain messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Truncated,
    Empty,
    NoArray,
    TooLarge,
}

/// A request that sends these messages.
pub(super) fn send(
    name: &str,
    messages: &[String],
    is_jsonp: bool,
    fault: Fault,
    bytes_max: usize,
) -> Request<Body> {
    let array = serde_json::to_string(messages).expect("strings are JSON");
    let text = match fault {
        Fault::None => array,
        Fault::Truncated => array[..array.len() - 1].to_owned(),
        Fault::Empty => String::new(),
        Fault::NoArray => "{}".to_owned(),
        Fault::TooLarge => format!("{array}{}", " ".repeat(bytes_max)),
    };
    let (access, content_type, body) = if is_jsonp {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        ("jsonp_send", "application/x-www-form-urlencoded", format!("d={encoded}"))
    } else {
        ("xhr_send", "text/plain;charset=UTF-8", text)
    };
    Request::builder()
        .method("POST")
        .uri(format!("{PREFIX}/000/{name}/{access}"))
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body))
        .expect("a request")
}

/// What holds for every answer.
pub(super) fn check<T>(response: &Response<T>) {
    let (status, headers) = (response.status(), response.headers());
    let is_known =
        matches!(status.as_u16(), 200 | 204 | 304 | 400 | 404 | 405 | 413 | 426 | 500 | 503);
    assert!(is_known, "{status}");
    assert_eq!(headers.contains_key(header::ALLOW), status == StatusCode::METHOD_NOT_ALLOWED);
    if status == StatusCode::OK {
        assert!(headers.contains_key(header::CONTENT_TYPE));
    }
    for name in [header::CONTENT_TYPE, header::CACHE_CONTROL, header::SET_COOKIE] {
        assert!(headers.get_all(&name).iter().count() < 2, "{name} twice");
    }
}

/// Whether an answer of this status has no body.
pub(super) fn is_empty(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
