//! Queries that wait to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use super::plan::Plan;
use crate::query::{Operator, Predicate, Query};

/// How many groups of new queries may be read before one of those that are read again.
const FIRST_MAX: u32 = 3;

/// Queries that wait to be read, in groups that differ only in their constants: the shapes take turns,
/// and so nobody waits for all the queries of others. Those for which somebody waits come first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    first: Turns,
    later: Turns,
    /// How many groups in a row were of the former.
    firsts: u32,
}

/// A query in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Equal for queries that can be read together.
    pub(super) shape: u64,
    /// When it came.
    pub(super) order: u64,
    pub(super) slot: usize,
    /// Whether somebody waits for its first documents.
    pub(super) is_first: bool,
}

impl Queue {
    pub(super) fn insert(&mut self, waiting: Waiting) {
        let turns = if waiting.is_first { &mut self.first } else { &mut self.later };
        let slots = turns.by_shape.entry(waiting.shape).or_default();
        slots.insert((waiting.order, waiting.slot));
    }

    pub(super) fn remove(&mut self, waiting: Waiting) {
        let turns = if waiting.is_first { &mut self.first } else { &mut self.later };
        if let Some(slots) = turns.by_shape.get_mut(&waiting.shape) {
            slots.remove(&(waiting.order, waiting.slot));
            if slots.is_empty() {
                turns.by_shape.remove(&waiting.shape);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.by_shape.is_empty() && self.later.by_shape.is_empty()
    }

    /// The next group, of at most this many queries.
    pub(super) fn take(&mut self, max: usize) -> Vec<usize> {
        let has_later = !self.later.by_shape.is_empty();
        let is_turn_of_later = self.firsts >= FIRST_MAX && has_later;
        if self.first.by_shape.is_empty() || is_turn_of_later {
            self.firsts = 0;
            return self.later.take(max);
        }
        self.firsts += 1;
        self.first.take(max)
    }
}

/// Shapes that take turns.
#[derive(Debug, Default)]
struct Turns {
    by_shape: BTreeMap<u64, BTreeSet<(u64, usize)>>,
    /// Whose turn it was last.
    last: u64,
}

impl Turns {
    fn take(&mut self, max: usize) -> Vec<usize> {
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let next = self.by_shape.range(after).next().or_else(|| self.by_shape.iter().next());
        let Some((&shape, _)) = next else { return Vec::new() };
        self.last = shape;
        let Some(slots) = self.by_shape.get_mut(&shape) else { return Vec::new() };
        let mut group = Vec::with_capacity(slots.len().min(max));
        while group.len() < max
            && let Some((_, slot)) = slots.pop_first()
        {
            group.push(slot);
        }
        if slots.is_empty() {
            self.by_shape.remove(&shape);
        }
        group
    }
}

/// A number for everything about a query but its constants.
pub(super) fn shape(query: &Query, plan: &Plan) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash_shape(&plan.predicate, &mut hasher);
    (query.has_window(), query.limit.is_some(), &query.sort).hash(&mut hasher);
    hasher.finish()
}

fn hash_shape(predicate: &Predicate, hasher: &mut DefaultHasher) {
    std::mem::discriminant(predicate).hash(hasher);
    match predicate {
        Predicate::All => {}
        Predicate::Condition(test) => {
            test.field.hash(hasher);
            std::mem::discriminant(&test.is).hash(hasher);
            if let Operator::Compare(comparison, _) = &test.is {
                comparison.hash(hasher);
            }
        }
        Predicate::And(all) | Predicate::Or(all) => {
            all.len().hash(hasher);
            all.iter().for_each(|one| hash_shape(one, hasher));
        }
        Predicate::Not(one) => hash_shape(one, hasher),
    }
}
