//! Writes that are not complete until queries that are read again have sent them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::write_fence::Write;

/// The writes that queries of a collection owe, each kept once.
///
/// Numbers count the writes. A query owes all from some number on.
#[derive(Debug, Default)]
pub(super) struct Owed {
    writes: VecDeque<(u64, Arc<Write>)>,
    next: u64,
    /// How many queries owe what came from each number on.
    debtors: BTreeMap<u64, usize>,
    /// Paid, to be dropped when nothing is locked.
    paid: Vec<Arc<Write>>,
}

impl Owed {
    /// The number of the next write.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// A query owes what comes from this number on.
    pub(super) fn owe(&mut self, since: u64) {
        *self.debtors.entry(since).or_default() += 1;
    }

    /// A query that owed from this number on has sent everything, or is gone.
    pub(super) fn pay(&mut self, since: u64) {
        if let Some(debtors) = self.debtors.get_mut(&since) {
            *debtors -= 1;
            if *debtors == 0 {
                self.debtors.remove(&since);
            }
        }
        let owed = self.debtors.keys().next().copied().unwrap_or(u64::MAX);
        while let Some((_, write)) = self.writes.pop_front_if(|(number, _)| *number < owed) {
            self.paid.push(write);
        }
    }

    /// A write is over but for the queries that owe it.
    pub(super) fn hold(&mut self, write: &Arc<Write>) {
        if !self.debtors.is_empty() {
            self.writes.push_back((self.next, Arc::clone(write)));
            self.next += 1;
        }
    }

    /// The writes that nobody owes any more. They must be dropped when nothing is locked.
    #[must_use]
    pub(super) fn take_paid(&mut self) -> Vec<Arc<Write>> {
        std::mem::take(&mut self.paid)
    }
}
