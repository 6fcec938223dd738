//! Which live queries hold each document, and which hold the same documents.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use ddp_core::{DocumentId, FieldName};

use super::router::{insert_sorted, remove_sorted};

/// From how many documents on a query is looked for that holds the same: below, sharing them saves
/// little.
const ALIKE_MIN: usize = if cfg!(test) { 1 } else { 8 };

/// The live queries that hold each document, by their slots, which are sorted.
#[derive(Debug, Default)]
pub(super) struct Holders {
    of: HashMap<DocumentId, Vec<usize>>,
    /// One of the queries that hold the same documents, by what [`key`](Self::key) says of them.
    alike: HashMap<u64, usize>,
    hasher: RandomState,
}

/// Tells apart sets of documents, as far as a number can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Members {
    /// The sum of the hashes of their ids.
    sum: u64,
    count: usize,
}

impl Members {
    pub(super) fn insert(&mut self, id: &DocumentId, hasher: &RandomState) {
        self.sum = self.sum.wrapping_add(hasher.hash_one(id));
        self.count += 1;
    }

    fn remove(&mut self, id: &DocumentId, hasher: &RandomState) {
        self.sum = self.sum.wrapping_sub(hasher.hash_one(id));
        self.count -= 1;
    }
}

impl Holders {
    /// The queries that hold a document.
    pub(super) fn of(&self, id: &DocumentId) -> &[usize] {
        self.of.get(id).map_or(&[], Vec::as_slice)
    }

    /// The queries that hold anything, some of them repeatedly.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.of.values().flatten().copied()
    }

    /// A query holds a document from now on.
    pub(super) fn hold(&mut self, id: &DocumentId, slot: usize) {
        match self.of.get_mut(id) {
            Some(slots) => insert_sorted(slots, slot),
            None => {
                self.of.insert(id.clone(), vec![slot]);
            }
        }
    }

    /// A query no longer holds a document.
    pub(super) fn release(&mut self, id: &DocumentId, slot: usize) {
        if let Some(slots) = self.of.get_mut(id) {
            remove_sorted(slots, slot);
            if slots.is_empty() {
                self.of.remove(id);
            }
        }
    }

    /// The same, for a query whose documents are counted.
    pub(super) fn hold_member(&mut self, id: &DocumentId, slot: usize, members: &mut Members) {
        members.insert(id, &self.hasher);
        self.hold(id, slot);
    }

    /// The same, for a query whose documents are counted.
    pub(super) fn release_member(&mut self, id: &DocumentId, slot: usize, members: &mut Members) {
        members.remove(id, &self.hasher);
        self.release(id, slot);
    }

    /// Counts documents.
    pub(super) fn members<'a>(&self, ids: impl Iterator<Item = &'a DocumentId>) -> Members {
        let mut members = Members::default();
        ids.for_each(|id| members.insert(id, &self.hasher));
        members
    }

    /// A query that probably holds these documents, with these fields.
    pub(super) fn like(&self, members: Members, fields: Option<&[FieldName]>) -> Option<usize> {
        if members.count < ALIKE_MIN {
            return None;
        }
        self.alike.get(&self.key(members, fields)).copied()
    }

    /// This query is the one to be found by what it holds.
    pub(super) fn set_like(&mut self, members: Members, fields: Option<&[FieldName]>, slot: usize) {
        if members.count >= ALIKE_MIN {
            self.alike.insert(self.key(members, fields), slot);
        }
    }

    /// This query no longer holds these documents. True if it was the one to be found by them.
    pub(super) fn forget_like(
        &mut self,
        members: Members,
        fields: Option<&[FieldName]>,
        slot: usize,
    ) -> bool {
        let key = self.key(members, fields);
        let is_known = members.count >= ALIKE_MIN && self.alike.get(&key) == Some(&slot);
        if is_known {
            self.alike.remove(&key);
        }
        is_known
    }

    fn key(&self, members: Members, fields: Option<&[FieldName]>) -> u64 {
        self.hasher.hash_one((members, fields))
    }
}
