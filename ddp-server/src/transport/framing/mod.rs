//! Server-to-client frames, encoded once and shared by all clients that use the same framing.

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::deflate::Deflate;

#[cfg(feature = "sockjs")]
mod sockjs;

/// The longest header of an unmasked frame: two bytes and a 64-bit length (RFC 6455 section 5.2).
const HEADER_BYTES_MAX: usize = 10;

/// The largest payload of a control frame (RFC 6455 section 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// What a buffer of frames takes in memory besides its bytes.
pub(super) const BUFFER_BYTES: usize = 96;

/// How messages become WebSocket frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    envelope: Envelope,
    /// Each frame is compressed if that makes it smaller (RFC 7692).
    deflate: Option<Deflate>,
}

/// The payload of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Envelope {
    /// One message.
    Raw,
    /// All messages, as a SockJS `a["…","…"]`.
    #[cfg(feature = "sockjs")]
    SockJs,
}

impl Framing {
    /// Each message is one text frame.
    pub(crate) const fn raw(deflate: Option<Deflate>) -> Self {
        Self { envelope: Envelope::Raw, deflate }
    }

    /// The index under which a delta keeps its frames of this framing.
    ///
    /// Compression settings make no difference: each client can read all of them.
    pub(crate) const fn index(self) -> usize {
        self.envelope as usize + if self.deflate.is_some() { 2 } else { 0 }
    }

    /// Whether a frame may hold several messages.
    pub(crate) fn joins_messages(self) -> bool {
        self.envelope != Envelope::Raw
    }

    /// Encodes messages, in order, as whole frames.
    #[cfg(any(test, feature = "sockjs"))]
    pub(crate) fn encode<'a>(self, messages: impl IntoIterator<Item = &'a str>) -> Bytes {
        let mut builder = FrameBuilder::new(self);
        for message in messages {
            builder.message(message);
        }
        builder.finish()
    }
}

/// Collects messages into whole, unmasked, final frames: the same bytes for every client.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    framing: Framing,
    buffer: BytesMut,
}

impl FrameBuilder {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, buffer: BytesMut::new() }
    }

    /// Appends one message.
    pub(crate) fn message(&mut self, text: &str) {
        match (self.framing.envelope, self.framing.deflate) {
            (Envelope::Raw, None) => {
                self.buffer.reserve(HEADER_BYTES_MAX + text.len());
                put_frame(&mut self.buffer, OpCode::Data(Data::Text), text.as_bytes());
            }
            (Envelope::Raw, Some(deflate)) => {
                put_compressed(&mut self.buffer, deflate, text.as_bytes());
            }
            #[cfg(feature = "sockjs")]
            (Envelope::SockJs, _) => self.element(text),
        }
    }

    /// About how many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The frames; empty if there was no message.
    pub(crate) fn finish(self) -> Bytes {
        match self.framing.envelope {
            Envelope::Raw => self.buffer.freeze(),
            #[cfg(feature = "sockjs")]
            Envelope::SockJs => self.array(),
        }
    }
}

/// A pong with the ping's payload, which is at most [`CONTROL_BYTES_MAX`] long.
pub(super) fn pong_frame(payload: &[u8]) -> Bytes {
    control_frame(Control::Pong, payload)
}

/// A close frame; without a code its body is empty. A reason that does not fit is truncated.
pub(super) fn close_frame(code: Option<u16>, reason: &str) -> Bytes {
    let mut payload = Vec::new();
    if let Some(code) = code {
        let end = reason.floor_char_boundary(CONTROL_BYTES_MAX - 2);
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..end]);
    }
    control_frame(Control::Close, &payload)
}

fn control_frame(control: Control, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    put_frame(&mut frame, OpCode::Control(control), payload);
    frame.freeze()
}

fn put_frame(out: &mut BytesMut, opcode: OpCode, payload: &[u8]) {
    out.put_slice(Header::new(opcode, payload.len(), false).as_slice());
    out.put_slice(payload);
}

/// Appends a text frame, compressed if that makes it smaller.
fn put_compressed(out: &mut BytesMut, deflate: Deflate, text: &[u8]) {
    match deflate.compress(text) {
        Some(payload) => put_deflated(out, &payload),
        None => put_frame(out, OpCode::Data(Data::Text), text),
    }
}

/// Appends a text frame with a compressed payload.
fn put_deflated(out: &mut BytesMut, payload: &[u8]) {
    out.reserve(HEADER_BYTES_MAX + payload.len());
    out.put_slice(Header::new(OpCode::Data(Data::Text), payload.len(), true).as_slice());
    out.put_slice(payload);
}

/// The header of a final, unmasked frame.
struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

impl Header {
    /// `compressed` sets RSV1 (RFC 7692 section 6).
    fn new(opcode: OpCode, payload: usize, compressed: bool) -> Self {
        let header = FrameHeader { opcode, rsv1: compressed, ..FrameHeader::default() };
        let payload = payload as u64;
        let mut bytes = [0; HEADER_BYTES_MAX];
        header
            .format(payload, &mut &mut bytes[..])
            .expect("an unmasked header fits into ten bytes");
        Self { bytes, length: header.len(payload) }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: Framing = Framing::raw(None);

    #[test]
    fn raw_is_a_text_frame_for_each_message() {
        let frames = RAW.encode(["Hello", "é"]);
        assert_eq!(&frames[..], b"\x81\x05Hello\x81\x02\xc3\xa9");
    }

    #[test]
    fn no_message_is_no_bytes() {
        assert!(RAW.encode([]).is_empty());
    }

    #[test]
    fn header_lengths_change_where_the_rfc_says() {
        for (payload, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let text = "x".repeat(payload);
            assert_eq!(RAW.encode([&*text]).len(), header + payload);
        }
    }

    #[cfg(feature = "compression")]
    #[test]
    fn compressed_frames_say_so_and_small_ones_are_not() {
        let deflate = Framing::raw(Deflate::by_default());
        let (long, short) = ("x".repeat(128), "x".repeat(127));
        let frames = deflate.encode([&*long, &*short]);
        assert_eq!(frames[0], 0xc1);
        let second = 2 + usize::from(frames[1]);
        assert!(second < 32);
        assert_eq!(frames[second..], RAW.encode([&*short]));
    }

    #[test]
    fn close_reasons_are_cut_between_characters() {
        let frame = close_frame(Some(1000), &"é".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(&close_frame(None, "unsaid")[..], [0x88, 0]);
    }
}
