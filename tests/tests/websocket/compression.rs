//! permessage-deflate (12 and 13).

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};

use crate::peer::Step::{Closed, Recv, Send};
use crate::peer::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Peer, RSV1, RSV2, RSV3, TEXT};
use crate::peer::{Step, Writes};
use crate::{DDP, ECHO, MESSAGE_BYTES_MAX, SOCKJS_ECHO, serve};

const NAME: &str = "permessage-deflate";
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// A message's payload (RFC 7692 section 7.2.1), with context that the next may refer to.
fn deflate_next(compressor: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(message.len() * 2 + 100);
    compressor.compress_vec(message, &mut output, FlushCompress::Sync).unwrap();
    assert!(output.ends_with(&[0, 0, 0xff, 0xff]));
    output.truncate(output.len() - 4);
    output
}

fn deflate(message: &[u8]) -> Vec<u8> {
    deflate_next(&mut Compress::new(flate2::Compression::new(6), false), message)
}

/// The content of a payload (RFC 7692 section 7.2.2).
fn inflate(payload: &[u8]) -> Vec<u8> {
    let payload = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut output = Vec::with_capacity(1 << 20);
    let sync = FlushDecompress::Sync;
    Decompress::new(false).decompress_vec(&payload, &mut output, sync).unwrap();
    output
}

async fn offer(address: std::net::SocketAddr, path: &str, offer: &str) -> Peer {
    let line = format!("Sec-WebSocket-Extensions: {offer}\r\n");
    Peer::offer(address, path, &line).await.expect(offer)
}

/// Plays a transcript with the extension.
async fn play(what: &str, address: std::net::SocketAddr, steps: &[Step<'_>]) {
    for writes in [Writes::Whole, Writes::Frames, Writes::Chopped(1)] {
        let mut peer = offer(address, ECHO, NAME).await;
        assert_eq!(peer.extensions.as_deref(), Some(ANSWER));
        peer.play(&format!("{what}, {writes:?}"), writes, steps).await;
    }
}

/// The server never uses the small windows that some clients would like, because clients share
/// frames. Nor does it keep any context, as the answer says.
#[tokio::test]
async fn offers_and_answers() {
    let address = serve().await;
    let fifteen = format!("{ANSWER}; server_max_window_bits=15");
    let taken = [
        ("", ANSWER),
        ("; client_max_window_bits", ANSWER),
        ("; client_max_window_bits=8", ANSWER),
        ("; client_max_window_bits=15", ANSWER),
        ("; client_no_context_takeover", ANSWER),
        ("; server_no_context_takeover", ANSWER),
        ("; server_no_context_takeover; client_no_context_takeover", ANSWER),
        ("; server_max_window_bits=15", &fifteen),
        ("; server_max_window_bits=15; client_max_window_bits", &fifteen),
        // Several offers: the first acceptable one wins.
        ("; server_max_window_bits=9, permessage-deflate", ANSWER),
        ("; unheard_of, permessage-deflate; client_max_window_bits", ANSWER),
        ("; server_max_window_bits=15, permessage-deflate", &fifteen),
        (", x-webkit-deflate-frame, permessage-bzip2; level=9", ANSWER),
    ];
    for path in [ECHO, SOCKJS_ECHO, DDP[0], DDP[1]] {
        for (parameters, answer) in taken {
            let peer = offer(address, path, &format!("{NAME}{parameters}")).await;
            assert_eq!(peer.extensions.as_deref(), Some(answer), "{parameters}");
        }
    }
    let declined = [
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; client_max_window_bits=ten",
        "permessage-deflate; server_no_context_takeover=true",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; unheard_of",
        "x-webkit-deflate-frame",
        "permessage-bzip2, unheard_of; a=1; b",
        "",
    ];
    for line in declined {
        let mut peer = offer(address, ECHO, line).await;
        assert_eq!(peer.extensions, None, "{line}");
        let steps = [
            Send(FIN | TEXT, b"goes on without"),
            Recv(FIN | TEXT, b"goes on without"),
            Send(FIN | RSV1 | TEXT, b"goes on without"),
            Closed(Some(1002)),
        ];
        peer.play(line, Writes::Frames, &steps).await;
    }
    for line in ["permessage-deflate;", "permessage-deflate; =9", "a b", "\"permessage-deflate\""] {
        let line = format!("Sec-WebSocket-Extensions: {line}\r\n");
        let refusal = Peer::offer(address, ECHO, &line).await.err().expect("no grammar");
        assert!(refusal.starts_with("HTTP/1.1 400 "), "{refusal}");
    }
    let lines = format!("Sec-WebSocket-Extensions: other\r\nSec-WebSocket-Extensions: {NAME}\r\n");
    let peer = Peer::offer(address, ECHO, &lines).await.expect("two lines are a list");
    assert_eq!(peer.extensions.as_deref(), Some(ANSWER));
}

#[tokio::test]
async fn long_answers_are_compressed() {
    let address = serve().await;
    for offered in ["permessage-deflate", "permessage-deflate; client_max_window_bits=9"] {
        let mut peer = offer(address, ECHO, offered).await;
        for size in [128, 1000, 65_536, 300_000] {
            let text = "{\"msg\":\"added\"}".repeat(size / 15 + 1);
            // Compressed, uncompressed and in stored blocks; the answer is the same.
            let mut stored = Compress::new(flate2::Compression::none(), false);
            let stored = deflate_next(&mut stored, text.as_bytes());
            for (first, payload) in [
                (FIN | RSV1 | TEXT, deflate(text.as_bytes())),
                (FIN | TEXT, text.clone().into_bytes()),
                (FIN | RSV1 | BINARY, stored),
            ] {
                peer.send(first, &payload).await;
                let (first, payload) = peer.recv().await.expect("an answer");
                assert_eq!(first, FIN | RSV1 | TEXT, "{size}");
                assert!(payload.len() < size / 2 && inflate(&payload) == text.as_bytes());
            }
        }
    }
}

#[tokio::test]
async fn compressed_fragments_make_one_message() {
    let address = serve().await;
    let text = "κόσμε 😀";
    let payload = deflate(text.as_bytes());
    let text = text.as_bytes();
    for cut in 0..=payload.len() {
        let (start, end) = payload.split_at(cut);
        let steps = [
            Send(RSV1 | TEXT, start),
            Send(FIN | PING, b"within"),
            Recv(FIN | PONG, b"within"),
            Send(CONTINUATION, b""),
            Send(FIN, end),
            Recv(FIN | TEXT, text),
            // Each message says for itself whether it is compressed.
            Send(TEXT, &text[..1]),
            Send(FIN, &text[1..]),
            Recv(FIN | TEXT, text),
        ];
        play(&format!("at {cut}"), address, &steps).await;
    }
    let mut steps: Vec<_> = payload.chunks(1).map(|byte| Send(CONTINUATION, byte)).collect();
    steps[0] = Send(RSV1 | TEXT, &payload[..1]);
    steps.extend([Send(FIN, b""), Recv(FIN | TEXT, text)]);
    play("byte by byte", address, &steps).await;
}

#[tokio::test]
async fn each_form_of_a_payload_is_read() {
    let address = serve().await;
    let table: [(&str, &[u8], &[u8]); 6] = [
        // RFC 7692 sections 7.2.3.1 and 7.2.3.3 to 7.2.3.6.
        ("one block", b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
        ("a stored block", b"\x00\x05\x00\xfa\xffHello\x00", b"Hello"),
        ("a last block", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
        ("two blocks", b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
        ("nothing", b"\x00", b""),
        ("nothing, as zlib says it", b"\x02\x00", b""),
    ];
    for (what, payload, text) in table {
        let steps = [
            Send(FIN | RSV1 | TEXT, payload),
            Recv(FIN | TEXT, text),
            Send(FIN | RSV1 | TEXT, payload),
            Recv(FIN | TEXT, text),
        ];
        play(what, address, &steps).await;
    }
}

#[tokio::test]
async fn reserved_bits_have_one_meaning_only() {
    let address = serve().await;
    let payload = deflate(b"compressed");
    let (start, end) = payload.split_at(3);
    let table: [(&str, &[_]); 8] = [
        ("on a continuation", &[Send(RSV1 | TEXT, start), Send(RSV1, end)]),
        ("on the last one", &[Send(RSV1 | TEXT, start), Send(FIN | RSV1, end)]),
        ("only on a continuation", &[Send(TEXT, b"plain"), Send(FIN | RSV1, end)]),
        ("on a ping", &[Send(FIN | RSV1 | PING, b"")]),
        ("on a ping within", &[Send(RSV1 | TEXT, start), Send(FIN | RSV1 | PING, b"")]),
        ("on a close frame", &[Send(FIN | RSV1 | CLOSE, b"\x03\xe8")]),
        ("the second", &[Send(FIN | RSV1 | RSV2 | TEXT, &payload)]),
        ("the third", &[Send(FIN | RSV3 | TEXT, b"plain")]),
    ];
    for (what, steps) in table {
        play(what, address, &[steps, &[Closed(Some(1002))]].concat()).await;
    }
}

#[tokio::test]
async fn payloads_that_do_not_inflate_are_refused() {
    let address = serve().await;
    let mut compressor = Compress::new(flate2::Compression::new(6), false);
    let first = deflate_next(&mut compressor, b"some context, some context");
    let second = deflate_next(&mut compressor, b"some context, some context");
    let cut = deflate(b"one and one and one and one and two");
    let table: [(&str, &[u8]); 6] = [
        ("no payload", b""),
        ("a reserved kind of block", b"\x06\x00"),
        ("a wrong length of a stored block", b"\x00\x05\x00\x00\x00Hello\x00"),
        ("half a message", &cut[..cut.len() / 2]),
        ("a reference to the message before", &second),
        ("no text", &deflate(b"\xff\xfe")),
    ];
    for (what, payload) in table {
        let steps = [
            Send(FIN | RSV1 | TEXT, &first),
            Send(FIN | RSV1 | TEXT, payload),
            Recv(FIN | TEXT, b"some context, some context"),
            Closed(Some(1007)),
        ];
        play(what, address, &steps).await;
    }
}

#[tokio::test]
async fn messages_that_inflate_beyond_the_limit_are_refused() {
    let address = serve().await;
    let bomb = deflate(&vec![b' '; 8 << 20]);
    assert!(bomb.len() < 1 << 20);
    let array = |size: usize| format!("[{}]", " ".repeat(size - 2));
    let small_bomb = deflate(array(MESSAGE_BYTES_MAX + 1).as_bytes());
    let fits = deflate(array(MESSAGE_BYTES_MAX).as_bytes());
    for path in DDP {
        let mut peer = offer(address, path, NAME).await;
        peer.send(FIN | RSV1 | TEXT, &fits).await;
        peer.pong().await;
        peer.send(RSV1 | TEXT, &small_bomb[..3]).await;
        peer.send(FIN, &small_bomb[3..]).await;
        assert_eq!(peer.close_code().await, Some(1009), "{path}");

        let mut peer = offer(address, path, NAME).await;
        peer.send(FIN | RSV1 | TEXT, &bomb).await;
        assert_eq!(peer.close_code().await, Some(1009), "{path}");
    }
    // Also where the payload itself is within the limit.
    let mut peer = offer(address, ECHO, NAME).await;
    peer.send(FIN | RSV1 | TEXT, &bomb).await;
    assert_eq!(peer.close_code().await, Some(1009));
}
