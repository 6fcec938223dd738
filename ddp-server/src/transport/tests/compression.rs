//! permessage-deflate over TCP, with a client written here: tungstenite has no extensions.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::transport::Compression;

const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// First bytes and payloads.
type Frames<'a> = &'a [(u8, &'a [u8])];

/// A client that sees raw frames.
pub(super) struct Wire(TcpStream);

impl Wire {
    /// Shakes hands, and returns the server's answer to the extensions offered.
    pub(super) async fn open(addr: SocketAddr, path: &str, offer: &str) -> (Self, Option<String>) {
        let mut stream = TcpStream::connect(addr).await.expect("a connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: {offer}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("an open connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).expect("a text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let answer = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        (Self(stream), answer.map(str::to_owned))
    }

    pub(super) async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0xff];
        frame.extend((payload.len() as u64).to_be_bytes());
        if payload.len() < 126 {
            frame = vec![first, 0x80 | payload.len() as u8];
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.0.write_all(&frame).await.expect("an open connection");
    }

    /// The first byte of the next frame, and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let reading = async {
            let first = self.0.read_u8().await?;
            let length = match self.0.read_u8().await? {
                126 => u64::from(self.0.read_u16().await?),
                127 => self.0.read_u64().await?,
                short => u64::from(short),
            };
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await?;
            io::Result::Ok((first, payload))
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.expect("a frame in time").expect("an open connection")
    }

    /// The next message, and whether it was compressed.
    pub(super) async fn message(&mut self) -> (bool, String) {
        let (first, payload) = self.frame().await;
        let payload = match first {
            0x81 => payload,
            0xc1 => inflate(payload),
            _ => panic!("no text but {first:x} {payload:x?}"),
        };
        (first == 0xc1, String::from_utf8(payload).expect("a text"))
    }

    async fn close_code(&mut self) -> u16 {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x88, "{payload:x?}");
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

/// RFC 7692 section 7.2.1.
pub(super) fn deflate(level: u32, message: &[u8]) -> Vec<u8> {
    let mut compressor = Compress::new(flate2::Compression::new(level), false);
    let mut output = Vec::with_capacity(message.len() * 2 + 100);
    compressor.compress_vec(message, &mut output, FlushCompress::Sync).expect("room");
    output.truncate(output.len() - 4);
    output
}

/// RFC 7692 section 7.2.2.
fn inflate(mut payload: Vec<u8>) -> Vec<u8> {
    payload.extend([0, 0, 0xff, 0xff]);
    // DEFLATE shrinks by a factor of 1032 at most.
    let mut output = Vec::with_capacity((payload.len() * 1032).min(5 << 20));
    let mut decompressor = Decompress::new(false);
    decompressor.decompress_vec(&payload, &mut output, FlushDecompress::Sync).expect("sound data");
    output
}

/// JSON of some length with some repetition.
fn json(length: usize) -> String {
    let fields = (0_u64..).map(|number| format!("\"key{number}\":{},", number * number));
    let mut text = String::new();
    for field in fields {
        if text.len() >= length {
            break;
        }
        text.push_str(&field);
    }
    text.truncate(length);
    text
}

#[tokio::test]
async fn the_endpoint_negotiates_and_echoes() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    for path in ["/websocket", "/websocket/"] {
        let (mut client, answer) = Wire::open(addr, path, "permessage-deflate").await;
        assert_eq!(answer.as_deref(), Some(ANSWER));
        let text = json(5000);
        client.send(0xc1, &deflate(6, text.as_bytes())).await;
        assert_eq!(client.message().await, (true, text.clone()));
        // A client need not compress, and the server does not compress short messages.
        client.send(0x81, text.as_bytes()).await;
        assert_eq!(client.message().await, (true, text));
        client.send(0xc1, &deflate(6, b"short")).await;
        assert_eq!(client.message().await, (false, "short".to_owned()));
    }
}

#[cfg(feature = "sockjs")]
#[tokio::test]
async fn sockjs_negotiates_and_echoes() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let (mut client, answer) = Wire::open(addr, "/sockjs/websocket", "permessage-deflate").await;
    assert_eq!(answer.as_deref(), Some(ANSWER));
    let text = json(5000);
    client.send(0xc1, &deflate(6, text.as_bytes())).await;
    assert_eq!(client.message().await, (true, text));

    let path = "/sockjs/000/abcdefgh/websocket";
    let (mut client, answer) = Wire::open(addr, path, "permessage-deflate").await;
    assert_eq!(answer.as_deref(), Some(ANSWER));
    assert_eq!(client.message().await, (false, "o".to_owned()));
    let text = "sockjs ".repeat(100);
    client.send(0xc1, &deflate(6, format!("[\"{text}\"]").as_bytes())).await;
    assert_eq!(client.message().await, (true, format!("a[\"{text}\"]")));
}

/// Like Autobahn's cases 12 and 13: sizes times offers. After a declined offer, messages are not
/// compressed.
#[tokio::test]
async fn every_offer_with_many_sizes() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let name = "permessage-deflate";
    let table = [
        (name.to_owned(), true),
        (format!("{name}; client_max_window_bits"), true),
        (format!("{name}; client_max_window_bits=9"), true),
        (format!("{name}; client_no_context_takeover; client_max_window_bits"), true),
        (format!("{name}; server_no_context_takeover"), true),
        (format!("{name}; server_max_window_bits=9"), false),
        (format!("{name}; server_max_window_bits=15"), true),
        (format!("{name}; server_no_context_takeover; server_max_window_bits=9"), false),
        (format!("{name}; server_no_context_takeover; server_max_window_bits=15"), true),
        (
            format!(
                "{name}; server_no_context_takeover; server_max_window_bits=9, \
                 {name}; server_no_context_takeover, {name}"
            ),
            true,
        ),
        (format!("{name}; surprise"), false),
        ("x-webkit-deflate-frame".to_owned(), false),
    ];
    for (offer, taken) in table {
        let (mut client, answer) = Wire::open(addr, "/websocket", &offer).await;
        assert_eq!(answer.is_some(), taken, "{offer}");
        for size in [0, 16, 64, 127, 128, 256, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072] {
            let text = json(size);
            if taken {
                client.send(0xc1, &deflate(6, text.as_bytes())).await;
            } else {
                client.send(0x81, text.as_bytes()).await;
            }
            let (compressed, echoed) = client.message().await;
            assert!(echoed == text, "{size} with {offer}");
            assert!(!compressed || taken);
            assert!(compressed || !taken || size < 256, "{size}");
        }
    }
}

#[tokio::test]
async fn fragments_of_a_compressed_message_join_around_pings() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let text = format!("{}\u{1f600}\u{e9}", json(3000));
    let payload = deflate(6, text.as_bytes());
    for size in [1, 7, 128, payload.len() - 1] {
        let (mut client, _) = Wire::open(addr, "/websocket", "permessage-deflate").await;
        let chunks: Vec<&[u8]> = payload.chunks(size).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            let first = if index == 0 { 0x41 } else { 0 };
            let last = if index + 1 == chunks.len() { 0x80 } else { 0 };
            client.send(first | last, chunk).await;
            if index == 0 {
                client.send(0x89, b"within").await;
                assert_eq!(client.frame().await, (0x8a, b"within".to_vec()));
            }
        }
        assert_eq!(client.message().await, (true, text.clone()));
    }
}

#[tokio::test]
async fn a_mebibyte_comes_back_compressed() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let (mut client, _) = Wire::open(addr, "/websocket", "permessage-deflate").await;
    for text in [json(1 << 20), "x".repeat(4 << 20)] {
        for level in [0, 1, 9] {
            client.send(0xc1, &deflate(level, text.as_bytes())).await;
            let (compressed, echoed) = client.message().await;
            assert!(compressed && echoed == text, "level {level}");
        }
    }
}

#[tokio::test]
async fn faults_close_with_their_code() {
    let config = TransportConfig { message_bytes_max: 1000, ..TransportConfig::default() };
    let (addr, _) = serve_echo(config).await;
    let (fits, bomb) = (deflate(6, &[b'x'; 1000]), deflate(6, &vec![b'x'; 1 << 20]));
    let table: [(&str, Frames<'_>, u16); 9] = [
        ("a bomb", &[(0xc1, &bomb[..1000])], 1009),
        ("a byte too much", &[(0xc1, &deflate(6, &[b'x'; 1001]))], 1009),
        ("a payload beyond all use", &[(0xc1, &[0; 1190])], 1009),
        ("no DEFLATE data", &[(0xc1, b"\x06\x00")], 1007),
        ("truncated data", &[(0xc1, &fits[..fits.len() / 2])], 1007),
        ("no UTF-8", &[(0xc1, &deflate(6, b"\xff\xfe"))], 1007),
        ("RSV1 on a continuation", &[(0x41, &fits[..1]), (0xc0, &fits[1..])], 1002),
        ("RSV1 on a ping", &[(0xc9, b"")], 1002),
        ("RSV2", &[(0xe1, &fits)], 1002),
    ];
    for (what, frames, code) in table {
        let (mut client, _) = Wire::open(addr, "/websocket", "permessage-deflate").await;
        client.send(0xc1, &fits).await;
        assert_eq!(client.message().await.1, "x".repeat(1000));
        for (first, payload) in frames {
            client.send(*first, payload).await;
        }
        assert_eq!(client.close_code().await, code, "{what}");
    }
    let (mut client, answer) = Wire::open(addr, "/websocket", "").await;
    assert_eq!(answer, None);
    client.send(0xc1, &fits).await;
    assert_eq!(client.close_code().await, 1002, "RSV1 without negotiation");
}

#[tokio::test]
async fn compression_can_be_off_or_eager() {
    let off = TransportConfig { deflate: None, ..TransportConfig::default() };
    let (addr, _) = serve_echo(off).await;
    let (_, answer) = Wire::open(addr, "/websocket", "permessage-deflate").await;
    assert_eq!(answer, None);
    let eager = Compression { level: 9, message_bytes_min: 0 };
    let eager = TransportConfig { deflate: Some(eager.into()), ..TransportConfig::default() };
    let (addr, _) = serve_echo(eager).await;
    let (mut client, _) = Wire::open(addr, "/websocket", "permessage-deflate").await;
    client.send(0x81, &[b'x'; 30]).await;
    assert_eq!(client.message().await, (true, "x".repeat(30)));
}
