//! Reads the server's messages, and skips what is for others.
//!
//! Any program may write logical messages of up to a gigabyte into the log, and a replication
//! connection gets all of them. From the beginning of a long one it is clear whose it is.

use std::collections::HashSet;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use pgwire_replication::protocol::framing::BackendMessage;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::message::logical;
use crate::error::Error;

/// Messages up to this size are read whole, whosever they are.
const SHORT_BYTES_MAX: usize = 64 * 1024;
/// Of longer ones, this much tells whose they are: more than our channels take.
const HEAD_BYTES: usize = 4 * 1024;
/// The largest message that is read whole. The triggers send at most a MiB, which may be three in
/// another encoding.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much of a message is skipped before that counts as a sign of life.
const SKIPPED_BYTES: usize = 1024 * 1024;
/// The tag and the length.
const HEADER_BYTES: usize = 5;
/// The letter of data in a stream of changes, its two positions and its time.
const XLOG_HEADER_BYTES: usize = 25;

/// What has been read.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(BackendMessage),
    /// The beginning of a message on one of our channels that is too long to be ours. The rest of it is
    /// skipped.
    Head(Bytes),
    /// Some of a message for others.
    Skipped,
}

/// Reads messages, never holding more than one and what one read brings. Cancel-safe.
#[derive(Debug)]
pub(super) struct Reader {
    buffer: BytesMut,
    /// How much of the current message is still to be skipped.
    skip: usize,
    /// How much was skipped since that was last told.
    skipped: usize,
    /// The prefixes that are ours.
    channels: HashSet<String>,
    /// Whether messages have the id of their transaction.
    pub(super) in_stream: bool,
}

/// What to do with a message.
enum Verdict {
    /// This much of it must be there first.
    Wait(usize),
    Take(usize),
    TakeHead(usize),
    Skip(usize),
}

impl Reader {
    pub(super) fn new(channels: HashSet<String>) -> Self {
        Self { buffer: BytesMut::new(), skip: 0, skipped: 0, channels, in_stream: false }
    }

    pub(super) async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Incoming, Error> {
        loop {
            if self.skip > 0 {
                let bytes = self.skip.min(self.buffer.len());
                self.buffer.advance(bytes);
                self.skip -= bytes;
                self.skipped += bytes;
                if self.skip == 0 || self.skipped >= SKIPPED_BYTES {
                    self.skipped = 0;
                    return Ok(Incoming::Skipped);
                }
                self.fill(stream, SHORT_BYTES_MAX).await?;
                continue;
            }
            match self.verdict()? {
                Verdict::Wait(bytes) => self.fill(stream, bytes - self.buffer.len()).await?,
                Verdict::Take(bytes) => {
                    let mut message = self.buffer.split_to(bytes).freeze();
                    let tag = message[0];
                    message.advance(HEADER_BYTES);
                    return Ok(Incoming::Message(BackendMessage { tag, payload: message }));
                }
                Verdict::TakeHead(bytes) => {
                    // A copy, so that the buffer can be used again.
                    let head = Bytes::copy_from_slice(&self.buffer[HEADER_BYTES..HEAD_BYTES]);
                    self.skip = bytes;
                    return Ok(Incoming::Head(head));
                }
                Verdict::Skip(bytes) => self.skip = bytes,
            }
        }
    }

    fn verdict(&self) -> Result<Verdict, Error> {
        let Some((header, _)) = self.buffer.split_at_checked(HEADER_BYTES) else {
            return Ok(Verdict::Wait(HEADER_BYTES));
        };
        let (tag, mut length) = (header[0], &header[1..]);
        let length = usize::try_from(length.get_i32()).ok().filter(|length| *length >= 4);
        let bytes = 1 + length.ok_or_else(|| Error::malformed("length of a message"))?;
        if bytes > SHORT_BYTES_MAX && tag == b'd' {
            let Some(head) = self.buffer.get(HEADER_BYTES..HEAD_BYTES) else {
                return Ok(Verdict::Wait(HEAD_BYTES));
            };
            let prefix = logical(&head[XLOG_HEADER_BYTES..], self.in_stream);
            let is_ours = prefix.is_some_and(|(_, prefix)| self.channels.contains(prefix));
            return Ok(match bytes {
                _ if !is_ours => Verdict::Skip(bytes),
                MESSAGE_BYTES_MAX.. => Verdict::TakeHead(bytes),
                _ if self.buffer.len() < bytes => Verdict::Wait(bytes),
                _ => Verdict::Take(bytes),
            });
        }
        if bytes > MESSAGE_BYTES_MAX {
            return Err(Error::malformed("a message that is too long"));
        }
        Ok(if self.buffer.len() < bytes { Verdict::Wait(bytes) } else { Verdict::Take(bytes) })
    }

    /// Reads what there is, and makes room for this much more.
    async fn fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        bytes: usize,
    ) -> Result<(), Error> {
        self.buffer.reserve(bytes.max(SHORT_BYTES_MAX));
        let read = stream.read_buf(&mut self.buffer).await;
        match read.map_err(|error| Error::replication(error.into()))? {
            0 => Err(Error::replication(io::Error::from(io::ErrorKind::UnexpectedEof).into())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn reader() -> Reader {
        Reader::new(HashSet::from(["ours".to_owned()]))
    }

    /// A logical message of a transaction, as the stream has it.
    fn message(prefix: &str, content: &[u8]) -> Vec<u8> {
        let mut data = [b"w".as_slice(), &[0; 24], b"M\x01", &[0; 8], prefix.as_bytes()].concat();
        data.push(0);
        data.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        data.extend_from_slice(content);
        framed(b'd', &data)
    }

    fn framed(tag: u8, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len() + 4).unwrap().to_be_bytes();
        [&[tag][..], &length, data].concat()
    }

    /// All that is read until the stream ends, and the largest buffer on the way.
    async fn read_all(bytes: Vec<u8>, at_a_time: usize) -> (Vec<Incoming>, usize) {
        let (mut sender, stream) = tokio::io::duplex(at_a_time);
        let sending = async move {
            // It ends with an error once the reader has given up.
            let _ = sender.write_all(&bytes).await;
        };
        // It leaves the stream when it gives up, or the sender would wait for ever.
        let reading = async move {
            let mut stream = stream;
            let (mut reader, mut read, mut largest) = (reader(), Vec::new(), 0);
            loop {
                // Dropped each time the stream has nothing, as in a select.
                let next = tokio::select! {
                    biased;
                    next = reader.read(&mut stream) => next,
                    () = tokio::task::yield_now() => continue,
                };
                largest = largest.max(reader.buffer.capacity());
                match next {
                    Ok(incoming) => read.push(incoming),
                    Err(_) => return (read, largest),
                }
            }
        };
        tokio::join!(sending, reading).1
    }

    #[tokio::test]
    async fn what_is_for_others_is_skipped_and_never_kept() {
        let large = vec![b'x'; 32 * 1024 * 1024];
        let stream = [
            message("ours", b"first"),
            message("others", &large),
            message(&"o".repeat(100_000), b""),
            message("ours", &large[..1_000_000]),
            framed(b'd', &[b"w".as_slice(), &[0; 24], b"R", &large[..5_000_000]].concat()),
            message("ours", &large[..MESSAGE_BYTES_MAX]),
            message("ours", b"last"),
        ]
        .concat();
        for at_a_time in [7_000, 1_000_000] {
            let (read, largest) = read_all(stream.clone(), at_a_time).await;
            let mut sizes = Vec::new();
            for incoming in &read {
                match incoming {
                    Incoming::Message(message) => sizes.push(message.payload.len()),
                    Incoming::Head(head) => {
                        let (_, prefix) = logical(&head[XLOG_HEADER_BYTES..], false).unwrap();
                        assert_eq!(prefix, "ours");
                        sizes.push(0);
                    }
                    Incoming::Skipped => {}
                }
            }
            let length = |content: usize| content + message("ours", b"").len() - HEADER_BYTES;
            assert_eq!(sizes, [length(5), length(1_000_000), 0, length(4)]);
            assert!(read.iter().filter(|i| matches!(i, Incoming::Skipped)).count() >= 30);
            assert!(largest < 2 * 1024 * 1024, "{largest}");
        }
    }

    #[tokio::test]
    async fn nothing_else_may_be_long() {
        let long = vec![0; MESSAGE_BYTES_MAX];
        assert!(read_all(framed(b'E', &long), 100_000).await.0.is_empty());
        assert!(read_all(vec![b'd', 0, 0, 0, 3], 100).await.0.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, tag in prop::sample::select(b"dEx".to_vec())) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let length = (bytes.len() as u32).wrapping_mul(97).to_be_bytes();
            runtime.block_on(read_all([&[tag][..], &length, &bytes].concat(), 64));
        }
    }
}
