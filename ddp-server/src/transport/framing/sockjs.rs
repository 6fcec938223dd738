//! The frames of SockJS: `a["…","…"]`, one for several messages.

use bytes::{BufMut, Bytes};
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{Envelope, FrameBuilder, Framing, HEADER_BYTES_MAX, Header, put_deflated};
use crate::transport::sockjs::quote;

impl Framing {
    /// The same with SockJS frames inside the WebSocket's.
    pub(crate) const fn in_sockjs(self) -> Self {
        Self { envelope: Envelope::SockJs, ..self }
    }
}

impl FrameBuilder {
    /// Appends a message to the array.
    pub(super) fn element(&mut self, text: &str) {
        if self.buffer.is_empty() {
            // The header's length depends on the payload's: `array` fills it in.
            self.buffer.put_bytes(0, HEADER_BYTES_MAX);
            self.buffer.put_slice(b"a[");
        } else {
            self.buffer.put_u8(b',');
        }
        quote(text, &mut self.buffer);
    }

    /// The frame with the array, unless it is empty.
    pub(super) fn array(mut self) -> Bytes {
        if self.buffer.is_empty() {
            return self.buffer.freeze();
        }
        self.buffer.put_u8(b']');
        let text = &self.buffer[HEADER_BYTES_MAX..];
        if let Some(payload) = self.framing.deflate.and_then(|deflate| deflate.compress(text)) {
            self.buffer.clear();
            put_deflated(&mut self.buffer, &payload);
            // Do not keep the larger text buffer as long as the frame.
            return Bytes::copy_from_slice(&self.buffer);
        }
        let header = Header::new(OpCode::Data(Data::Text), text.len(), false);
        let start = HEADER_BYTES_MAX - header.as_slice().len();
        self.buffer[start..HEADER_BYTES_MAX].copy_from_slice(header.as_slice());
        self.buffer.freeze().split_off(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKJS: Framing = Framing::raw(None).in_sockjs();

    #[test]
    fn sockjs_is_one_frame_for_all_messages() {
        let frames = SOCKJS.encode([r#"{"a":1}"#, "x"]);
        assert_eq!(&frames[2..], br#"a["{\"a\":1}","x"]"#);
        assert_eq!(&frames[..2], [0x81, frames.len() as u8 - 2]);
        assert!(SOCKJS.encode([]).is_empty());
    }

    #[test]
    fn header_lengths_change_where_the_rfc_says() {
        for (payload, header) in [(5, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            // The five bytes are those of `a[""]`.
            let frames = SOCKJS.encode([&*"x".repeat(payload - 5)]);
            assert_eq!(frames.len(), header + payload);
            assert!(frames.ends_with(b"\"]") && frames[header..].starts_with(b"a[\""));
        }
    }

    #[cfg(feature = "compression")]
    #[test]
    fn the_whole_array_is_compressed() {
        let deflate = Framing::raw(crate::transport::Deflate::by_default()).in_sockjs();
        assert_eq!(deflate.encode(["x"]), SOCKJS.encode(["x"]));
        let short = "x".repeat(127);
        let frames = deflate.encode([&*short, &*short]);
        assert_eq!((frames[0], usize::from(frames[1])), (0xc1, frames.len() - 2));
        assert!(deflate.encode([]).is_empty());
    }

    #[cfg(feature = "compression")]
    #[test]
    fn indexes_are_distinct_and_below_the_count() {
        let deflate = Framing::raw(crate::transport::Deflate::by_default());
        let indexes =
            [Framing::raw(None), SOCKJS, deflate, deflate.in_sockjs()].map(Framing::index);
        assert_eq!(indexes, [0, 1, 2, 3]);
    }
}
