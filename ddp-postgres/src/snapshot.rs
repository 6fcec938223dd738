//! PostgreSQL's transaction snapshots.

use std::collections::HashSet;

use crate::error::Error;

/// What `pg_current_snapshot()` says: which transactions a read has seen. 64-bit transaction ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionSnapshot {
    /// Everything below has ended.
    xmin: u64,
    /// Nothing from here on had begun.
    xmax: u64,
    /// What was in progress between the two.
    in_progress: HashSet<u64>,
}

impl TransactionSnapshot {
    /// Parses `xmin:xmax:xip,xip,…`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = text.split(':');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (xmin, xmax) = number().zip(number()).ok_or_else(|| Error::malformed(text))?;
        let in_progress = parts.next().ok_or_else(|| Error::malformed(text))?;
        let in_progress = in_progress.split(',').filter(|xid| !xid.is_empty());
        let in_progress = in_progress
            .map(|xid| xid.parse::<u64>().map_err(|_| Error::malformed(text)))
            .collect::<Result<_, _>>()?;
        Ok(Self { xmin, xmax, in_progress })
    }

    /// Whether what a committed transaction wrote was part of the read.
    pub(crate) fn has_seen(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.in_progress.contains(&xid))
    }

    /// Whether everything that another read has seen was part of this one, too.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        let unseen = self.in_progress.iter().copied().chain(self.xmax..other.xmax);
        !unseen.into_iter().any(|xid| other.has_seen(xid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_had_committed_was_seen() {
        let snapshot = TransactionSnapshot::parse("10:20:12,15").unwrap();
        for (xid, seen) in
            [(9, true), (10, true), (12, false), (13, true), (15, false), (20, false), (21, false)]
        {
            assert_eq!(snapshot.has_seen(xid), seen, "{xid}");
        }
        let snapshot = TransactionSnapshot::parse("18446744073709551000:18446744073709551001:");
        assert!(snapshot.unwrap().has_seen(18_446_744_073_709_551_000));
        for text in ["", "1", "1:2", "a:2:", "1:2:x", "-1:2:"] {
            assert!(TransactionSnapshot::parse(text).is_err(), "{text}");
        }
    }
}
