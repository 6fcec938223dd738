//! The messages of PostgreSQL's output plugin `pgoutput`, as far as they are of use.

use bytes::{Buf, Bytes};
use pgwire_replication::Lsn;

use crate::error::Error;

/// A message of the output plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A transaction's messages follow. The lower half of its id.
    Begin { transaction: u32 },
    /// What `pg_logical_emit_message` was given.
    Logical { transactional: bool, prefix: String, content: Bytes },
    /// The transaction is complete. The WAL up to this position is not needed any more.
    Commit { end: Lsn },
    /// Of no use here.
    Other,
}

impl Message {
    pub(crate) fn parse(mut data: Bytes) -> Result<Self, Error> {
        let malformed = || Error::malformed("logical replication message");
        match data.try_get_u8().map_err(|_| malformed())? {
            b'B' if data.remaining() >= 20 => {
                // The position and the time of its commit come first.
                data.advance(16);
                Ok(Self::Begin { transaction: data.get_u32() })
            }
            b'C' if data.remaining() >= 17 => {
                // Flags and the position of the commit come first.
                data.advance(9);
                Ok(Self::Commit { end: Lsn::from_u64(data.get_u64()) })
            }
            b'M' if data.remaining() >= 9 => {
                let transactional = data.get_u8() & 1 != 0;
                // Its position.
                data.advance(8);
                let prefix = c_string(&mut data).ok_or_else(malformed)?;
                let length = data.try_get_u32().map_err(|_| malformed())?;
                if usize::try_from(length) != Ok(data.remaining()) {
                    return Err(malformed());
                }
                Ok(Self::Logical { transactional, prefix, content: data })
            }
            b'B' | b'C' | b'M' => Err(malformed()),
            _ => Ok(Self::Other),
        }
    }
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

    #[test]
    fn reads_messages() {
        let mut data = b"M\x01\0\0\0\0\0\0\0\x07prefix\0\0\0\0\x02hi".to_vec();
        let message = Message::Logical {
            transactional: true,
            prefix: "prefix".to_owned(),
            content: Bytes::from_static(b"hi"),
        };
        assert_eq!(Message::parse(data.clone().into()).unwrap(), message);
        data.pop();
        assert!(Message::parse(data.into()).is_err(), "cut off");
        let commit = b"C\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";
        let message = Message::parse(Bytes::from_static(commit)).unwrap();
        assert_eq!(message, Message::Commit { end: Lsn::from_u64(2) });
        let begin = b"B\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x02\x01";
        let message = Message::parse(Bytes::from_static(begin)).unwrap();
        assert_eq!(message, Message::Begin { transaction: 513 });
        assert!(Message::parse(Bytes::from_static(b"B")).is_err(), "cut off");
        assert_eq!(Message::parse(Bytes::from_static(b"R")).unwrap(), Message::Other);
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
        fn no_bytes_panic(bytes: Vec<u8>, kind in prop::sample::select(vec![b'B', b'C', b'M', b'x'])) {
            let mut data = vec![kind];
            data.extend_from_slice(&bytes);
            let _ = Message::parse(data.clone().into());
            let _ = first_column(&data.into());
        }
    }
}
