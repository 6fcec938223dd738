//! Finds the live queries that a batch concerns.

use std::collections::BTreeSet;

use super::batch::{Batch, Row};
use super::contents::judge;
use super::live::State;
use crate::query::Truth;

/// What a batch has to do with a live query.
#[derive(Debug)]
pub(super) struct Concern {
    pub(super) slot: usize,
    /// The changes of documents that it holds, by their numbers in the batch.
    pub(super) held: Vec<u32>,
    /// The changes by which it gets documents that it does not hold.
    pub(super) new: Vec<u32>,
}

/// The live queries that a batch concerns. Which row concerns which query is looked at here and
/// nowhere else, since these are as many as rows times queries: a few nanoseconds each.
struct Concerns<'a> {
    all: Vec<Concern>,
    /// For each slot the number of its concern, counted from 1; 0 if there is none.
    marks: &'a mut [u32],
}

impl Concerns<'_> {
    fn of(&mut self, slot: usize) -> &mut Concern {
        if self.marks[slot] == 0 {
            self.all.push(Concern { slot, held: Vec::new(), new: Vec::new() });
            // There are no more slots than fit into memory with all that they hold.
            self.marks[slot] = self.all.len() as u32;
        }
        &mut self.all[self.marks[slot] as usize - 1]
    }

    /// Whether this change, which is the last so far, is known to concern a query.
    fn has(&self, slot: usize, number: u32) -> bool {
        let mark = self.marks[slot] as usize;
        mark > 0 && {
            let Concern { held, new, .. } = &self.all[mark - 1];
            held.last() == Some(&number) || new.last() == Some(&number)
        }
    }

    /// In the order of the slots.
    fn finish(mut self) -> Vec<Concern> {
        self.all.iter().for_each(|concern| self.marks[concern.slot] = 0);
        self.all.sort_unstable_by_key(|concern| concern.slot);
        self.all
    }
}

impl<R: Row> State<R> {
    /// The live queries that a batch concerns. Those that must read again to know whether they want
    /// a new row become `unsure`.
    pub(super) fn concerned(
        &mut self,
        batch: &Batch<R>,
        unsure: &mut BTreeSet<usize>,
    ) -> Vec<Concern> {
        let Self { slots, holders, router, marks, .. } = self;
        marks.resize(slots.len(), 0);
        let mut concerns = Concerns { all: Vec::new(), marks };
        if batch.is_truncated() {
            holders.all().for_each(|slot| _ = concerns.of(slot));
        }
        for (number, change) in (0..).zip(batch.changes()) {
            for slot in holders.of(&change.id) {
                concerns.of(*slot).held.push(number);
            }
            let Some(row) = &change.row else { continue };
            for slot in router.candidates(row) {
                if concerns.has(slot, number) {
                    continue;
                }
                let Some(live) = slots[slot].as_ref().filter(|live| live.has_documents()) else {
                    continue;
                };
                match judge(&live.plan, || None, row) {
                    Truth::True => concerns.of(slot).new.push(number),
                    Truth::False | Truth::Unknown => {}
                    Truth::Undecided => _ = unsure.insert(slot),
                }
            }
        }
        concerns.finish()
    }
}
