//! The decoder against RFC 6455, against tungstenite and against noise.

use std::io;

use bytes::Bytes;
use proptest::prelude::*;
use tungstenite::{Message, WebSocket, protocol::Role};

use super::*;
use crate::transport::Framing;

#[cfg(feature = "compression")]
mod compressed;

const RAW: Framing = Framing::raw(None);

const LIMIT: usize = 200_000;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FINAL: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A client's frame with the shortest form of header.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..=125 => bytes.push(0x80 | length as u8),
        length @ ..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    let masked = payload.iter().enumerate();
    bytes.extend(masked.map(|(index, byte)| byte ^ MASK[index % 4]));
    bytes
}

/// Decodes bytes given in portions whose sizes repeat.
fn decode_in(sizes: &[usize], mut bytes: &[u8]) -> (Vec<Event>, Option<TransportError>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut events = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (mut portion, rest) = bytes.split_at((*size).clamp(1, bytes.len()));
        bytes = rest;
        loop {
            match decoder.decode(&mut portion) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(portion.is_empty(), "without an event all input is taken");
    }
    (events, None)
}

fn decode(bytes: &[u8]) -> (Vec<Event>, Option<TransportError>) {
    decode_in(&[usize::MAX], bytes)
}

fn events(bytes: &[u8]) -> Vec<Event> {
    let (events, error) = decode(bytes);
    assert!(error.is_none(), "{error:?}");
    events
}

fn violation(bytes: &[u8]) -> Violation {
    match decode(bytes).1 {
        Some(TransportError::Violation(violation)) => violation,
        other => panic!("no violation but {other:?}"),
    }
}

fn message(text: &str) -> Event {
    Event::Message(text.to_owned())
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 section 5.7.
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(events(hello), [message("Hello")]);
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(events(pong), [Event::Pong]);
    assert_eq!(violation(b"\x81\x05Hello"), Violation::Unmasked);
}

#[test]
fn each_length_form_is_read() {
    for length in [0, 1, 125, 126, 65_535, 65_536, LIMIT] {
        let text = "x".repeat(length);
        for opcode in [TEXT, BINARY] {
            let bytes = frame(FINAL | opcode, text.as_bytes());
            assert_eq!(events(&bytes), [message(&text)]);
        }
    }
}

#[test]
fn fragments_join_around_control_frames() {
    let bytes = [
        frame(TEXT, "h\u{e9}".as_bytes().split_at(2).0),
        frame(PING, b"are you there"),
        frame(0, b""),
        frame(PONG, b""),
        frame(0, &"h\u{e9}".as_bytes()[2..]),
        frame(FINAL, b"!"),
        frame(FINAL | TEXT, b"next"),
    ];
    let expected =
        [Event::Ping(b"are you there".to_vec()), Event::Pong, message("h\u{e9}!"), message("next")];
    assert_eq!(events(&bytes.concat()), expected);
}

#[test]
fn violations() {
    let long = [0; 126];
    let table = [
        (frame(0xc1, b"x"), Violation::ReservedBit),
        (frame(0xa1, b"x"), Violation::ReservedBit),
        (frame(0x91, b"x"), Violation::ReservedBit),
        (frame(0x83, b"x"), Violation::ReservedOpcode(3)),
        (frame(0x87, b"x"), Violation::ReservedOpcode(7)),
        (frame(0x8b, b"x"), Violation::ReservedOpcode(11)),
        (frame(0x8f, b"x"), Violation::ReservedOpcode(15)),
        (b"\x89\x00".to_vec(), Violation::Unmasked),
        (frame(PING, &long), Violation::ControlTooLong(126)),
        (frame(CLOSE, &long), Violation::ControlTooLong(126)),
        (frame(0x09, b""), Violation::ControlFragmented),
        (frame(0x08, b""), Violation::ControlFragmented),
        (frame(FINAL, b"x"), Violation::UnexpectedContinuation),
        (frame(0, b"x"), Violation::UnexpectedContinuation),
        ([frame(TEXT, b"a"), frame(FINAL | TEXT, b"b")].concat(), Violation::ExpectedContinuation),
        ([frame(TEXT, b"a"), frame(BINARY, b"b")].concat(), Violation::ExpectedContinuation),
        (
            [frame(FINAL | TEXT, b"a"), frame(FINAL, b"b")].concat(),
            Violation::UnexpectedContinuation,
        ),
        (frame(CLOSE, b"\x03"), Violation::CloseCodeTruncated),
    ];
    for (bytes, expected) in table {
        assert_eq!(violation(&bytes), expected, "{bytes:x?}");
        assert_eq!(
            decode(&bytes).1.and_then(|error| error.close()).map(|close| close.0),
            Some(1002)
        );
    }
}

#[test]
fn close_frames_of_any_code_are_heard() {
    assert_eq!(events(&frame(CLOSE, b"")), [Event::Close(None)]);
    for code in [0, 999, 1000, 1001, 1004, 1005, 1006, 1015, 2999, 3000, 4999, 5000, 65_535] {
        for reason in ["", "going away", "\u{e9}"] {
            let body = [&u16::to_be_bytes(code)[..], reason.as_bytes()].concat();
            assert_eq!(events(&frame(CLOSE, &body)), [Event::Close(Some(code))]);
        }
    }
}

#[test]
fn bad_utf8_is_refused() {
    let cut = "\u{20ac}".as_bytes();
    let table = [
        frame(FINAL | TEXT, b"\xff"),
        frame(FINAL | BINARY, b"\xc0\x80"),
        frame(FINAL | TEXT, b"\xed\xa0\x80"),
        frame(FINAL | TEXT, &cut[..2]),
        [frame(TEXT, &cut[..1]), frame(FINAL, b"x")].concat(),
        frame(CLOSE, b"\x03\xe8\xff"),
    ];
    for bytes in table {
        let (events, error) = decode(&bytes);
        assert_eq!(events, []);
        assert!(matches!(error, Some(TransportError::InvalidUtf8)), "{error:?}");
    }
}

/// Decodes each byte on its own. Returns after how many of them there was an error.
fn refused_after(bytes: &[u8]) -> Option<usize> {
    let mut decoder = Decoder::new(LIMIT);
    bytes.iter().position(|byte| decoder.decode(&mut &[*byte][..]).is_err()).map(|index| index + 1)
}

#[test]
fn bad_utf8_is_refused_at_the_byte_that_shows_it() {
    let sound = "h\u{e9}\u{20ac}\u{1f600}".as_bytes();
    let table: [(&[u8], usize); 7] = [
        (b"\xff", 1),
        (b"\x80", 1),
        (b"\xed\xa0\x80", 2),
        (b"\xe0\x80\x80", 2),
        (b"\xf4\x90\x80\x80", 2),
        (b"\xe2\x82x", 3),
        (b"\xf0\x9f\x98x", 4),
    ];
    for (broken, shown) in table {
        let text = [sound, broken, &[b'x'; 200]].concat();
        let whole = frame(FINAL | TEXT, &text);
        let header = whole.len() - text.len();
        assert_eq!(refused_after(&whole), Some(header + sound.len() + shown), "{broken:x?}");

        let fragments = [frame(TEXT, &sound[..2]), frame(PING, b""), frame(0, &text[2..])].concat();
        let header = fragments.len() - text.len();
        assert_eq!(refused_after(&fragments), Some(header + sound.len() + shown), "{broken:x?}");
    }
    assert_eq!(refused_after(&frame(FINAL | TEXT, sound)), None);
}

proptest! {
    #[test]
    fn an_unfinished_message_is_refused_when_no_text_begins_so(
        text in any_message(), noise in prop::collection::vec(any::<u8>(), 0..4),
        sizes in prop::collection::vec(1..30_usize, 1..8),
    ) {
        let bytes = [text.as_bytes(), &noise].concat();
        let may_be_text = match std::str::from_utf8(&bytes) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none(),
        };
        let unfinished = [frame(TEXT, &bytes), frame(0, b"")].concat();
        let (events, error) = decode_in(&sizes, &unfinished);
        prop_assert!(events.is_empty());
        prop_assert_eq!(error.is_none(), may_be_text);
    }
}

#[test]
fn oversized_messages_are_refused_by_their_header() {
    let half = LIMIT / 2;
    let start = frame(TEXT, &vec![b'x'; half]);
    let header = |first: u8, length: u64| {
        [&[first, 0xff][..], &length.to_be_bytes()[..], &MASK[..]].concat()
    };
    let table = [
        (header(0x81, LIMIT as u64 + 1), LIMIT as u64 + 1),
        (header(0x82, u64::MAX), u64::MAX),
        ([start.clone(), header(0x80, half as u64 + 1)].concat(), LIMIT as u64 + 1),
        ([start, header(0x80, u64::MAX)].concat(), u64::MAX),
    ];
    for (bytes, expected) in table {
        let error = decode(&bytes).1;
        let Some(TransportError::MessageTooBig { bytes, limit }) = error else {
            panic!("{error:?}");
        };
        assert_eq!((bytes, limit), (expected, LIMIT));
    }
}

#[test]
fn nothing_is_kept_between_messages() {
    let mut decoder = Decoder::new(LIMIT);
    let bytes =
        [frame(FINAL | TEXT, &[b'x'; 5000]), frame(PING, b"payload"), frame(PONG, b"payload")]
            .concat();
    let mut rest = &bytes[..];
    while let Ok(Some(_)) = decoder.decode(&mut rest) {}
    assert!(rest.is_empty());
    assert_eq!(decoder.message.capacity() + decoder.control.capacity(), 0);
}

#[test]
fn an_announced_length_reserves_little() {
    let mut decoder = Decoder::new(usize::MAX);
    let header = [&[0x81, 0xff][..], &(1_u64 << 40).to_be_bytes()[..], &MASK[..]].concat();
    assert!(matches!(decoder.decode(&mut &header[..]), Ok(None)));
    assert!(decoder.message.capacity() <= RESERVE_BYTES_MAX);
}

fn any_message() -> impl Strategy<Value = String> {
    prop_oneof![4 => "(?s).{0,40}", 1 => "[a-z\u{e9}]{100,400}"]
}

/// The frames of a message in fragments, with a ping after each.
fn fragments(text: &str, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        let opcode = if index == 0 { TEXT } else { 0 };
        let last = if index + 1 == chunks.len() { FINAL } else { 0 };
        bytes.extend(frame(opcode | last, chunk));
        bytes.extend(frame(PING, &chunk[..chunk.len().min(125)]));
    }
    bytes
}

#[cfg(feature = "sockjs")]
proptest! {
    #[test]
    fn a_tungstenite_client_reads_our_sockjs_frames(
        messages in prop::collection::vec(any_message(), 1..6),
    ) {
        let texts = messages.iter().map(String::as_str);
        let sockjs = read_as_client(&RAW.in_sockjs().encode(texts));
        prop_assert_eq!(sockjs.len(), 1);
        let array = sockjs[0].strip_prefix('a').expect("an array frame");
        let array: Vec<String> = serde_json::from_str(array).expect("JSON");
        prop_assert_eq!(&array, &messages);
    }
}

proptest! {
    #[test]
    fn portions_make_no_difference(
        messages in prop::collection::vec((any_message(), 1..50_usize), 1..5),
        sizes in prop::collection::vec(1..30_usize, 1..8),
    ) {
        let streams = messages.iter().map(|(text, size)| fragments(text, *size));
        let mut bytes: Vec<u8> = streams.flatten().collect();
        bytes.extend(frame(CLOSE, b"\x03\xe8bye"));
        let whole = events(&bytes);
        let sent: Vec<&str> = messages.iter().map(|(text, _)| text.as_str())
            .filter(|text| !text.is_empty()).collect();
        let read: Vec<&str> = whole.iter().filter_map(|event| match event {
            Event::Message(text) => Some(text.as_str()),
            _ => None,
        }).collect();
        prop_assert_eq!(read, sent);
        let (portioned, error) = decode_in(&sizes, &bytes);
        prop_assert!(error.is_none());
        prop_assert_eq!(portioned, whole);
    }

    #[test]
    fn noise_never_panics_and_portions_agree(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        sizes in prop::collection::vec(1..20_usize, 1..5),
    ) {
        let whole = decode(&bytes);
        let portioned = decode_in(&sizes, &bytes);
        prop_assert_eq!(format!("{whole:?}"), format!("{portioned:?}"));
    }

    #[test]
    fn damaged_streams_never_panic(
        text in any_message(), size in 1..20_usize, at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut bytes = fragments(&text, size);
        bytes.extend(frame(PING, b""));
        let place = at.index(bytes.len());
        bytes[place] = byte;
        let whole = decode(&bytes);
        prop_assert_eq!(format!("{whole:?}"), format!("{:?}", decode_in(&[1], &bytes)));
    }

    #[test]
    fn a_tungstenite_client_reads_our_frames(
        messages in prop::collection::vec(any_message(), 1..6),
    ) {
        let texts = || messages.iter().map(String::as_str);
        let raw = read_as_client(&RAW.encode(texts()));
        prop_assert_eq!(&raw, &messages);
    }

    #[test]
    fn a_tungstenite_clients_frames_are_read(
        messages in prop::collection::vec(any_message(), 1..6),
    ) {
        let stream = io::Cursor::new(Vec::new());
        let mut client = WebSocket::from_raw_socket(stream, Role::Client, None);
        for text in &messages {
            client.send(Message::text(text.clone())).expect("memory takes all");
        }
        let read = events(client.get_ref().get_ref());
        let expected: Vec<Event> = messages.into_iter().map(Event::Message).collect();
        prop_assert_eq!(read, expected);
    }
}

fn read_as_client(frames: &Bytes) -> Vec<String> {
    let stream = io::Cursor::new(frames.to_vec());
    let mut client = WebSocket::from_raw_socket(stream, Role::Client, None);
    let mut texts = Vec::new();
    while let Ok(message) = client.read() {
        texts.push(message.into_text().expect("a text").to_string());
    }
    assert_eq!(client.get_ref().position(), frames.len() as u64);
    texts
}
