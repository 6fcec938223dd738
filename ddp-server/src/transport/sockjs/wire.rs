//! How each HTTP transport writes a SockJS frame into its response, without IO.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use super::protocol::Protocol;

/// The start of the endless page, up to the callback's name, as in sockjs-node.
const PAGE_HEAD: &str = "<!doctype html>\n<html><head>\n  \
    <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n  \
    <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n\
    </head><body><h2>Don't panic!</h2>\n  <script>\n    \
    document.domain = document.domain;\n    var c = parent.";

const PAGE_TAIL: &str = ";\n    c.start();\n    function p(d) {c.message(d);};\n    \
    window.onload = function() {c.stop();};\n  </script>";

/// Browsers render nothing until the page has this many bytes.
const PAGE_BYTES_MIN: usize = 1024;

/// Internet Explorer passes on nothing until the response has this many bytes.
const XHR_PRELUDE_BYTES: usize = 2048;

/// The longest name of a callback, as in sockjs-node.
const JSONP_CALLBACK_BYTES_MAX: usize = 32;

/// How a transport delivers frames in HTTP responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Xhr,
    XhrStreaming,
    EventSource,
    HtmlFile(Callback),
    Jsonp(Callback),
}

/// The name of a function in the client's page. Only ASCII letters, digits, `-`, `_` and `.`, so
/// that it is safe in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Callback(String);

impl Callback {
    /// Checks the name, if there is one.
    pub(super) fn new(name: Option<String>) -> Result<Self, &'static str> {
        let name = name.ok_or("\"callback\" parameter required")?;
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_sound) {
            return Err("invalid \"callback\" parameter");
        }
        Ok(Self(name))
    }

    /// The same for a name that is repeated in each frame.
    pub(super) fn short(name: Option<String>) -> Result<Self, &'static str> {
        let callback = Self::new(name)?;
        if callback.0.len() > JSONP_CALLBACK_BYTES_MAX {
            return Err("invalid \"callback\" parameter");
        }
        Ok(callback)
    }
}

impl Wire {
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Xhr => Protocol::XhrPolling,
            Self::XhrStreaming => Protocol::XhrStreaming,
            Self::EventSource => Protocol::EventSource,
            Self::HtmlFile(_) => Protocol::HtmlFile,
            Self::Jsonp(_) => Protocol::JsonpPolling,
        }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::Jsonp(_) => {
                "application/javascript; charset=UTF-8"
            }
            Self::EventSource => "text/event-stream",
            Self::HtmlFile(_) => "text/html; charset=UTF-8",
        }
    }

    /// Whether the response has room for a single frame, since the client makes a new request for
    /// each.
    pub(super) fn is_polling(&self) -> bool {
        matches!(self, Self::Xhr | Self::Jsonp(_))
    }

    /// Whether scripts of other origins may read the response, if the application allows it. Pages
    /// and scripts are executed, not read.
    pub(super) fn has_cors(&self) -> bool {
        matches!(self, Self::Xhr | Self::XhrStreaming | Self::EventSource)
    }

    /// What precedes the first frame.
    pub(super) fn prelude(&self) -> Option<Bytes> {
        match self {
            Self::Xhr | Self::Jsonp(_) => None,
            Self::XhrStreaming => {
                let mut prelude = vec![b'h'; XHR_PRELUDE_BYTES];
                prelude.push(b'\n');
                Some(prelude.into())
            }
            // Opera once needed a line before the events.
            Self::EventSource => Some(Bytes::from_static(b"\r\n")),
            Self::HtmlFile(Callback(name)) => {
                let page = format!("{PAGE_HEAD}{name}{PAGE_TAIL}");
                Some(format!("{page:PAGE_BYTES_MIN$}\r\n\r\n").into())
            }
        }
    }

    /// One frame as this transport writes it.
    pub(super) fn encode(&self, frame: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(frame.len() + frame.len() / 8 + 64);
        match self {
            Self::Xhr | Self::XhrStreaming => {
                out.put_slice(frame);
                out.put_u8(b'\n');
            }
            Self::EventSource => {
                out.put_slice(b"data: ");
                put_escaped(frame, &mut out, |byte| match byte {
                    // Clients decode the event like a URI.
                    b'%' => Some("%25"),
                    b'\r' => Some("%0D"),
                    b'\n' => Some("%0A"),
                    b'\0' => Some("%00"),
                    _ => None,
                });
                out.put_slice(b"\r\n\r\n");
            }
            Self::HtmlFile(_) => {
                out.put_slice(b"<script>\np(");
                put_string(frame, &mut out);
                out.put_slice(b");\n</script>\r\n");
            }
            Self::Jsonp(Callback(name)) => {
                // The comment keeps the name from being taken for the start of something else, such
                // as a Flash file.
                out.put_slice(b"/**/");
                out.put_slice(name.as_bytes());
                out.put_u8(b'(');
                put_string(frame, &mut out);
                out.put_slice(b");\r\n");
            }
        }
        out.freeze()
    }
}

/// Appends a frame as a JavaScript string. Its messages are already quoted, so there are no control
/// characters, and little needs escaping.
fn put_string(frame: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    put_escaped(frame, out, |byte| match byte {
        b'"' => Some("\\\""),
        b'\\' => Some("\\\\"),
        // A message containing `</script>` must not end the script that carries it.
        b'<' => Some("\\u003c"),
        _ => None,
    });
    out.put_u8(b'"');
}

fn put_escaped(frame: &[u8], out: &mut BytesMut, escape: impl Fn(u8) -> Option<&'static str>) {
    let mut rest = frame;
    while let Some((plain, escaped)) =
        rest.iter().enumerate().find_map(|(index, byte)| Some((index, escape(*byte)?)))
    {
        out.put_slice(&rest[..plain]);
        out.put_slice(escaped.as_bytes());
        rest = &rest[plain + 1..];
    }
    out.put_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callback(name: &str) -> Result<Callback, &'static str> {
        Callback::new(Some(name.to_owned()))
    }

    #[test]
    fn frames() {
        let named = || callback("_jp.a1").expect("a sound name");
        let table = [
            (Wire::Xhr, "a[\"x\"]\n"),
            (Wire::XhrStreaming, "a[\"x\"]\n"),
            (Wire::EventSource, "data: a[\"x\"]\r\n\r\n"),
            (Wire::HtmlFile(named()), "<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n"),
            (Wire::Jsonp(named()), "/**/_jp.a1(\"a[\\\"x\\\"]\");\r\n"),
        ];
        for (wire, expected) in table {
            assert_eq!(wire.encode(b"a[\"x\"]"), expected, "{wire:?}");
        }
    }

    #[test]
    fn what_has_a_meaning_around_a_frame_is_escaped() {
        let page = Wire::HtmlFile(callback("c").expect("a sound name"));
        let encoded = page.encode(br#"a["</script>\\"]"#);
        assert_eq!(encoded, "<script>\np(\"a[\\\"\\u003c/script>\\\\\\\\\\\"]\");\n</script>\r\n");
        let event = Wire::EventSource.encode(b"a[\"100%\r\n\0\"]");
        assert_eq!(event, "data: a[\"100%25%0D%0A%00\"]\r\n\r\n");
    }

    #[test]
    fn preludes() {
        let page = Wire::HtmlFile(callback("callback").expect("a sound name")).prelude();
        let page = page.expect("a page begins somehow");
        assert!(page.len() > PAGE_BYTES_MIN && page.ends_with(b"  \r\n\r\n"));
        assert!(page.starts_with(b"<!doctype html>\n<html><head>\n  <meta"));
        let page = String::from_utf8_lossy(&page);
        assert!(page.contains("var c = parent.callback;\n    c.start();\n"));
        let xhr = Wire::XhrStreaming.prelude().expect("a prelude");
        assert_eq!(xhr, format!("{}\n", "h".repeat(2048)));
        assert_eq!(Wire::EventSource.prelude().as_deref(), Some(&b"\r\n"[..]));
        assert_eq!(Wire::Xhr.prelude(), None);
    }

    #[test]
    fn callbacks() {
        for sound in ["a", "_jp.a1B2", "a-b_c.d"] {
            assert!(callback(sound).is_ok(), "{sound}");
        }
        for unsound in ["", " ", "*", "abc(", "é", "a;b", "a\n", "</script>"] {
            assert_eq!(callback(unsound), Err("invalid \"callback\" parameter"), "{unsound}");
        }
        assert_eq!(Callback::new(None), Err("\"callback\" parameter required"));
        assert!(Callback::short(Some("x".repeat(32))).is_ok());
        assert!(Callback::short(Some("x".repeat(33))).is_err());
    }
}
