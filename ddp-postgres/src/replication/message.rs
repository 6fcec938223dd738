//! Those messages of PostgreSQL's output plugin `pgoutput` that the feed needs.

use bytes::{Buf, Bytes};
use pgwire_replication::Lsn;

use crate::error::Error;

/// A message of the output plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The messages of a transaction follow. Has the lower half of its id.
    Begin { transaction: u32 },
    /// The arguments of `pg_logical_emit_message`.
    Logical { transactional: bool, prefix: String, content: Bytes },
    /// The transaction is complete. The WAL up to this position is no longer needed.
    Commit { end: Lsn },
    /// Messages of a transaction in progress follow.
    StreamStart { transaction: u32 },
    /// No more of them for now.
    StreamStop,
    /// A streamed transaction has committed.
    StreamCommit { transaction: u32, end: Lsn },
    /// A streamed transaction was rolled back, or one of its subtransactions if the ids differ.
    StreamAbort { transaction: u32, subtransaction: u32 },
    /// Not needed here.
    Other,
}

impl Message {
    /// Parses a message of protocol version 2. `in_stream` is whether it is between
    /// [`StreamStart`](Self::StreamStart) and [`StreamStop`](Self::StreamStop).
    pub(crate) fn parse(mut data: Bytes, in_stream: bool) -> Result<Self, Error> {
        let malformed = || Error::malformed("logical replication message");
        match data.try_get_u8().map_err(|_| malformed())? {
            b'B' if data.remaining() >= 20 => {
                // Skip the position and the time of its commit.
                data.advance(16);
                Ok(Self::Begin { transaction: data.get_u32() })
            }
            b'C' if data.remaining() >= 17 => {
                // Skip the flags and the position of the commit.
                data.advance(9);
                Ok(Self::Commit { end: Lsn::from_u64(data.get_u64()) })
            }
            b'S' if data.remaining() >= 5 => Ok(Self::StreamStart { transaction: data.get_u32() }),
            b'E' => Ok(Self::StreamStop),
            b'c' if data.remaining() >= 21 => {
                let transaction = data.get_u32();
                // Skip the flags and the position of the commit.
                data.advance(9);
                Ok(Self::StreamCommit { transaction, end: Lsn::from_u64(data.get_u64()) })
            }
            b'A' if data.remaining() >= 8 => {
                let transaction = data.get_u32();
                Ok(Self::StreamAbort { transaction, subtransaction: data.get_u32() })
            }
            b'M' if data.remaining() >= if in_stream { 13 } else { 9 } => {
                if in_stream {
                    // Skip the transaction id, which `StreamStart` had.
                    data.advance(4);
                }
                let transactional = data.get_u8() & 1 != 0;
                // Skip its position.
                data.advance(8);
                let prefix = c_string(&mut data).ok_or_else(malformed)?;
                let length = data.try_get_u32().map_err(|_| malformed())?;
                if usize::try_from(length) != Ok(data.remaining()) {
                    return Err(malformed());
                }
                Ok(Self::Logical { transactional, prefix, content: data })
            }
            b'B' | b'C' | b'M' | b'S' | b'c' | b'A' => Err(malformed()),
            _ => Ok(Self::Other),
        }
    }
}

/// The beginning of the arguments of `pg_logical_emit_message` in a message that may be cut off: whether
/// it is of a transaction, and the prefix. `None` if it is another message, or the prefix is too long.
pub(super) fn logical(data: &[u8], in_stream: bool) -> Option<(bool, &str)> {
    let data = data.strip_prefix(b"M")?;
    let (_, data) = data.split_at_checked(if in_stream { 4 } else { 0 })?;
    // Skip its position.
    let (flags, data) = (data.first()?, data.get(9..)?);
    let end = data.iter().position(|byte| *byte == 0)?;
    Some((flags & 1 != 0, std::str::from_utf8(&data[..end]).ok()?))
}

fn c_string(data: &mut Bytes) -> Option<String> {
    let end = data.iter().position(|byte| *byte == 0)?;
    let text = String::from_utf8_lossy(&data[..end]).into_owned();
    data.advance(end + 1);
    Some(text)
}

/// The first column of a row as text; `None` if it is null or there is none.
pub(super) fn first_column(row: &Bytes) -> Result<Option<String>, Error> {
    let malformed = || Error::malformed("row");
    let mut row = row.clone();
    if row.try_get_u16().map_err(|_| malformed())? == 0 {
        return Ok(None);
    }
    let length = row.try_get_i32().map_err(|_| malformed())?;
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let text = row.get(..length).ok_or_else(malformed)?;
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(data: &'static [u8]) -> Message {
        Message::parse(Bytes::from_static(data), false).unwrap()
    }

    #[test]
    fn reads_messages() {
        let mut data = b"M\x01\0\0\0\0\0\0\0\x07prefix\0\0\0\0\x02hi".to_vec();
        let message = Message::Logical {
            transactional: true,
            prefix: "prefix".to_owned(),
            content: Bytes::from_static(b"hi"),
        };
        assert_eq!(Message::parse(data.clone().into(), false).unwrap(), message);
        data.splice(1..1, [0, 0, 2, 1]);
        assert_eq!(Message::parse(data.clone().into(), true).unwrap(), message);
        data.pop();
        assert!(Message::parse(data.into(), true).is_err(), "cut off");
        let commit = b"C\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";
        assert_eq!(parse(commit), Message::Commit { end: Lsn::from_u64(2) });
        let begin = b"B\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x02\x01";
        assert_eq!(parse(begin), Message::Begin { transaction: 513 });
        assert_eq!(parse(b"R"), Message::Other);
    }

    #[test]
    fn reads_what_is_said_of_transactions_in_progress() {
        assert_eq!(parse(b"S\0\0\x02\x01\x01"), Message::StreamStart { transaction: 513 });
        assert_eq!(parse(b"E"), Message::StreamStop);
        let commit = b"c\0\0\x02\x01\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";
        let committed = Message::StreamCommit { transaction: 513, end: Lsn::from_u64(2) };
        assert_eq!(parse(commit), committed);
        let abort = Message::StreamAbort { transaction: 513, subtransaction: 514 };
        assert_eq!(parse(b"A\0\0\x02\x01\0\0\x02\x02"), abort);
    }

    #[test]
    fn messages_that_are_cut_off_are_refused() {
        for kind in [b'B', b'C', b'M', b'S', b'c', b'A'] {
            assert!(Message::parse(vec![kind, 0, 0].into(), false).is_err());
            assert!(Message::parse(vec![kind, 0, 0].into(), true).is_err());
        }
    }

    #[test]
    fn reads_the_first_column() {
        let row = Bytes::from_static(b"\0\x02\0\0\0\x031:2\xff\xff\xff\xff");
        assert_eq!(first_column(&row).unwrap().as_deref(), Some("1:2"));
        let null = Bytes::from_static(b"\0\x01\xff\xff\xff\xff");
        assert_eq!(first_column(&null).unwrap(), None);
        assert!(first_column(&Bytes::from_static(b"\0\x01\0\0\0\x09a")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in prop::sample::select(b"BCMScAx".to_vec())) {
            let mut data = vec![kind];
            data.extend_from_slice(&bytes);
            let _ = Message::parse(data.clone().into(), false);
            let _ = Message::parse(data.clone().into(), true);
            let _ = first_column(&data.into());
        }
    }
}
