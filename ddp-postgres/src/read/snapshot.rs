//! PostgreSQL's transaction snapshots.

use std::collections::HashSet;

use ddp_server::live_query::Origin;

use crate::error::Error;
use crate::schema::notification::family_number;

/// The result of `pg_current_snapshot()`: which transactions a read saw. Ids have 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionSnapshot {
    /// All transactions below had ended.
    xmin: u64,
    /// No transaction from here on had begun.
    xmax: u64,
    /// Those in between that were in progress.
    in_progress: HashSet<u64>,
}

/// What a read saw: the first row of a statement that selects [`snapshot_sql`] before others.
///
/// [`snapshot_sql`]: crate::schema::Layout::snapshot_sql
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) snapshot: TransactionSnapshot,
    /// The number of the table that was read, or of its family.
    pub(crate) family: Option<i64>,
}

impl Seen {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (snapshot, family) = text.split_once(' ').unwrap_or((text, ""));
        let family = family_number(family).map_err(|_| Error::malformed(text))?;
        Ok(Self { snapshot: TransactionSnapshot::parse(snapshot)?, family })
    }
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

    /// Whether the read saw a committed transaction.
    pub(crate) fn has_seen(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.in_progress.contains(&xid))
    }

    /// Whether a transaction had not begun when the read took place.
    pub(crate) fn is_before(&self, xid: u64) -> bool {
        xid >= self.xmax
    }

    /// A number that grows with every transaction that a later snapshot sees: how many transaction
    /// ids belong to ended ones. A batch whose rows were read later has it as its
    /// [origin](Origin::Read).
    pub(crate) fn point(&self) -> u64 {
        self.xmax - u64::try_from(self.in_progress.len()).unwrap_or(0)
    }

    /// Whether the read saw a batch.
    pub(crate) fn has_seen_batch(&self, origin: Origin) -> bool {
        match origin {
            Origin::Transaction(xid) => self.has_seen(xid),
            Origin::Read(point) => self.point() >= point,
            Origin::Gap => false,
        }
    }

    /// Whether this read saw everything that another one did.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        let unseen = self.in_progress.iter().copied().chain(self.xmax..other.xmax);
        !unseen.into_iter().any(|xid| other.has_seen(xid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_rise_with_what_is_seen() {
        let texts = ["10:20:10,15", "15:20:15", "15:21:15", "15:23:15,21", "24:24:"];
        let snapshots = texts.map(|text| TransactionSnapshot::parse(text).unwrap());
        for pair in snapshots.windows(2) {
            assert!(pair[0].point() < pair[1].point(), "{pair:?}");
            assert!(pair[1].includes(&pair[0]) && !pair[0].includes(&pair[1]), "{pair:?}");
            let (before, after) = (Origin::Read(pair[0].point()), Origin::Read(pair[1].point()));
            assert!(pair[1].has_seen_batch(before) && pair[1].has_seen_batch(after));
            assert!(pair[0].has_seen_batch(before) && !pair[0].has_seen_batch(after));
        }
        assert!(!snapshots[4].has_seen_batch(Origin::Gap), "no read has seen a gap");
    }

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

    #[test]
    fn a_read_may_say_of_which_family_it_was() {
        let snapshot = TransactionSnapshot::parse("10:20:12").unwrap();
        for (text, family) in [("10:20:12", None), ("10:20:12 ", None), ("10:20:12 -5", Some(-5))] {
            let seen = Seen { snapshot: snapshot.clone(), family };
            assert_eq!(Seen::parse(text).unwrap(), seen, "{text}");
        }
        assert!(Seen::parse("10:20:12 x").is_err());
    }
}
