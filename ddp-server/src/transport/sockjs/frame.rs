//! SockJS frames in both directions, without IO.

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::quote;
use crate::transport::{Framing, Share};

/// `o`: the session is open.
pub(super) fn open_frame() -> Bytes {
    Bytes::from_static(b"\x81\x01o")
}

/// `h`: the server is alive.
pub(super) fn heartbeat_frame() -> Bytes {
    Bytes::from_static(b"\x81\x01h")
}

/// `c[code,"reason"]`: the session is over.
pub(super) fn close_frame(code: u16, reason: &str) -> Bytes {
    let text = close_text(code, reason);
    let text = std::str::from_utf8(&text).expect("quoting keeps UTF-8");
    Framing::raw(None).encode([text])
}

/// The same without WebSocket framing.
pub(super) fn close_text(code: u16, reason: &str) -> Bytes {
    let mut text = BytesMut::from(format!("c[{code},").as_bytes());
    quote(reason, &mut text);
    text.extend_from_slice(b"]");
    text.freeze()
}

/// Removes the first of several whole `a["…"]` WebSocket frames. Returns its messages, quoted and
/// separated by commas.
///
/// Messages are framed once for all clients of SockJS, and most of them use WebSocket. For the others
/// only the header must be sliced off (RFC 6455 section 5.2).
pub(super) fn split_messages(frames: &mut Bytes) -> Option<Bytes> {
    const BRACKETS: usize = "a[]".len();
    let (header, payload): (usize, usize) = match (*frames.get(1)?, &frames[2..]) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, bytes) => {
            let length = bytes.first_chunk::<8>()?;
            (10, usize::try_from(u64::from_be_bytes(*length)).ok()?)
        }
        (payload, _) => (2, usize::from(payload)),
    };
    let end = header.checked_add(payload).filter(|end| *end <= frames.len())?;
    let mut messages = frames.split_to(end).split_off(header);
    if messages.len() < BRACKETS {
        return None;
    }
    messages.truncate(payload - 1);
    Some(messages.split_off(BRACKETS - 1))
}

/// A client's frame: a JSON array of strings, or one JSON string.
///
/// Its messages are taken out one at a time: a frame of empty strings would take ten times its size
/// in memory if all were held at once.
#[derive(Debug)]
pub(super) struct ClientFrame {
    /// Its memory, if it is a large one.
    share: Option<Share>,
    text: String,
    offset: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    AfterElement,
    End,
}

/// The SockJS protocol does not allow this frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl ClientFrame {
    /// A frame from which nothing has been taken. An empty one has no messages.
    pub(super) fn new(text: String) -> Self {
        let place = if text.is_empty() { Place::End } else { Place::Start };
        Self { share: None, text, offset: 0, place }
    }

    /// Sets the memory that it and its messages take.
    pub(super) fn with_share(mut self, share: Option<Share>) -> Self {
        self.share = share;
        self
    }

    /// Whether it has memory of its own, as a large one.
    pub(super) fn has_share(&self) -> bool {
        self.share.is_some()
    }

    /// Hands over the memory of a message.
    pub(super) fn take_share(&mut self, bytes: usize) -> Option<Share> {
        self.share.as_mut()?.split(bytes)
    }

    /// Checks the whole frame, and returns it with nothing taken out; `None` if it has no messages.
    pub(super) fn checked(text: String) -> Result<Option<Self>, Broken> {
        let mut frame = Self::new(text);
        let mut is_empty = true;
        while frame.next()?.is_some() {
            is_empty = false;
        }
        Ok((!is_empty).then(|| Self::new(frame.text)))
    }

    /// The size of the whole frame.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The next message; `None` after the last one.
    ///
    /// Notices a fault only when it gets there, while sockjs-node checks the whole frame first.
    pub(super) fn next(&mut self) -> Result<Option<String>, Broken> {
        match (self.place, self.token()) {
            (Place::End, None) => Ok(None),
            (Place::Start, Some(b'"')) => {
                self.place = Place::End;
                self.string()
            }
            (Place::Start, Some(b'[')) => {
                self.offset += 1;
                match self.token() {
                    Some(b']') => self.end(),
                    _ => self.element(),
                }
            }
            (Place::AfterElement, Some(b',')) => {
                self.offset += 1;
                self.element()
            }
            (Place::AfterElement, Some(b']')) => self.end(),
            _ => Err(Broken),
        }
    }

    fn end(&mut self) -> Result<Option<String>, Broken> {
        self.offset += 1;
        self.place = Place::End;
        match self.token() {
            None => Ok(None),
            Some(_) => Err(Broken),
        }
    }

    fn element(&mut self) -> Result<Option<String>, Broken> {
        self.place = Place::AfterElement;
        match self.token() {
            Some(b'"') => self.string(),
            _ => Err(Broken),
        }
    }

    /// The string at the offset.
    fn string(&mut self) -> Result<Option<String>, Broken> {
        let rest = &self.text[self.offset..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Text>();
        let Some(Ok(Text(message))) = values.next() else {
            return Err(Broken);
        };
        self.offset += values.byte_offset();
        if self.place == Place::End && self.token().is_some() {
            return Err(Broken);
        }
        Ok(Some(message))
    }

    /// Skips whitespace. Returns the next byte.
    fn token(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.offset..];
        let spaces =
            rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.offset += spaces;
        rest.get(spaces).copied()
    }
}

/// A JSON string. Lone surrogates become replacement characters.
///
/// JavaScript strings may contain them, SockJS clients escape them, and `String` would refuse the
/// whole frame because of them.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, serde_json accepts lone surrogates, encoded as in WTF-8, and also control
        // characters, which do no harm.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

/// The first of the three bytes of a surrogate; each is a chunk of its own.
const FIRST_OF_SURROGATE: u8 = 0xed;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text, E> {
        // Not `from_utf8_lossy`, which makes three of each: six bytes would become nine, which nobody
        // has counted.
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if chunk.invalid().starts_with(&[FIRST_OF_SURROGATE]) {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Ok(Text(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All messages of a frame, and whether it was valid to its end.
    fn decode(text: &str) -> (Vec<String>, bool) {
        let mut frame = ClientFrame::new(text.to_owned());
        let mut messages = Vec::new();
        loop {
            match frame.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, true),
                Err(Broken) => return (messages, false),
            }
        }
    }

    #[test]
    fn sound_frames() {
        let table: [(&str, &[&str]); 9] = [
            ("", &[]),
            ("[]", &[]),
            (r#""one""#, &["one"]),
            (r#"["one"]"#, &["one"]),
            (r#"["one","two",""]"#, &["one", "two", ""]),
            (" [ \"one\" ,\n\"two\" ] ", &["one", "two"]),
            (r#"["{\"msg\":\"ping\"}"]"#, &[r#"{"msg":"ping"}"#]),
            (r#"["\ud83d\ude00 \u200c"]"#, &["😀 \u{200c}"]),
            (" \"spaced\" ", &["spaced"]),
        ];
        for (text, expected) in table {
            let expected: Vec<String> = expected.iter().copied().map(String::from).collect();
            assert_eq!(decode(text), (expected, true), "{text}");
        }
    }

    #[test]
    fn broken_frames() {
        let table = [
            " ",
            "[",
            "]",
            "[\"x",
            "{}",
            "null",
            "5",
            "[5]",
            "[null]",
            "[[\"x\"]]",
            "[,]",
            "x",
            "\"x",
            "[ ,\"x\"]",
            "[] []",
            "[\"\\x\"]",
        ];
        for text in table {
            assert_eq!(decode(text), (vec![], false), "{text}");
        }
    }

    #[test]
    fn messages_before_a_fault_are_delivered() {
        let table = [r#"["a","b""#, r#"["a","b",]"#, r#"["a","b"]x"#, r#"["a","b" "c"]"#];
        for text in table {
            let expected = vec!["a".to_owned(), "b".to_owned()];
            assert_eq!(decode(text), (expected, false), "{text}");
        }
        assert_eq!(decode(r#""a" "b""#), (vec![], false));
    }

    #[test]
    fn lone_surrogates_are_replaced() {
        let table = [
            (r"a\ud800b", "a\u{fffd}b"),
            (r"\ud800\udbff", "\u{fffd}\u{fffd}"),
            (r"\udc00\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ud7ff\ue000", "\u{d7ff}\u{e000}"),
        ];
        for (text, expected) in table {
            let (messages, sound) = decode(&format!(r#"["{text}","c"]"#));
            assert_eq!((messages, sound), (vec![expected.to_owned(), "c".to_owned()], true));
        }
    }

    fn text_frame(text: &str) -> Bytes {
        Framing::raw(None).encode([text])
    }

    #[test]
    fn server_frames() {
        assert_eq!(open_frame(), text_frame("o"));
        assert_eq!(heartbeat_frame(), text_frame("h"));
        let close = close_frame(3000, "Go \"away\"!");
        assert_eq!(close, text_frame(r#"c[3000,"Go \"away\"!"]"#));
    }

    #[test]
    fn messages_are_taken_out_of_frames_of_any_size() {
        for length in [0, 1, 110, 125, 126, 1000, 65_530, 70_000] {
            let text = "x".repeat(length);
            let sockjs = Framing::raw(None).in_sockjs();
            let first = sockjs.encode([text.as_str(), "\u{1f600}"]);
            let mut frames = BytesMut::from(&first[..]);
            frames.extend_from_slice(&sockjs.encode(["last"]));
            let mut frames = frames.freeze();
            let expected = format!(r#""{text}","\ud83d\ude00""#);
            assert_eq!(split_messages(&mut frames), Some(Bytes::from(expected)), "{length}");
            assert_eq!(split_messages(&mut frames).as_deref(), Some(&br#""last""#[..]));
            assert_eq!(split_messages(&mut frames), None);
        }
    }

    #[test]
    fn checked_frames_are_whole() {
        let checked = |text: &str| ClientFrame::checked(text.to_owned());
        assert!(checked("[]").is_ok_and(|frame| frame.is_none()));
        assert!(checked(r#"["a","b""#).is_err());
        let mut frame = checked(r#"["a","b"]"#).expect("sound").expect("messages");
        assert_eq!(frame.next(), Ok(Some("a".to_owned())));
    }

    proptest! {
        #[test]
        fn what_json_writes_is_read(messages: Vec<String>) {
            let text = serde_json::to_string(&messages).expect("strings are JSON");
            prop_assert_eq!(decode(&text), (messages, true));
        }

        #[test]
        fn arbitrary_text_ends(text in r#"[\[\],"a\\ud80 ]*"#) {
            let (messages, sound) = decode(&text);
            let oracle = serde_json::from_str::<Vec<String>>(&text)
                .or_else(|_| serde_json::from_str::<String>(&text).map(|text| vec![text]));
            if let Ok(oracle) = oracle {
                prop_assert!(sound);
                prop_assert_eq!(messages, oracle);
            }
        }
    }
}
