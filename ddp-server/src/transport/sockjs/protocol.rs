//! The names of the transports.

use std::fmt;

use crate::transport::open::RAW_WEBSOCKET;

/// The transport with which a client opened a connection, under sockjs-node's name.
///
/// Between requests, a client without WebSocket may switch from one to another. This does not show
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `websocket`: SockJS frames in a WebSocket.
    WebSocket,
    /// `websocket-raw`: a WebSocket without SockJS frames.
    RawWebSocket,
    /// `xhr-polling`: one frame per request.
    XhrPolling,
    /// `xhr-streaming`: frames in a long response.
    XhrStreaming,
    /// `eventsource`: frames as server-sent events.
    EventSource,
    /// `htmlfile`: frames as the scripts of a page.
    HtmlFile,
    /// `jsonp-polling`: one frame per request, as a script.
    JsonpPolling,
}

impl Protocol {
    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::RawWebSocket => RAW_WEBSOCKET,
            Self::XhrPolling => "xhr-polling",
            Self::XhrStreaming => "xhr-streaming",
            Self::EventSource => "eventsource",
            Self::HtmlFile => "htmlfile",
            Self::JsonpPolling => "jsonp-polling",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
