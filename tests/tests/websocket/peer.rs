//! A client that sends and reads frame by frame, or byte by byte.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::PATIENCE;

// The bits of a frame's first byte, and the opcodes.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const RSV2: u8 = 0x20;
pub(crate) const RSV3: u8 = 0x10;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A line of a transcript.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// The client's frame: the first byte and the payload.
    Send(u8, &'a [u8]),
    /// Anything else that the client sends.
    Bytes(&'a [u8]),
    /// The server's next frame.
    Recv(u8, &'a [u8]),
    /// The server's close frame, its code, and nothing after it but the end of the stream.
    Closed(Option<u16>),
}

/// How output between two answers is split into writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Writes {
    /// Not at all.
    Whole,
    /// One for each frame.
    Frames,
    /// One for this many bytes each.
    Chopped(usize),
}

/// Plays a transcript on new connections, once for each way of writing.
pub(crate) async fn play(what: &str, address: SocketAddr, path: &str, steps: &[Step<'_>]) {
    for writes in [Writes::Whole, Writes::Frames, Writes::Chopped(1), Writes::Chopped(1009)] {
        let longest = steps.iter().map(|step| match step {
            Step::Send(_, payload) => payload.len(),
            _ => 0,
        });
        if matches!(writes, Writes::Chopped(1)) && longest.sum::<usize>() > 2000 {
            continue;
        }
        let mut peer = Peer::connect(address, path).await;
        peer.play(&format!("{what}, {writes:?}"), writes, steps).await;
    }
}

/// A WebSocket client after its handshake.
pub(crate) struct Peer {
    stream: BufReader<TcpStream>,
    /// The server's answer to the extensions offered.
    pub(crate) extensions: Option<String>,
    frames_sent: u32,
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr, path: &str) -> Self {
        Self::offer(address, path, "").await.expect("a WebSocket")
    }

    /// Shakes hands with further lines in the request. An error is the head of a refusal.
    pub(crate) async fn offer(
        address: SocketAddr,
        path: &str,
        lines: &str,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {lines}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        let read = async { while stream.read_line(&mut head).await.unwrap() > 2 {} };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(head);
        }
        let extensions =
            head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        let extensions = extensions.map(str::to_owned);
        Ok(Self { stream, extensions, frames_sent: 0 })
    }

    /// A masked frame with the shortest header, with a different mask each time.
    fn frame(&mut self, first: u8, payload: &[u8]) -> Vec<u8> {
        self.frames_sent += 1;
        let mask = self.frames_sent.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let mut frame = header(first, payload.len() as u64);
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, first: u8, payload: &[u8]) {
        let frame = self.frame(first, payload);
        self.write(&frame).await;
    }

    /// Sends a frame's header with a mask of zeros, and the available payload.
    pub(crate) async fn begin(&mut self, first: u8, length: u64, payload: &[u8]) {
        let mut bytes = header(first, length);
        bytes.extend([0; 4]);
        bytes.extend(payload);
        self.write(&bytes).await;
    }

    /// Sends bytes unchanged.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("an open connection");
    }

    /// Ends the client's half of the stream.
    pub(crate) async fn hang_up(&mut self) {
        self.stream.shutdown().await.expect("an open connection");
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) async fn recv(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = tokio::time::timeout(PATIENCE, self.read_frame()).await;
        read.expect("a frame in time")
    }

    async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = match self.stream.read_u8().await {
            Ok(first) => first,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "not reset");
                return None;
            }
        };
        let length = match self.stream.read_u8().await.unwrap() {
            126 => u64::from(self.stream.read_u16().await.unwrap()),
            127 => self.stream.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        assert!(length < 1 << 63, "a server does not mask");
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await.unwrap();
        Some((first, payload))
    }

    /// Checks that the server has read everything sent so far, and is alive.
    pub(crate) async fn pong(&mut self) {
        self.send(FIN | PING, b"there?").await;
        loop {
            match self.recv().await {
                Some((first, _)) if first == FIN | PONG => return,
                Some((first, _)) if first & !RSV1 == FIN | TEXT => {}
                other => panic!("no pong but {other:x?}"),
            }
        }
    }

    /// Returns what comes before the close frame, and that frame's payload. It must be the last.
    pub(crate) async fn end(&mut self) -> (Vec<(u8, Vec<u8>)>, Vec<u8>) {
        let mut frames = Vec::new();
        while let Some(frame) = self.recv().await {
            frames.push(frame);
        }
        let closes = frames.iter().filter(|(first, _)| *first == FIN | CLOSE).count();
        let last = frames.pop().expect("a close frame");
        assert_eq!((closes, last.0), (1, FIN | CLOSE), "{frames:x?}, {last:x?}");
        (frames, last.1)
    }

    /// The code of the close frame, however much comes before it.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        code(&self.end().await.1)
    }

    /// Plays a transcript.
    pub(crate) async fn play(&mut self, what: &str, writes: Writes, steps: &[Step<'_>]) {
        let mut unsent = Vec::new();
        for step in steps {
            match *step {
                Step::Send(first, payload) => unsent.push(self.frame(first, payload)),
                Step::Bytes(bytes) => unsent.push(bytes.to_vec()),
                Step::Recv(first, payload) => {
                    self.flush(writes, &mut unsent).await;
                    let (found, frame) = self.recv().await.expect(what);
                    assert_eq!(found, first, "{what}");
                    assert!(frame == payload, "{what}: {}", String::from_utf8_lossy(&frame));
                }
                Step::Closed(code) => {
                    self.flush(writes, &mut unsent).await;
                    let (frames, body) = self.end().await;
                    assert_eq!((frames, self::code(&body)), (vec![], code), "{what}");
                }
            }
        }
        assert!(unsent.is_empty(), "{what}: a transcript ends with an answer");
    }

    async fn flush(&mut self, writes: Writes, unsent: &mut Vec<Vec<u8>>) {
        let size = match writes {
            Writes::Whole => usize::MAX,
            Writes::Chopped(size) => size,
            Writes::Frames => {
                for frame in unsent.drain(..) {
                    self.write(&frame).await;
                    tokio::task::yield_now().await;
                }
                return;
            }
        };
        for piece in std::mem::take(unsent).concat().chunks(size) {
            self.write(piece).await;
            tokio::task::yield_now().await;
        }
    }
}

/// A header without its mask.
fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => header.push(0x80 | length),
        (_, Ok(length)) => {
            header.push(0x80 | 126);
            header.extend(length.to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header
}

/// The code in a close frame's payload.
fn code(payload: &[u8]) -> Option<u16> {
    assert_ne!(payload.len(), 1, "half a code");
    payload.first_chunk().copied().map(u16::from_be_bytes)
}
