//! A live query that is not live for now: it waits to be read, is being read, or has been.

use super::backlog::Place;
use super::contents::Contents;
use super::plan::PendingRead;

/// How often in a row a query reads again because more changed during the read than it remembers.
/// After that its observers get the result, which may be older than what they have.
const OVERFLOWS_MAX: u32 = 3;

/// How often in a row a query reads again because something happened during the read that must be
/// read, and how often in a row a gap may interrupt queries that are catching up after a gap,
/// before each is published as soon as it has read: otherwise a feed that keeps breaking would
/// never show anything.
pub(super) const INTERRUPTIONS_MAX: u32 = if cfg!(test) { 3 } else { 10 };

pub(super) struct Loading {
    pub(super) generation: u64,
    pub(super) stage: Stage,
    /// How often in a row more happened during the read than is kept.
    pub(super) overflows: u32,
    /// How often in a row something happened during the read that must be read.
    pub(super) misses: u32,
    /// From which number on it owes writes, if it has observers that may miss them.
    pub(super) owes: Option<u64>,
}

impl Loading {
    /// Whether what is read next is taken whatever happens meanwhile that must be read.
    pub(super) fn is_last_try(&self) -> bool {
        self.misses == INTERRUPTIONS_MAX
    }

    /// Whether it has been repeated too often.
    pub(super) fn is_exhausted(overflows: u32, misses: u32) -> bool {
        overflows > OVERFLOWS_MAX || misses > INTERRUPTIONS_MAX
    }
}

pub(super) enum Stage {
    Waiting {
        /// Whether it is in the queue of those for which somebody waits.
        is_first: bool,
    },
    Reading {
        place: Place,
        /// The number of the first write that the read may not see.
        unseen_writes: u64,
    },
    Read(Box<Reading>),
}

/// A query that has been read.
pub(super) struct Reading {
    pub(super) read: PendingRead,
    /// What was read, up to date with everything before its place.
    pub(super) contents: Contents,
    /// Whether that is what the query shows and holds anyway.
    pub(super) is_held: bool,
    pub(super) place: Place,
    pub(super) unseen_writes: u64,
    /// Something happened that it must read.
    pub(super) must_repeat: bool,
    /// Whether that is because all queries missed it.
    pub(super) is_behind: bool,
}
