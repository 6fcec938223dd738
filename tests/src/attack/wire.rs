//! A client that writes frames by hand, plain or compressed, and does nothing with what it gets.

use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt, sink};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::{Error, Victim};

/// The extension's offer, if messages are to be compressed.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// How many bytes the system takes for a client that does not.
const UNREAD_BYTES: u32 = 4096;

/// A WebSocket whose answers are thrown away, or not even read.
#[derive(Debug)]
pub(super) struct Wire {
    writer: OwnedWriteHalf,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Reads(JoinHandle<()>),
    Nobody(#[expect(dead_code, reason = "dropped, it would close the connection")] OwnedReadHalf),
}

/// A client's frame, which may be sent any number of times.
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// A whole text message.
    pub(super) fn new(text: &str, is_compressed: bool) -> Self {
        let (first, payload) =
            if is_compressed { (0xc1, deflate(text)) } else { (0x81, text.as_bytes().to_vec()) };
        let mut frame = vec![first, 0xff];
        frame.extend((payload.len() as u64).to_be_bytes());
        // A mask of zeros.
        frame.extend([0; 4]);
        frame.extend(payload);
        Self(frame)
    }

    /// Its first half.
    pub(super) fn half(mut self) -> Self {
        self.0.truncate(self.0.len() / 2);
        self
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl Wire {
    /// Connects, and says `connect`. If it is `unread`, nothing is read after the handshake.
    pub(super) async fn connect(
        victim: Victim,
        is_compressed: bool,
        is_unread: bool,
    ) -> Result<Self, Error> {
        let address = victim.address();
        let wrong = |error: std::io::Error| Error::Server(address, error.to_string());
        let v4 = address.is_ipv4();
        let socket = if v4 { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(wrong)?;
        if is_unread {
            socket.set_recv_buffer_size(UNREAD_BYTES).map_err(wrong)?;
        }
        let mut stream = socket.connect(address).await.map_err(wrong)?;
        let offer = if is_compressed { OFFER } else { "" };
        let request = format!(
            "GET /websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(wrong)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.map_err(wrong)?);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(Error::Server(address, String::from_utf8_lossy(&head).into_owned()));
        }
        let (mut reader, writer) = stream.into_split();
        let reader = if is_unread {
            Reader::Nobody(reader)
        } else {
            Reader::Reads(tokio::spawn(async move {
                // However it ends, the writer learns of it.
                let _ = tokio::io::copy(&mut reader, &mut sink()).await;
            }))
        };
        let mut wire = Self { writer, reader };
        let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
        wire.send(&Frame::new(connect, false)).await.map_err(wrong)?;
        Ok(wire)
    }

    /// Waits for as long as the server reads nothing.
    pub(super) async fn send(&mut self, frame: &Frame) -> std::io::Result<()> {
        self.writer.write_all(&frame.0).await
    }

    /// Waits until the server closes; for ever, if nobody would notice.
    pub(super) async fn closed(&mut self) {
        match &mut self.reader {
            // Only aborting it would be an error, and that is done when this is dropped.
            Reader::Reads(reader) => drop(reader.await),
            Reader::Nobody(_) => std::future::pending().await,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Reader::Reads(reader) = &self.reader {
            reader.abort();
        }
    }
}

/// RFC 7692 section 7.2.1.
fn deflate(text: &str) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut output = Vec::with_capacity(text.len() + 1024);
    compress
        .compress_vec(text.as_bytes(), &mut output, FlushCompress::Sync)
        .expect("there is room for the output");
    output.truncate(output.len() - 4);
    output
}
