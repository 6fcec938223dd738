//! Which of many views hold a document.

use std::collections::btree_set;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use super::view::View;
use crate::document::Document;
use crate::id::{DocumentId, LiveQueryKey};
use crate::snapshot::{Delta, Likeness};

/// With more views than this, not counting shadows, a collection keeps an index. Up to it each view
/// is asked, which takes no memory.
pub(super) const MANY: usize = if cfg!(test) { 2 } else { 64 };

/// An index of a collection's views, so that what happens to a document costs only those that hold
/// it. It remembers hashes, 16 bytes for each document of each view; the documents themselves are
/// looked up in the views.
#[derive(Debug)]
pub(super) struct Holders {
    /// A number for each view. They ascend in order of precedence and, unlike positions, stay.
    numbers: Vec<u64>,
    next_number: u64,
    /// The hashes of documents' ids, each with the numbers of the views that hold the document.
    holders: BTreeSet<(u64, u64)>,
    /// The view that shows each live query, by its number.
    leads: HashMap<LiveQueryKey, u64>,
    hasher: RandomState,
    round: Round,
}

/// Views that change one after the other, each once, as those do that a change of a row concerns. What
/// one of them shows need not be looked for when a later view shows the same.
#[derive(Debug, Default)]
struct Round {
    number: u64,
    /// For each view the last round in which it changed.
    changed: Vec<u64>,
    /// The documents that views of this round have begun to show, by their addresses, each with the
    /// number of the first such view. They live for as long as they are shown, so nothing else can be
    /// there.
    shown: HashMap<usize, (DocumentId, u64)>,
    /// The steps that views of this round have taken, by their addresses, each with the number of the
    /// first such view.
    taken: HashMap<usize, (Likeness, u64)>,
}

/// How many documents and how many steps of a round are remembered.
const ROUND_MAX: usize = 4096;

impl Holders {
    pub(super) fn new(views: &[View]) -> Self {
        let (numbers, holders, leads, hasher, round) = Default::default();
        let mut index = Self { numbers, next_number: 0, holders, leads, hasher, round };
        // No view has changed in it.
        index.round.number = 1;
        for (position, view) in views.iter().enumerate() {
            index.push(view);
            for (id, _) in view.snapshot.iter() {
                index.set(position, id, true);
            }
        }
        index
    }

    /// There is another view, which comes last.
    pub(super) fn push(&mut self, view: &View) {
        if let Some(query) = view.live_query() {
            self.leads.entry(query).or_insert(self.next_number);
        }
        self.numbers.push(self.next_number);
        self.round.changed.push(0);
        self.next_number += 1;
    }

    /// A view is gone. It must hold nothing any more.
    pub(super) fn remove(&mut self, position: usize, view: &View) {
        let number = self.numbers.remove(position);
        self.round.changed.remove(position);
        if let Some(query) = view.live_query()
            && self.leads.get(&query) == Some(&number)
        {
            self.leads.remove(&query);
        }
    }

    /// A view holds a document from now on, or no longer.
    pub(super) fn set(&mut self, position: usize, id: &DocumentId, holds: bool) {
        let entry = (self.hasher.hash_one(id), self.numbers[position]);
        if holds {
            self.holders.insert(entry);
        } else {
            self.holders.remove(&entry);
        }
    }

    /// Another view shows a live query from now on.
    pub(super) fn lead(&mut self, query: LiveQueryKey, position: usize) {
        self.leads.insert(query, self.numbers[position]);
    }

    /// A view changes, perhaps because it goes.
    pub(super) fn begin_change(&mut self, position: usize) {
        let round = &mut self.round;
        if round.changed[position] == round.number {
            // It may no longer show what it showed in this round.
            round.number += 1;
            round.shown.clear();
            round.taken.clear();
        }
        round.changed[position] = round.number;
    }

    /// The view that changes shows this document from now on. True if a view before it is known to
    /// show the same.
    pub(super) fn begin_to_show(
        &mut self,
        position: usize,
        id: &DocumentId,
        document: &Arc<Document>,
    ) -> bool {
        let (number, shown) = (self.numbers[position], &mut self.round.shown);
        let address = Arc::as_ptr(document).addr();
        match shown.get_mut(&address) {
            Some((other, first)) if other == id => {
                let is_shown_earlier = *first < number;
                *first = number.min(*first);
                is_shown_earlier
            }
            _ => {
                if shown.len() >= ROUND_MAX {
                    shown.clear();
                }
                shown.insert(address, (id.clone(), number));
                false
            }
        }
    }

    /// The view that changes takes this step. True if a view before it is known to have taken one like
    /// it, and so to show the same documents.
    pub(super) fn begin_to_take(&mut self, position: usize, delta: &Delta) -> bool {
        let (number, taken) = (self.numbers[position], &mut self.round.taken);
        if let Some((_, first)) = taken.get_mut(&delta.address()) {
            let is_taken_earlier = *first < number;
            *first = number.min(*first);
            return is_taken_earlier;
        }
        if taken.len() >= ROUND_MAX {
            taken.clear();
        }
        let likeness = delta.likeness();
        taken.insert(likeness.address(), (likeness, number));
        false
    }

    /// The view that shows a live query.
    pub(super) fn leading(&self, query: LiveQueryKey) -> Option<usize> {
        self.position(*self.leads.get(&query)?)
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.numbers.binary_search(&number).ok()
    }

    /// The views among these that may hold a document, in order.
    pub(super) fn of(&self, id: &DocumentId, positions: Range<usize>) -> Candidates<'_> {
        let hash = self.hasher.hash_one(id);
        let entry = |at: usize| (hash, self.numbers.get(at).copied().unwrap_or(u64::MAX));
        let holders = self.holders.range(entry(positions.start)..entry(positions.end));
        Candidates::Indexed(holders, self)
    }
}

/// Views that may hold a document, in order.
pub(super) enum Candidates<'a> {
    All(Range<usize>),
    Indexed(btree_set::Range<'a, (u64, u64)>, &'a Holders),
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        match self {
            Self::All(positions) => positions.next(),
            Self::Indexed(holders, index) => index.position(holders.next()?.1),
        }
    }
}

impl DoubleEndedIterator for Candidates<'_> {
    fn next_back(&mut self) -> Option<usize> {
        match self {
            Self::All(positions) => positions.next_back(),
            Self::Indexed(holders, index) => index.position(holders.next_back()?.1),
        }
    }
}

/// The first, the last, the second, the last but one, and so on.
pub(super) fn from_both_ends<T>(
    mut items: impl DoubleEndedIterator<Item = T>,
) -> impl Iterator<Item = T> {
    let mut is_back = true;
    iter::from_fn(move || {
        is_back = !is_back;
        if is_back { items.next_back() } else { items.next() }
    })
}
