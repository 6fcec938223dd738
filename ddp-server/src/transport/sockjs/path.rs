//! The URLs of a SockJS endpoint.

/// What a path below the prefix names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The prefix itself.
    Welcome,
    /// `/info`
    Info,
    /// `/websocket`: without SockJS framing.
    RawWebSocket,
    /// `/<server>/<session>/websocket`: with it. Neither name means anything to this transport,
    /// because a WebSocket carries its own session.
    WebSocket,
}

impl Endpoint {
    /// Finds the endpoint for a path, from which the prefix has been removed.
    ///
    /// As in sockjs-node, one slash may follow, and server and session are any characters but
    /// dot and slash.
    pub(crate) fn find(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Some(Self::Welcome);
        }
        let mut segments = path.strip_prefix('/')?.split('/');
        let names = [(); 4].map(|()| segments.next());
        let is_name = |name: &str| !name.is_empty() && !name.contains('.');
        match names {
            [Some("info"), None, ..] => Some(Self::Info),
            [Some("websocket"), None, ..] => Some(Self::RawWebSocket),
            [Some(server), Some(session), Some("websocket"), None]
                if is_name(server) && is_name(session) =>
            {
                Some(Self::WebSocket)
            }
            _ => None,
        }
    }
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
            ("/a/b/xhr", None),
        ];
        for (path, expected) in table {
            assert_eq!(Endpoint::find(path), expected, "{path}");
        }
    }
}
