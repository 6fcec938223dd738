//! Requests at and below a prefix, except for WebSocket handshakes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use serde::de::IgnoredAny;

use super::config::SockJsConfig;
use super::form;
use super::frame::ClientFrame;
use super::frame::close_text;
use super::headers;
use super::pages;
use super::pages::Iframe;
use super::path::Access;
use super::path::Endpoint;
use super::polling::Polling;
use super::protocol::Protocol;
use super::receiver::Receiver;
use super::store::Store;
use super::wire::Callback;
use super::wire::Wire;
use crate::log::{Count, Log};

const PAYLOAD_EXPECTED: &str = "Payload expected.";
const BROKEN_JSON: &str = "Broken JSON encoding.";

/// The content types, without parameters, that sockjs-node accepts for messages.
const XHR_TYPES: [&str; 6] =
    ["text/plain", "T", "application/json", "application/xml", "", "text/xml"];

/// A SockJS endpoint: its options, and the sessions that outlive their requests.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) options: SockJsConfig,
    /// The largest body accepted, and how much may be waiting for the application.
    message_bytes_max: usize,
    iframe: Iframe,
    store: Arc<Store>,
    log: Log,
}

impl Mount {
    pub(crate) fn new(options: SockJsConfig, message_bytes_max: usize) -> Self {
        let options = options.bounded();
        Self {
            message_bytes_max,
            iframe: Iframe::new(&options.sockjs_url),
            store: Arc::new(Store::new(options.sessions_max, options.disconnect_delay)),
            options,
            log: Log::default(),
        }
    }

    /// Answers a request, and calls `open` if it opened a session.
    pub(crate) async fn answer(
        &self,
        endpoint: Option<Endpoint<'_>>,
        request: Request,
        open: impl FnOnce(Polling, Parts, Protocol),
    ) -> Response {
        match endpoint {
            None => pages::not_found(),
            Some(Endpoint::Welcome) => match *request.method() {
                Method::GET => pages::welcome(),
                _ => pages::method_not_allowed("GET"),
            },
            Some(Endpoint::Iframe) => match *request.method() {
                Method::GET => self.iframe.response(request.headers()),
                _ => pages::method_not_allowed("GET"),
            },
            Some(Endpoint::Info) => match *request.method() {
                Method::GET => {
                    let mut response = pages::info(&self.options);
                    self.allow_origin(request.headers(), &mut response);
                    response
                }
                Method::OPTIONS => self.preflight(request.headers(), "OPTIONS, GET"),
                _ => pages::method_not_allowed("OPTIONS, GET"),
            },
            Some(Endpoint::RawWebSocket | Endpoint::WebSocket)
                if *request.method() != Method::GET =>
            {
                pages::method_not_allowed("GET")
            }
            // If WebSocket is enabled, the caller has handled its handshakes already.
            Some(Endpoint::RawWebSocket | Endpoint::WebSocket) => {
                let mut response = pages::not_found();
                headers::allow_caching(&mut response);
                response
            }
            Some(Endpoint::Session(session, access)) => {
                self.access(session, access, request, open).await
            }
        }
    }

    /// Answers a request for a session.
    async fn access(
        &self,
        session: &str,
        access: Access,
        request: Request,
        open: impl FnOnce(Polling, Parts, Protocol),
    ) -> Response {
        let (method, has_preflight) = match access {
            Access::Xhr | Access::XhrStreaming | Access::XhrSend => (Method::POST, true),
            Access::EventSource | Access::HtmlFile | Access::Jsonp => (Method::GET, false),
            Access::JsonpSend => (Method::POST, false),
        };
        if has_preflight && *request.method() == Method::OPTIONS {
            return self.preflight(request.headers(), "OPTIONS, POST");
        }
        if *request.method() != method {
            return pages::method_not_allowed(match (has_preflight, method) {
                (true, _) => "OPTIONS, POST",
                (false, Method::GET) => "GET",
                (false, _) => "POST",
            });
        }
        if matches!(access, Access::XhrSend | Access::JsonpSend) {
            return self.send(session, access, request).await;
        }
        let request = request.into_parts().0;
        let mut response = match wire(access, &request) {
            Ok(wire) => self.receive(session, wire, request, open).await,
            Err(error) => {
                let mut response = pages::text(StatusCode::INTERNAL_SERVER_ERROR, error);
                self.decorate(&request.headers, &mut response);
                response
            }
        };
        // A page or script must not be taken for anything else.
        headers::set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        response
    }

    /// Makes the response the session's receiver. Opens the session if there is none.
    async fn receive(
        &self,
        session: &str,
        wire: Wire,
        request: Parts,
        open: impl FnOnce(Polling, Parts, Protocol),
    ) -> Response {
        let Ok((session, is_new)) = self.store.find_or_open(session) else {
            let count: Count = |_, _, count| {
                tracing::warn!(count, "too many polling sessions; clients were turned away");
            };
            if self.log.admits("too many polling sessions", "", "", count) {
                tracing::warn!("too many polling sessions; a client was turned away");
            }
            return pages::text(StatusCode::SERVICE_UNAVAILABLE, "Too many sessions.\n");
        };
        let (protocol, content_type) = (wire.protocol(), wire.content_type());
        let has_cors = wire.has_cors();
        let body = match session.attach().await {
            Some(id) => {
                let session = Arc::clone(&session);
                let SockJsConfig { response_bytes_max, heartbeat, .. } = self.options;
                let receiver = Receiver::new(session, id, wire, response_bytes_max, heartbeat);
                Body::from_stream(receiver)
            }
            None => {
                let frame = wire.encode(&close_text(2010, "Another connection still open"));
                let chunks = wire.prelude().into_iter().chain([frame]);
                Body::from_stream(futures::stream::iter(chunks.map(Ok::<_, Infallible>)))
            }
        };
        let mut response = Response::new(body);
        headers::set(&mut response, header::CONTENT_TYPE, content_type);
        headers::forbid_buffering(&mut response);
        self.decorate(&request.headers, &mut response);
        if has_cors {
            self.allow_origin(&request.headers, &mut response);
        }
        if is_new {
            open(Polling::new(session), request, protocol);
        }
        response
    }

    /// Takes messages from a client.
    async fn send(&self, session: &str, access: Access, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let is_xhr = access == Access::XhrSend;
        let mut response = match self.deliver(session, access, &parts, body).await {
            Ok(()) if is_xhr => pages::text(StatusCode::NO_CONTENT, ""),
            // As in sockjs-node: Konqueror needed a body.
            Ok(()) => pages::text(StatusCode::OK, "ok"),
            Err((status, text)) => pages::text(status, text),
        };
        self.decorate(&parts.headers, &mut response);
        if is_xhr {
            self.allow_origin(&parts.headers, &mut response);
        }
        response
    }

    async fn deliver(
        &self,
        session: &str,
        access: Access,
        request: &Parts,
        body: Body,
    ) -> Result<(), (StatusCode, &'static str)> {
        const UNKNOWN: (StatusCode, &str) = (StatusCode::NOT_FOUND, "");
        let session = self.store.find(session).ok_or(UNKNOWN)?;
        // A body that breaks off is answered as well, though nobody reads it.
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "Payload too large.");
        let body = to_bytes(body, self.message_bytes_max).await.map_err(|_| too_large)?;
        let text = String::from_utf8_lossy(&body);
        let content_type = request.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map_or(Ok(""), |value| value.to_str()).unwrap_or("?");
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let frame = frame(access, content_type, &text)
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))?;
        match frame {
            Some(frame) => {
                session.deliver(frame, self.message_bytes_max).await.map_err(|_| UNKNOWN)
            }
            None => Ok(()),
        }
    }

    fn preflight(&self, request: &HeaderMap, methods: &'static str) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        headers::allow_methods(&mut response, methods);
        self.allow_origin(request, &mut response);
        if self.options.jsessionid {
            headers::set_cookie(request, &mut response);
        }
        response
    }

    /// Adds the headers shared by all responses of a session.
    fn decorate(&self, request: &HeaderMap, response: &mut Response) {
        headers::forbid_caching(response);
        if self.options.jsessionid {
            headers::set_cookie(request, response);
        }
    }

    fn allow_origin(&self, request: &HeaderMap, response: &mut Response) {
        if !self.options.disable_cors {
            headers::allow_origin(request, response);
        }
    }
}

/// How a receiving request wants its frames.
fn wire(access: Access, request: &Parts) -> Result<Wire, &'static str> {
    let query = request.uri.query().unwrap_or_default();
    let name = || form::value(query, "c").or_else(|| form::value(query, "callback"));
    Ok(match access {
        Access::XhrStreaming => Wire::XhrStreaming,
        Access::EventSource => Wire::EventSource,
        Access::HtmlFile => Wire::HtmlFile(Callback::new(name())?),
        Access::Jsonp => Wire::Jsonp(Callback::short(name())?),
        Access::Xhr | Access::XhrSend | Access::JsonpSend => Wire::Xhr,
    })
}

/// The messages in a body, if there are any.
pub(super) fn frame(
    access: Access,
    content_type: &str,
    body: &str,
) -> Result<Option<ClientFrame>, &'static str> {
    let is_form = content_type == "application/x-www-form-urlencoded";
    let text = match access {
        Access::JsonpSend if is_form => form::value(body, "d").unwrap_or_default(),
        Access::JsonpSend if !matches!(content_type, "text/plain" | "") => String::new(),
        Access::JsonpSend => body.to_owned(),
        _ if XHR_TYPES.contains(&content_type) => body.to_owned(),
        _ => String::new(),
    };
    if text.is_empty() {
        return Err(PAYLOAD_EXPECTED);
    }
    if !text.trim_ascii_start().starts_with('[') {
        let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        return Err(if is_json { PAYLOAD_EXPECTED } else { BROKEN_JSON });
    }
    ClientFrame::checked(text).map_err(|_| BROKEN_JSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(access: Access, content_type: &str, body: &str) -> Result<usize, &'static str> {
        let Some(mut frame) = frame(access, content_type, body)? else {
            return Ok(0);
        };
        let mut count = 0;
        while frame.next().expect("a checked frame").is_some() {
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn bodies_of_xhr_send() {
        let table = [
            ("", r#"["a","b"]"#, Ok(2)),
            ("text/plain", " [] ", Ok(0)),
            ("T", r#"["a"]"#, Ok(1)),
            ("text/html", r#"["a"]"#, Err(PAYLOAD_EXPECTED)),
            ("", "", Err(PAYLOAD_EXPECTED)),
            ("", "{}", Err(PAYLOAD_EXPECTED)),
            ("", r#""a""#, Err(PAYLOAD_EXPECTED)),
            ("", r#"["a"#, Err(BROKEN_JSON)),
            ("", "x", Err(BROKEN_JSON)),
            ("", "[1]", Err(BROKEN_JSON)),
        ];
        for (content_type, body, expected) in table {
            assert_eq!(messages(Access::XhrSend, content_type, body), expected, "{body}");
        }
    }

    #[test]
    fn bodies_of_jsonp_send() {
        let form = "application/x-www-form-urlencoded";
        let table = [
            (form, "d=%5B%22x%22%5D", Ok(1)),
            (form, "d=%5B%5D", Ok(0)),
            (form, "d=%5B%22x", Err(BROKEN_JSON)),
            (form, "d=", Err(PAYLOAD_EXPECTED)),
            (form, "p=p", Err(PAYLOAD_EXPECTED)),
            (form, "", Err(PAYLOAD_EXPECTED)),
            ("text/plain", r#"["%61bc"]"#, Ok(1)),
            ("text/html", r#"["a"]"#, Err(PAYLOAD_EXPECTED)),
        ];
        for (content_type, body, expected) in table {
            assert_eq!(messages(Access::JsonpSend, content_type, body), expected, "{body}");
        }
    }
}
