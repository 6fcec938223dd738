//! Finds the live queries that a batch concerns.

use std::collections::{BTreeSet, HashMap};

use smallvec::{SmallVec, smallvec};

use super::batch::{Batch, Row};
use super::contents::judge;
use super::live::State;
use crate::query::Truth;

/// How many bundles that look alike a change is compared with before it gets one of its own.
const LOOKALIKES_MAX: usize = 8;

/// The live queries that a batch concerns, and by which of its changes. Changes are told by their
/// numbers in the batch.
#[derive(Debug)]
pub(super) struct Concerns {
    pub(super) all: SmallVec<[Concern; 1]>,
    /// Changes of documents that the same queries hold. They are found by that once, and not once for
    /// each query.
    bundles: SmallVec<[Numbers; 1]>,
}

/// What a batch has to do with a live query.
#[derive(Debug)]
pub(super) struct Concern {
    pub(super) slot: usize,
    /// The bundles of changes of documents that it holds. They tell these changes: other bundles are
    /// other changes.
    pub(super) bundles: Bundles,
    /// The changes by which it gets documents that it does not hold.
    pub(super) new: Numbers,
}

/// The numbers of changes. Most batches are of one change, which needs no memory of its own here.
pub(super) type Numbers = SmallVec<[u32; 4]>;

/// The numbers of bundles, ascending.
pub(super) type Bundles = SmallVec<[u32; 2]>;

impl Concerns {
    /// The changes of documents that a query holds which these bundles concern.
    pub(super) fn held(&self, bundles: &[u32]) -> Numbers {
        let held = bundles.iter().flat_map(|bundle| &self.bundles[*bundle as usize]);
        held.copied().collect()
    }
}

/// A bundle, and the queries that hold its documents.
type Lookalike<'a> = (&'a [usize], u32);

/// A batch's concerns while they are looked for.
struct Search<'a> {
    found: Concerns,
    /// For each slot the number of its concern, counted from 1; 0 if there is none.
    marks: &'a mut [u32],
    /// Bundles by the number of queries that hold their documents, and by the first and the last.
    lookalikes: HashMap<(usize, usize, usize), Vec<Lookalike<'a>>>,
    /// Whether there may be more changes than one, and so something to bundle.
    are_many: bool,
}

impl<'a> Search<'a> {
    fn of(&mut self, slot: usize) -> &mut Concern {
        let all = &mut self.found.all;
        if self.marks[slot] == 0 {
            all.push(Concern { slot, bundles: Bundles::new(), new: Numbers::new() });
            // There are no more slots than fit into memory with all that they hold.
            self.marks[slot] = all.len() as u32;
        }
        &mut all[self.marks[slot] as usize - 1]
    }

    /// A change of a document that these queries hold. Returns its bundle.
    fn bundle(&mut self, number: u32, slots: &'a [usize]) -> Option<u32> {
        let (first, last) = (*slots.first()?, *slots.last()?);
        let bundle = self.found.bundles.len() as u32;
        if self.are_many {
            let lookalikes = self.lookalikes.entry((slots.len(), first, last)).or_default();
            let recent = lookalikes.iter().rev().take(LOOKALIKES_MAX);
            if let Some((_, bundle)) = recent.copied().find(|(others, _)| *others == slots) {
                self.found.bundles[bundle as usize].push(number);
                return Some(bundle);
            }
            lookalikes.push((slots, bundle));
        }
        self.found.bundles.push(smallvec![number]);
        for slot in slots {
            self.of(*slot).bundles.push(bundle);
        }
        Some(bundle)
    }

    /// Whether a query is known to be concerned by a change, which is the last so far and in this
    /// bundle.
    fn has(&self, slot: usize, number: u32, bundle: Option<u32>) -> bool {
        let mark = self.marks[slot] as usize;
        mark > 0 && {
            let Concern { bundles, new, .. } = &self.found.all[mark - 1];
            new.last() == Some(&number)
                || bundle.is_some_and(|bundle| bundles.binary_search(&bundle).is_ok())
        }
    }

    /// In the order of the slots.
    fn finish(self) -> Concerns {
        let Self { mut found, marks, .. } = self;
        found.all.iter().for_each(|concern| marks[concern.slot] = 0);
        found.all.sort_unstable_by_key(|concern| concern.slot);
        found
    }
}

impl<R: Row> State<R> {
    /// The live queries that a batch concerns. Those that must read again to know whether they want
    /// a new row become `unsure`.
    pub(super) fn concerned(&mut self, batch: &Batch<R>, unsure: &mut BTreeSet<usize>) -> Concerns {
        let Self { slots, holders, router, marks, .. } = self;
        marks.resize(slots.len(), 0);
        let found = Concerns { all: SmallVec::new(), bundles: SmallVec::new() };
        let are_many = batch.changes().len() > 1;
        let mut search = Search { found, marks, lookalikes: HashMap::new(), are_many };
        if batch.is_truncated() {
            holders.all().for_each(|slot| _ = search.of(slot));
        }
        for (number, change) in (0..).zip(batch.changes()) {
            let held = holders.of(&change.id);
            let bundle = search.bundle(number, held);
            let Some(row) = &change.row else { continue };
            for slot in router.candidates_beside(held, row) {
                if search.has(slot, number, bundle) {
                    continue;
                }
                let Some(live) = slots[slot].as_ref().filter(|live| live.has_documents()) else {
                    continue;
                };
                match judge(&live.plan, || None, row) {
                    Truth::True => search.of(slot).new.push(number),
                    Truth::False | Truth::Unknown => {}
                    Truth::Undecided => _ = unsure.insert(slot),
                }
            }
        }
        search.finish()
    }
}
