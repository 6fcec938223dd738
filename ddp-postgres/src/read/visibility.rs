//! Streamed transactions that reads may not see yet.
//!
//! A commit is in the write-ahead log, and so on its way to the `wal` feed, some microseconds
//! before other sessions see it; with synchronous replication, a round trip to the standby. A read
//! in between would miss the transaction: its snapshot does not include it, and the feed has
//! already passed it. Such a read is repeated.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use crate::read::snapshot::TransactionSnapshot;

/// Above this many noted transactions, check which are visible by now. Those that are not are at
/// most as many as there are connections.
const NOTED_MAX: usize = 10_000;

/// For each channel, the transactions that may not be visible yet.
#[derive(Debug)]
pub(crate) struct Visibility {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What had committed before the stream began.
    start: Option<TransactionSnapshot>,
    /// How many messages have been streamed.
    position: u64,
    noted: HashMap<String, HashMap<u64, Noted>>,
    count: usize,
    is_looking: bool,
    next_read: u64,
    /// Reads whose snapshot may be older than that of others.
    reads: BTreeSet<u64>,
}

#[derive(Debug)]
struct Noted {
    position: u64,
    /// Reads from this number on see it.
    visible_to: Option<u64>,
}

/// What a streamed message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streamed {
    /// It is not on a channel for changes.
    Other,
    /// It tells a change.
    Change,
    /// It is on a channel for changes, but no trigger sent it: it names another transaction, which
    /// may never become visible.
    Forged,
}

/// A read that is about to take its snapshot.
#[derive(Debug)]
pub(crate) struct Read<'a> {
    visibility: &'a Visibility,
    number: u64,
}

impl Visibility {
    /// Notes what is sent on these channels; pass none if changes are visible before they arrive.
    pub(crate) fn new(channels: impl Iterator<Item = String>) -> Self {
        let noted = channels.map(|channel| (channel, HashMap::new())).collect();
        Self { state: Mutex::new(State { noted, ..State::default() }) }
    }

    /// A stream starts, with everything that the snapshot does not include.
    pub(crate) fn begin(&self, start: TransactionSnapshot) {
        let state = &mut *self.state.lock();
        // Whatever was streamed earlier committed before this stream, or was lost with a failed
        // server and will never be visible.
        state.noted.values_mut().for_each(HashMap::clear);
        state.count = 0;
        state.start = Some(start);
    }

    /// How far the stream has come.
    pub(crate) fn position(&self) -> u64 {
        self.state.lock().position
    }

    /// Notes a streamed message of the transaction whose id has this lower half.
    pub(crate) fn note(&self, channel: &str, payload: &str, transaction: u32) -> Streamed {
        let state = &mut *self.state.lock();
        let Some(noted) = state.noted.get_mut(channel) else { return Streamed::Other };
        let xid = payload.split(' ').next().and_then(|xid| xid.parse().ok());
        let is_its_own = |xid: &u64| u32::try_from(xid & 0xffff_ffff) == Ok(transaction);
        let Some(xid) = xid.filter(is_its_own) else { return Streamed::Forged };
        state.position += 1;
        let position = state.position;
        let new = noted.insert(xid, Noted { position, visible_to: None }).is_none();
        state.count += usize::from(new);
        Streamed::Change
    }

    /// Whether to take a snapshot to see what has become visible. True once, until that is done.
    pub(crate) fn is_crowded(&self) -> bool {
        let mut state = self.state.lock();
        let is_crowded = state.count > NOTED_MAX && !state.is_looking;
        state.is_looking |= is_crowded;
        is_crowded
    }

    pub(crate) fn begin_read(&self) -> Read<'_> {
        let mut state = self.state.lock();
        state.next_read += 1;
        let number = state.next_read;
        state.reads.insert(number);
        Read { visibility: self, number }
    }
}

impl Read<'_> {
    /// Whether the snapshot includes everything streamed on the channel up to the position.
    pub(crate) fn is_complete(
        &self,
        channel: &str,
        snapshot: &TransactionSnapshot,
        position: u64,
    ) -> bool {
        let state = self.visibility.state.lock();
        let noted = state.noted.get(channel).into_iter().flatten();
        noted
            .filter(|(_, noted)| noted.position <= position)
            .all(|(xid, _)| snapshot.has_seen(*xid))
            && state.start.as_ref().is_none_or(|start| snapshot.includes(start))
    }

    /// Forgets what the snapshot includes, unless a read with an older one is in progress.
    pub(crate) fn forget(&self, snapshot: &TransactionSnapshot) {
        let state = &mut *self.visibility.state.lock();
        let next = state.next_read + 1;
        let oldest = state.reads.iter().find(|read| **read != self.number).copied();
        state.count = 0;
        for noted in state.noted.values_mut() {
            noted.retain(|xid, noted| {
                if noted.visible_to.is_none() && snapshot.has_seen(*xid) {
                    noted.visible_to = Some(next);
                }
                noted.visible_to.is_none_or(|visible| oldest.is_some_and(|read| read < visible))
            });
            state.count += noted.len();
        }
        state.is_looking = false;
    }
}

impl Drop for Read<'_> {
    fn drop(&mut self) {
        self.visibility.state.lock().reads.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> TransactionSnapshot {
        TransactionSnapshot::parse(text).unwrap()
    }

    #[test]
    fn a_read_that_misses_what_was_streamed_is_not_complete() {
        let visibility = Visibility::new(["a".to_owned(), "b".to_owned()].into_iter());
        assert_eq!(visibility.note("a", "12 1 1 1 u {}", 12), Streamed::Change);
        assert_eq!(visibility.note("a", "11 1 1 1 u {}", 12), Streamed::Forged);
        assert_eq!(visibility.note("token", "5", 5), Streamed::Other);
        let position = visibility.position();
        let read = visibility.begin_read();
        let behind = snapshot("10:20:12");
        assert!(!read.is_complete("a", &behind, position));
        assert!(read.is_complete("b", &behind, position), "another collection");
        assert!(read.is_complete("a", &snapshot("10:20:11"), position));
        visibility.note("a", "11 1 1 1 u {}", 11);
        assert!(read.is_complete("a", &snapshot("10:20:11"), position), "streamed later");
    }

    #[test]
    fn a_read_that_misses_what_had_committed_before_the_stream_is_not_complete() {
        let visibility = Visibility::new(["a".to_owned()].into_iter());
        visibility.begin(snapshot("10:20:15"));
        let read = visibility.begin_read();
        assert!(!read.is_complete("a", &snapshot("10:20:12,15"), 0));
        assert!(!read.is_complete("a", &snapshot("10:19:15"), 0));
        assert!(read.is_complete("a", &snapshot("10:20:15"), 0));
        assert!(read.is_complete("a", &snapshot("15:40:15,33"), 0));
    }

    #[test]
    fn what_a_server_that_was_replaced_had_streamed_is_not_waited_for() {
        let visibility = Visibility::new(["a".to_owned()].into_iter());
        visibility.note("a", "1000 1 1 1 u {}", 1000);
        // The standby had not heard of it when it was promoted.
        visibility.begin(snapshot("900:900:"));
        let position = visibility.position();
        assert!(visibility.begin_read().is_complete("a", &snapshot("905:905:"), position));
    }

    #[test]
    fn what_an_older_read_may_miss_is_not_forgotten() {
        let visibility = Visibility::new(["a".to_owned()].into_iter());
        visibility.note("a", "12 1 1 1 u {}", 12);
        let older = visibility.begin_read();
        let newer = visibility.begin_read();
        newer.forget(&snapshot("20:20:"));
        assert!(!older.is_complete("a", &snapshot("10:20:12"), 1));
        drop(older);
        newer.forget(&snapshot("20:20:"));
        assert_eq!(visibility.state.lock().count, 0);
    }

    #[test]
    fn many_are_looked_at_once() {
        let visibility = Visibility::new(["a".to_owned()].into_iter());
        for xid in 0..=NOTED_MAX {
            assert!(!visibility.is_crowded());
            visibility.note("a", &format!("{xid} 1 1 1 u {{}}"), u32::try_from(xid).unwrap());
        }
        assert!(visibility.is_crowded());
        assert!(!visibility.is_crowded(), "somebody is looking");
        visibility.begin_read().forget(&snapshot("9000:20000:"));
        assert!(!visibility.is_crowded());
        assert_eq!(visibility.state.lock().count, 0);
    }
}
