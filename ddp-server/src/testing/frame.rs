//! The client's side of WebSocket framing (RFC 6455 section 5), as far as the server uses it.

use std::io::Cursor;

use bytes::{Buf, BufMut, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::closed::Closed;

/// What the server sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Text(String),
    Close(Closed),
}

/// Takes the next whole frame out of what has been read; `None` if there is none yet.
///
/// # Errors
/// What is wrong with it.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Frame>, String> {
    let mut cursor = Cursor::new(&input[..]);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|error| error.to_string())?;
    let Some((header, payload)) = parsed else { return Ok(None) };
    let head = usize::try_from(cursor.position()).map_err(|error| error.to_string())?;
    let payload = usize::try_from(payload).map_err(|error| error.to_string())?;
    if input.len() - head < payload {
        return Ok(None);
    }
    input.advance(head);
    let payload = input.split_to(payload);
    match header.opcode {
        OpCode::Data(Data::Text) if header.is_final && !header.rsv1 => {
            let text = std::str::from_utf8(&payload);
            Ok(Some(Frame::Text(text.map_err(|error| error.to_string())?.to_owned())))
        }
        OpCode::Control(Control::Close) => {
            // 1005 means that the frame has no code (RFC 6455 section 7.1.5).
            let (code, reason) = payload
                .split_first_chunk()
                .map_or((1005, &[][..]), |(code, rest)| (u16::from_be_bytes(*code), rest));
            let reason = String::from_utf8_lossy(reason).into_owned();
            Ok(Some(Frame::Close(Closed { code, reason })))
        }
        _ => Err(format!("an unexpected WebSocket frame: {header:?}")),
    }
}

/// Appends a text frame.
pub(super) fn put_text(output: &mut BytesMut, text: &str) {
    put(output, OpCode::Data(Data::Text), text.as_bytes());
}

/// Appends a close frame; 1005 stands for one without a code.
pub(super) fn put_close(output: &mut BytesMut, code: u16) {
    let code = code.to_be_bytes();
    let payload = if code == 1005_u16.to_be_bytes() { &[][..] } else { &code };
    put(output, OpCode::Control(Control::Close), payload);
}

fn put(output: &mut BytesMut, opcode: OpCode, payload: &[u8]) {
    // Clients must mask what they send; a key of zeros leaves the payload as it is.
    let header = FrameHeader { opcode, mask: Some([0; 4]), ..FrameHeader::default() };
    header
        .format(payload.len() as u64, &mut (&mut *output).writer())
        .expect("writing to memory does not fail");
    output.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        let wire = b"\x81\x05Hello\x81\x02\xc3\xa9\x88\x05\x03\xe9bye\x88\x00";
        let mut input = BytesMut::new();
        let mut frames = Vec::new();
        for byte in wire {
            input.put_u8(*byte);
            while let Some(frame) = take(&mut input).unwrap() {
                frames.push(frame);
            }
        }
        assert!(input.is_empty());
        let close = |code, reason: &str| Frame::Close(Closed { code, reason: reason.to_owned() });
        let text = |text: &str| Frame::Text(text.to_owned());
        assert_eq!(frames, [text("Hello"), text("é"), close(1001, "bye"), close(1005, "")]);
    }

    #[test]
    fn what_the_server_never_sends_is_an_error() {
        for wire in [&b"\x82\x01x"[..], b"\xc1\x01x", b"\x01\x01x", b"\x83\x00", b"\x81\x01\xff"] {
            let error = take(&mut BytesMut::from(wire)).expect_err("not a frame of the server");
            assert!(!error.is_empty(), "{wire:x?}");
        }
    }

    #[test]
    fn what_is_sent_is_masked_by_zeros() {
        let mut output = BytesMut::new();
        put_text(&mut output, "Hi");
        put_close(&mut output, 1000);
        put_close(&mut output, 1005);
        let wire = b"\x81\x82\0\0\0\0Hi\x88\x82\0\0\0\0\x03\xe8\x88\x80\0\0\0\0";
        assert_eq!(&output[..], wire);
    }
}
