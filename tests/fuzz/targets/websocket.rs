//! Any bytes as what a WebSocket client sends after the handshake, in any chunks, with and without
//! permessage-deflate and SockJS.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use arbitrary::Unstructured;
use ddp_fuzz::heap::{self, Counting};
use ddp_fuzz::io::Chunks;
use ddp_fuzz::websocket::{Form, Frame, put_frame, take_frames};
use ddp_server::fuzzing::Socket;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Limits on messages.
const LIMITS: [usize; 8] = [0, 1, 16, 125, 1000, 4096, 65_536, 1_000_000];

/// The memory that a connection may take besides its messages.
const OVERHEAD: usize = 64 * 1024;

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

thread_local! {
    static COMPRESSOR: RefCell<Compress> =
        RefCell::new(Compress::new(flate2::Compression::fast(), false));
    static DECOMPRESSOR: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    static RUNTIME: Runtime = {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        // Do not count what each thread keeps for compression.
        let text = "x".repeat(1000);
        let socket = Socket { message_bytes_max: 1000, has_deflate: true, is_sockjs: false };
        let frames = as_client(&socket.encode(&[&text]));
        assert_eq!(run_in(&runtime, socket, &frames.into(), vec![]).messages, [text]);
        runtime
    };
}

fuzz_target!(|data: &[u8]| {
    let mut source = Unstructured::new(data);
    let flags: u8 = source.arbitrary().unwrap_or_default();
    let socket = Socket {
        message_bytes_max: LIMITS[usize::from(flags >> 5)],
        has_deflate: flags & 1 != 0,
        is_sockjs: flags & 2 != 0,
    };
    let sizes: [u8; 3] = source.arbitrary().unwrap_or_default();
    let rest = source.take_rest();
    match flags >> 2 & 3 {
        0 => check_own_frames(socket, rest),
        1 => check(socket, rest.to_vec(), sizes),
        _ => check(socket, client(Unstructured::new(rest)).unwrap_or_default(), sizes),
    }
});

/// The outcome of a connection.
#[derive(Debug, PartialEq)]
struct Outcome {
    messages: Vec<String>,
    end: Result<(), String>,
    sent: Vec<Frame>,
}

fn run(socket: Socket, input: &Arc<[u8]>, sizes: Vec<usize>) -> Outcome {
    RUNTIME.with(|runtime| run_in(runtime, socket, input, sizes))
}

fn run_in(runtime: &Runtime, socket: Socket, input: &Arc<[u8]>, sizes: Vec<usize>) -> Outcome {
    let mut messages = Vec::new();
    let (io, written) = Chunks::new(Arc::clone(input), sizes);
    let end = runtime.block_on(async { socket.receive(io, |text| messages.push(text)).await });
    let written = written.take();
    let mut rest = &written[..];
    let sent = take_frames(&mut rest);
    assert!(rest.is_empty(), "half a header");
    for frame in &sent {
        assert_eq!((frame.payload.len() as u64, frame.is_masked), (frame.length, false));
    }
    Outcome { messages, end, sent }
}

fn check(socket: Socket, input: Vec<u8>, sizes: [u8; 3]) {
    let input: Arc<[u8]> = input.into();
    let whole = run(socket, &input, Vec::new());
    for message in &whole.messages {
        assert!(message.len() <= socket.message_bytes_max);
    }
    check_end(&whole);
    if !socket.has_deflate && !socket.is_sockjs {
        check_messages(socket, &input, &whole);
    }
    let sizes = sizes.map(usize::from).to_vec();
    // Byte by byte is slow.
    let sizes = if input.len() < 500 { vec![vec![1], sizes] } else { vec![sizes] };
    for sizes in sizes.into_iter().filter(|sizes| sizes.iter().any(|size| *size > 0)) {
        let chunked = run(socket, &input, sizes);
        assert_eq!((&chunked.messages, &chunked.end), (&whole.messages, &whole.end));
        // One pong may stand for several pings, if they come together.
        let without_pongs = |outcome: &Outcome| {
            let sent = outcome.sent.iter().filter(|frame| frame.first != 0x8a);
            sent.cloned().collect::<Vec<_>>()
        };
        assert_eq!(without_pongs(&chunked), without_pongs(&whole));
        check_pongs(&input, &chunked.sent);
    }
    let most = heap::peak(|| {
        let (io, _written) = Chunks::new(Arc::clone(&input), Vec::new());
        let end = RUNTIME.with(|runtime| runtime.block_on(socket.receive(io, drop)));
        assert_eq!(end, whole.end);
    });
    let most_allowed = 8 * socket.message_bytes_max + OVERHEAD;
    assert!(most <= most_allowed, "{most} bytes, for messages of {}", socket.message_bytes_max);
}

/// A connection ends with a close frame, which is the last one sent. The end of the stream ends it
/// even without one.
fn check_end(outcome: &Outcome) {
    let close = outcome.sent.iter().position(|frame| frame.first & 0xf == 8);
    match close {
        Some(index) => {
            assert_eq!(index + 1, outcome.sent.len(), "frames after the close frame");
            let payload = &outcome.sent[index].payload;
            assert!(payload.is_empty() || payload.len() >= 2);
            if let Some(reason) = payload.get(2..) {
                assert!(str::from_utf8(reason).is_ok());
            }
        }
        None => assert_eq!(outcome.end, Ok(())),
    }
}

/// Each pong answers a ping, in order.
fn check_pongs(input: &[u8], sent: &[Frame]) {
    let frames = take_frames(&mut &*input);
    let mut pings = frames.iter().filter(|frame| frame.first == 0x89).map(|frame| &frame.payload);
    for pong in sent.iter().filter(|frame| frame.first == 0x8a) {
        assert!(pings.any(|ping| *ping == pong.payload), "{pong:?} answers nothing");
    }
}

/// Reads the frames by the letter of RFC 6455, section 5.
fn check_messages(socket: Socket, mut input: &[u8], outcome: &Outcome) {
    let frames = take_frames(&mut input);
    let (mut messages, mut parts): (Vec<String>, Option<Vec<u8>>) = (Vec::new(), None);
    let mut end = Ok(());
    for frame in &frames {
        let (is_final, opcode) = (frame.first & 0x80 != 0, frame.first & 0xf);
        let is_whole = frame.payload.len() as u64 == frame.length;
        let room = socket.message_bytes_max - parts.as_ref().map_or(0, Vec::len);
        let is_sound = frame.first & 0x70 == 0
            && frame.is_masked
            && match opcode {
                0 => parts.is_some() && frame.length <= room as u64,
                1 | 2 => parts.is_none() && frame.length <= room as u64,
                8 => is_final && frame.length <= 125 && (!is_whole || is_close(&frame.payload)),
                9 | 10 => is_final && frame.length <= 125,
                _ => false,
            };
        if !is_sound {
            end = Err(());
            break;
        }
        if opcode > 2 {
            if !is_whole || opcode == 8 {
                break;
            }
            continue;
        }
        let mut message = parts.take().unwrap_or_default();
        message.extend_from_slice(&frame.payload);
        let is_complete = is_whole && is_final;
        match str::from_utf8(&message) {
            Ok(message) if is_complete => messages.push(message.to_owned()),
            // A character may be incomplete as long as more may follow.
            Err(error) if is_complete || error.error_len().is_some() => {
                end = Err(());
                break;
            }
            _ => parts = Some(message),
        }
        if !is_whole {
            break;
        }
    }
    assert_eq!(outcome.messages, messages);
    // Some faults show in an incomplete header.
    if input.is_empty() || end.is_err() {
        assert_eq!(outcome.end.is_err(), end.is_err(), "{frames:?}");
    }
}

fn is_close(payload: &[u8]) -> bool {
    payload.len() != 1 && str::from_utf8(payload.get(2..).unwrap_or_default()).is_ok()
}

/// A client's frames, most of them valid.
fn client(mut source: Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let mut out = Vec::new();
    while !source.is_empty() {
        let (first, shape): (u8, u8) = source.arbitrary()?;
        // Whole text frames are the most interesting kind.
        let first = if shape & 1 == 0 { 0x81 | first & 0x40 } else { first };
        let mask = if shape & 0xe == 0xe { None } else { Some([shape, 0, first, 1]) };
        let form = [Form::Short, Form::Short, Form::Word, Form::Long][usize::from(shape >> 4 & 3)];
        let length = usize::from(source.arbitrary::<u8>()?).min(source.len());
        let bytes = source.bytes(length)?;
        let payload = match shape >> 6 {
            0 | 1 if first & 0x40 != 0 => compress(bytes, shape & 0x40 == 0),
            1 => bytes.repeat(1 + usize::from(first)),
            2 if first & 0x40 != 0 => compress(&bytes.repeat(1 << (first & 0xc)), false),
            _ => bytes.to_vec(),
        };
        // Once in a while, a length that is not honoured.
        let length = payload.len() + if shape == 0xff { usize::from(first) << 24 } else { 0 };
        put_frame(&mut out, first, mask, form, length, &payload);
    }
    Ok(out)
}

fn compress(bytes: &[u8], is_finished: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 64);
    let flush = if is_finished { FlushCompress::Finish } else { FlushCompress::Sync };
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        compressor.compress_vec(bytes, &mut out, flush).expect("room for all");
    });
    match out.strip_suffix(&TAIL) {
        Some(payload) if !is_finished => payload.to_vec(),
        _ => out,
    }
}

/// The server's own frames with a mask added.
fn as_client(mut frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in take_frames(&mut frames) {
        let mask = Some([1, 2, 3, 4]);
        put_frame(&mut out, frame.first, mask, Form::Short, frame.payload.len(), &frame.payload);
    }
    out
}

/// What is sent to a client are its messages, and what a client sends by the same rules can be
/// read.
fn check_own_frames(socket: Socket, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text =
        if bytes.first().is_some_and(|byte| byte & 1 == 1) { text.repeat(9) } else { text.into() };
    let messages: Vec<&str> = text.split('\u{1e}').collect();
    let encoded = socket.encode(&messages);
    let mut rest = &encoded[..];
    let frames = take_frames(&mut rest);
    assert!(rest.is_empty());
    let texts: Vec<String> =
        frames.iter().map(|frame| read_frame(frame, 8 * text.len() + 64)).collect();
    if socket.is_sockjs {
        let [text] = &*texts else { panic!("one frame for all") };
        let read: Vec<String> = serde_json::from_str(&text[1..]).expect("an array");
        assert!(text.starts_with('a') && read == messages);
        return;
    }
    assert_eq!(texts, messages);
    let longest = messages.iter().map(|message| message.len()).max().unwrap_or_default();
    let outcome = run(socket, &as_client(&encoded).into(), vec![]);
    if longest <= socket.message_bytes_max {
        assert_eq!((outcome.end, outcome.messages), (Ok(()), texts));
    } else {
        assert!(outcome.end.is_err());
    }
}

fn read_frame(frame: &Frame, longest: usize) -> String {
    assert_eq!((frame.first & 0xbf, frame.payload.len() as u64), (0x81, frame.length));
    if frame.first & 0x40 == 0 {
        return String::from_utf8(frame.payload.clone()).expect("text");
    }
    let mut out = Vec::with_capacity(longest);
    let payload = [&frame.payload[..], &TAIL].concat();
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        decompressor.reset(false);
        let read = decompressor.decompress_vec(&payload, &mut out, FlushDecompress::Sync);
        read.expect("compressed data");
    });
    assert!(out.len() > frame.payload.len(), "compressed for nothing");
    String::from_utf8(out).expect("text")
}
