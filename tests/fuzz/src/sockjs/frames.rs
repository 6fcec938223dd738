//! How a SockJS client reads responses.

/// How a response carries frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Xhr,
    XhrStreaming,
    EventSource,
    HtmlFile,
    Jsonp,
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Open,
    Heartbeat,
    Messages(Vec<String>),
    Close(u16),
}

/// A response as far as it has arrived.
#[derive(Debug)]
pub(super) struct Reader {
    wire: Wire,
    text: Vec<u8>,
    has_prelude: bool,
}

impl Reader {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, text: Vec::new(), has_prelude: false }
    }

    /// The frames that a chunk completes. A large one arrives in pieces.
    pub(super) fn read(&mut self, chunk: &[u8]) -> Vec<Frame> {
        self.text.extend_from_slice(chunk);
        if !self.has_prelude {
            self.has_prelude = true;
            if let Some(end) = self.prelude() {
                self.text.drain(..end);
            }
        }
        let mut frames = Vec::new();
        while let Some((frame, end)) = self.frame() {
            frames.push(frame);
            self.text.drain(..end);
        }
        frames
    }

    /// Whether the rest of a frame has to follow.
    pub(super) fn has_part(&self) -> bool {
        !self.text.is_empty()
    }

    /// A piece may end within a character.
    fn text(&self) -> &str {
        match str::from_utf8(&self.text) {
            Ok(text) => text,
            Err(error) => {
                assert!(error.error_len().is_none(), "not UTF-8");
                let (whole, _) = self.text.split_at(error.valid_up_to());
                str::from_utf8(whole).expect("UTF-8")
            }
        }
    }

    fn prelude(&self) -> Option<usize> {
        let text = self.text();
        match self.wire {
            Wire::Xhr | Wire::Jsonp => None,
            Wire::XhrStreaming => {
                assert_eq!(text.find('\n'), Some(2048), "a line of 2048 letters");
                Some(2049)
            }
            Wire::EventSource => {
                assert!(text.starts_with("\r\n"));
                Some(2)
            }
            Wire::HtmlFile => {
                let end = text.find("\r\n\r\n").expect("the head of a page");
                assert!(end >= 1024 && text.starts_with("<!doctype html>"));
                Some(end + 4)
            }
        }
    }

    fn frame(&self) -> Option<(Frame, usize)> {
        let text = self.text();
        let (start, end) = match self.wire {
            Wire::Xhr | Wire::XhrStreaming => ("", "\n"),
            Wire::EventSource => ("data: ", "\r\n\r\n"),
            Wire::HtmlFile => ("<script>\np(", ");\n</script>\r\n"),
            Wire::Jsonp => ("/**/cb(", ");\r\n"),
        };
        if text.len() < start.len() {
            assert!(start.starts_with(text), "no frame: {text:?}");
            return None;
        }
        let rest = text.strip_prefix(start).expect("a frame");
        let (frame, _) = rest.split_once(end)?;
        let length = start.len() + frame.len() + end.len();
        let frame = match self.wire {
            Wire::Xhr | Wire::XhrStreaming => frame.to_owned(),
            Wire::EventSource => {
                assert!(!frame.contains(['\r', '\n', '\0']));
                frame.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
            }
            Wire::HtmlFile | Wire::Jsonp => serde_json::from_str(frame).expect("a string"),
        };
        Some((Frame::read(&frame), length))
    }
}

impl Frame {
    fn read(text: &str) -> Self {
        match text.split_at_checked(1) {
            Some(("o", "")) => Self::Open,
            Some(("h", "")) => Self::Heartbeat,
            Some(("a", rest)) => {
                let messages: Vec<String> = serde_json::from_str(rest).expect("strings");
                assert!(!messages.is_empty(), "a frame without messages");
                Self::Messages(messages)
            }
            Some(("c", rest)) => {
                let (code, _): (u16, String) = serde_json::from_str(rest).expect("code and reason");
                Self::Close(code)
            }
            _ => panic!("no frame of SockJS: {text:?}"),
        }
    }
}
