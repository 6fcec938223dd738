//! The URLs of a SockJS endpoint.

/// The longest name of a server or session. Clients use three and eight characters; the limit keeps
/// the store's keys small, and the paths that connections tell.
const NAME_BYTES_MAX: usize = 256;

/// The meaning of a path below the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint<'a> {
    /// The prefix itself.
    Welcome,
    /// `/info`
    Info,
    /// `/iframe.html`, with or without a version in its name.
    Iframe,
    /// `/websocket`: without SockJS framing.
    RawWebSocket,
    /// `/<server>/<session>/websocket`: with it. The two names are ignored, because a WebSocket
    /// carries its own session.
    WebSocket,
    /// `/<server>/<session>/<transport>` of a session that outlives its requests. The server's name
    /// is only for load balancers.
    Session(&'a str, Access),
}

/// What a request wants from a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// `xhr`: one frame, with POST.
    Xhr,
    /// `xhr_streaming`: an endless stream of frames, with POST.
    XhrStreaming,
    /// `eventsource`: frames as server-sent events.
    EventSource,
    /// `htmlfile`: frames as scripts in an endless page.
    HtmlFile,
    /// `jsonp`: one frame as a script.
    Jsonp,
    /// `xhr_send`: messages for the server.
    XhrSend,
    /// `jsonp_send`: messages for the server, from an HTML form.
    JsonpSend,
}

impl Access {
    fn find(name: &str) -> Option<Self> {
        Some(match name {
            "xhr" => Self::Xhr,
            "xhr_streaming" => Self::XhrStreaming,
            "eventsource" => Self::EventSource,
            "htmlfile" => Self::HtmlFile,
            "jsonp" => Self::Jsonp,
            "xhr_send" => Self::XhrSend,
            "jsonp_send" => Self::JsonpSend,
            _ => return None,
        })
    }
}

impl<'a> Endpoint<'a> {
    /// Finds the endpoint for a path without the prefix.
    ///
    /// As in sockjs-node, a trailing slash is allowed, and server and session may contain anything
    /// but dots and slashes.
    pub(crate) fn find(path: &'a str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Some(Self::Welcome);
        }
        let mut segments = path.strip_prefix('/')?.split('/');
        let names = [(); 4].map(|()| segments.next());
        let is_name =
            |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains('.');
        match names {
            [Some("info"), None, ..] => Some(Self::Info),
            [Some("websocket"), None, ..] => Some(Self::RawWebSocket),
            [Some(page), None, ..] if is_iframe(page) => Some(Self::Iframe),
            [Some(server), Some(session), Some(transport), None]
                if is_name(server) && is_name(session) =>
            {
                if transport == "websocket" {
                    return Some(Self::WebSocket);
                }
                let access = Access::find(transport)?;
                Some(Self::Session(session, access))
            }
            _ => None,
        }
    }
}

/// Whether this is `iframe[0-9-.a-z_]*.html`.
fn is_iframe(page: &str) -> bool {
    let version = page.strip_prefix("iframe").and_then(|rest| rest.strip_suffix(".html"));
    version.is_some_and(|version| {
        version.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'.' | b'_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let table = [
            ("", Some(Endpoint::Welcome)),
            ("/", Some(Endpoint::Welcome)),
            ("/info", Some(Endpoint::Info)),
            ("/info/", Some(Endpoint::Info)),
            ("/websocket", Some(Endpoint::RawWebSocket)),
            ("/websocket/", Some(Endpoint::RawWebSocket)),
            ("/000/abcdefgh/websocket", Some(Endpoint::WebSocket)),
            ("/000/abcdefgh/websocket/", Some(Endpoint::WebSocket)),
            ("/a/%20;=/websocket", Some(Endpoint::WebSocket)),
            ("/a/b/xhr", Some(Endpoint::Session("b", Access::Xhr))),
            ("/a/%20/xhr_send/", Some(Endpoint::Session("%20", Access::XhrSend))),
            ("/a/b/xhr_streaming", Some(Endpoint::Session("b", Access::XhrStreaming))),
            ("/a/b/eventsource", Some(Endpoint::Session("b", Access::EventSource))),
            ("/a/b/htmlfile", Some(Endpoint::Session("b", Access::HtmlFile))),
            ("/a/b/jsonp", Some(Endpoint::Session("b", Access::Jsonp))),
            ("/a/b/jsonp_send", Some(Endpoint::Session("b", Access::JsonpSend))),
            ("/iframe.html", Some(Endpoint::Iframe)),
            ("/iframe-.html", Some(Endpoint::Iframe)),
            ("/iframe-0.1.2abc-dirty_.2144.html", Some(Endpoint::Iframe)),
            ("/iframe.htm", None),
            ("/iframe", None),
            ("/iframe.HTML", None),
            ("/IFRAME.html", None),
            ("/iframe-/.html", None),
            ("//", None),
            ("/info//", None),
            ("/infos", None),
            ("/a/websocket", None),
            ("//a/websocket", None),
            ("/a//websocket", None),
            ("/a.b/c/websocket", None),
            ("/a/b.c/websocket", None),
            ("/a/b/websocket/x", None),
            ("/a/b/c/websocket", None),
            ("/a/b/xhrs", None),
            ("/a/b/", None),
        ];
        for (path, expected) in table {
            assert_eq!(Endpoint::find(path), expected, "{path}");
        }
    }

    #[test]
    fn names_are_bounded() {
        for (bytes, found) in [(NAME_BYTES_MAX, true), (NAME_BYTES_MAX + 1, false)] {
            let name = "x".repeat(bytes);
            for transport in ["xhr", "websocket"] {
                for path in [format!("/a/{name}/{transport}"), format!("/{name}/b/{transport}")] {
                    assert_eq!(Endpoint::find(&path).is_some(), found, "{path}");
                }
            }
        }
    }
}
