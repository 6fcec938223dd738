//! Requests at and below a prefix, except for WebSocket handshakes.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use futures::StreamExt;
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
use super::session::senders::Undelivered;
use super::store::Refused;
use super::store::Store;
use super::wire::Callback;
use super::wire::Wire;
use crate::log::{Count, Log};
use crate::transport::large::{LARGE_MESSAGE_BYTES, TURN_BYTES};
use crate::transport::open::ConnectionInfo;
use crate::transport::{Address, Deadline, LargeMessages, Origins, Share, TransportConfig};

const TOO_SLOW: (StatusCode, &str) = (StatusCode::REQUEST_TIMEOUT, "Payload too slow.");
/// SockJS has no word for it, and its clients need none: they give a session up when a request to send
/// is answered with anything but 200 or 204, and open another one.
const CROWDED: (StatusCode, &str) =
    (StatusCode::SERVICE_UNAVAILABLE, "Too many payloads are waiting.");
const PAYLOAD_EXPECTED: &str = "Payload expected.";
const BROKEN_JSON: &str = "Broken JSON encoding.";

/// The content types, without parameters, that sockjs-node accepts for messages.
const XHR_TYPES: [&str; 6] =
    ["text/plain", "T", "application/json", "application/xml", "", "text/xml"];

/// A SockJS endpoint: its options, and the sessions that outlive their requests.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) options: SockJsConfig,
    /// The largest body accepted.
    message_bytes_max: usize,
    forwarded_count: usize,
    origins: Origins,
    /// How much may be waiting for the application, besides one frame.
    inbox_bytes_max: usize,
    large: Arc<LargeMessages>,
    iframe: Iframe,
    store: Arc<Store>,
    log: Log,
}

impl Mount {
    pub(crate) fn new(config: &TransportConfig) -> Self {
        let options = config.sockjs.clone().bounded();
        Self {
            message_bytes_max: config.message_bytes_max,
            inbox_bytes_max: config.message_bytes_max.min(LARGE_MESSAGE_BYTES),
            large: Arc::clone(&config.large),
            forwarded_count: config.forwarded_count,
            origins: config.origins.clone(),
            iframe: Iframe::new(&options.sockjs_url, &config.origins),
            store: Arc::new(Store::new(&options)),
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
            Some(endpoint) if !self.allows(&endpoint, &request) => {
                pages::text(StatusCode::FORBIDDEN, "This origin is not allowed.\n")
            }
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
                    let mut response = pages::info(&self.options, &self.origins);
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
        let address = || ConnectionInfo::of(&request, "", self.forwarded_count).address();
        let (session, is_new) = match self.store.find_or_open(session, address) {
            Ok(found) => found,
            Err(refused) => return self.turn_away(refused),
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

    fn turn_away(&self, refused: Refused) -> Response {
        let count: Count = |_, _, count| {
            tracing::warn!(count, "too many polling sessions; clients were turned away");
        };
        if self.log.admits("too many polling sessions", "", "", count) {
            tracing::warn!(?refused, "too many polling sessions; a client was turned away");
        }
        let status = match refused {
            Refused::Full => StatusCode::SERVICE_UNAVAILABLE,
            Refused::Share => StatusCode::TOO_MANY_REQUESTS,
        };
        pages::text(status, "Too many sessions.\n")
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
        let address = || ConnectionInfo::of(request, "", self.forwarded_count).address();
        let (body, share) = self.read(body, address).await?;
        // Reading one that is very large takes time, and is done in turn.
        let turn = match &share {
            Some(share) if body.len() > TURN_BYTES => Some(self.large.turn(share.address()).await),
            _ => None,
        };
        let content_type = request.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map_or(Ok(""), |value| value.to_str()).unwrap_or("?");
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let frame = frame(access, content_type, body)
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))?;
        match frame {
            Some(frame) => {
                drop(turn);
                let frame = frame.with_share(share);
                let delivered = session.deliver(frame, self.inbox_bytes_max).await;
                delivered.map_err(|undelivered| {
                    if access == Access::JsonpSend {
                        // Forms are sent by a frame whose page sees no status. It must not go on as
                        // if nothing were missing.
                        session.interrupt();
                    }
                    match undelivered {
                        Undelivered::Lost => UNKNOWN,
                        Undelivered::Crowded => CROWDED,
                        Undelivered::Late => TOO_SLOW,
                    }
                })
            }
            None => Ok(()),
        }
    }

    /// Whether pages of the request's origin may use what is asked for.
    fn allows(&self, endpoint: &Endpoint<'_>, request: &Request) -> bool {
        match endpoint {
            // Says only where the other page comes from.
            Endpoint::Welcome | Endpoint::Iframe => true,
            _ => self.origins.allow(request.headers()),
        }
    }

    /// Reads a body, with the memory of a large message if it is one, which counts for the address.
    async fn read(
        &self,
        body: Body,
        address: impl FnOnce() -> Option<Address>,
    ) -> Result<(Vec<u8>, Option<Share>), (StatusCode, &'static str)> {
        // A body that breaks off is answered as well, though nobody reads it.
        const TOO_LARGE: (StatusCode, &str) = (StatusCode::PAYLOAD_TOO_LARGE, "Payload too large.");
        let announced = body.size_hint().upper().map(usize::try_from);
        let bytes_max = match announced {
            Some(Ok(bytes)) if bytes <= self.message_bytes_max => bytes,
            Some(_) => return Err(TOO_LARGE),
            None => self.message_bytes_max,
        };
        let (mut bytes, mut share) = (Vec::new(), None);
        let (mut address, mut deadline) = (Some(address), None::<Deadline>);
        let mut data = body.into_data_stream();
        loop {
            let next = match &mut deadline {
                None => data.next().await,
                Some(deadline) => deadline.limit(data.next()).await.ok_or(TOO_SLOW)?,
            };
            let Some(part) = next else { break };
            let part = part.map_err(|error| if is_late(&error) { TOO_SLOW } else { TOO_LARGE })?;
            let length = bytes.len() + part.len();
            if length > bytes_max {
                return Err(TOO_LARGE);
            }
            if length > LARGE_MESSAGE_BYTES
                && let Some(address) = address.take()
            {
                let asking = self.large.memory().ask(address().as_ref(), bytes_max);
                share = Some(Deadline::begin().limit(asking).await.ok_or(TOO_SLOW)?);
                deadline = Some(Deadline::paced());
            }
            if let Some(deadline) = &mut deadline {
                deadline.note(part.len());
            }
            bytes.extend_from_slice(&part);
        }
        if let Some(share) = &mut share {
            // It was for what the body might have become.
            share.shrink_to(bytes.len());
        }
        Ok((bytes, share))
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

/// Whether a body was given up because it came too slowly.
fn is_late(error: &axum::Error) -> bool {
    let mut causes = std::iter::successors(error.source(), |&error| error.source());
    causes.any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    })
}

/// How a receiving request wants its frames.
fn wire(access: Access, request: &Parts) -> Result<Wire, &'static str> {
    let query = request.uri.query().unwrap_or_default();
    // A name that is no text is as bad as an empty one.
    let name = || {
        let name = form::value(query, "c").or_else(|| form::value(query, "callback"));
        name.map(|name| String::from_utf8(name).unwrap_or_default())
    };
    Ok(match access {
        Access::XhrStreaming => Wire::XhrStreaming,
        Access::EventSource => Wire::EventSource,
        Access::HtmlFile => Wire::HtmlFile(Callback::new(name())?),
        Access::Jsonp => Wire::Jsonp(Callback::short(name())?),
        Access::Xhr | Access::XhrSend | Access::JsonpSend => Wire::Xhr,
    })
}

/// The messages in a body, if there are any.
///
/// JSON is UTF-8. Were other bytes replaced, as by sockjs-node, the text would have up to three times
/// as many bytes as were counted when it was read.
pub(super) fn frame(
    access: Access,
    content_type: &str,
    body: Vec<u8>,
) -> Result<Option<ClientFrame>, &'static str> {
    let text = |bytes| String::from_utf8(bytes).map_err(|_| BROKEN_JSON);
    let body = text(body)?;
    let is_form = content_type == "application/x-www-form-urlencoded";
    let text = match access {
        Access::JsonpSend if is_form => text(form::value(&body, "d").unwrap_or_default())?,
        Access::JsonpSend if !matches!(content_type, "text/plain" | "") => String::new(),
        Access::JsonpSend => body,
        _ if XHR_TYPES.contains(&content_type) => body,
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
        let Some(mut frame) = frame(access, content_type, body.into())? else {
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
    fn bodies_are_utf8() {
        let form = "application/x-www-form-urlencoded";
        let table: [(Access, &str, &[u8]); 6] = [
            (Access::XhrSend, "", b"[\"\xff\"]"),
            (Access::XhrSend, "", b"\xff"),
            (Access::JsonpSend, "text/plain", b"[\"\xc3\"]"),
            (Access::JsonpSend, form, b"d=%5B%22\xff%22%5D"),
            (Access::JsonpSend, form, b"d=%5B%22%ff%22%5D"),
            // A surrogate as three bytes.
            (Access::JsonpSend, form, b"d=%5B%22%ed%a0%80%22%5D"),
        ];
        for (access, content_type, body) in table {
            let read = frame(access, content_type, body.to_vec()).map(|_| ());
            assert_eq!(read, Err(BROKEN_JSON), "{body:x?}");
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
