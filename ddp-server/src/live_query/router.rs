//! Finds the live queries that a row may concern, without asking each of them.

use std::collections::HashMap;

use ddp_core::FieldName;

use super::batch::Row;
use crate::query::Value;

/// An index of live queries by the equality that each demands. A query that demands none is in
/// `unindexed` and is asked for every row.
#[derive(Debug, Default)]
pub(crate) struct Router {
    by_field: HashMap<FieldName, HashMap<Value, Vec<usize>>>,
    /// Sorted.
    unindexed: Vec<usize>,
}

impl Router {
    pub(crate) fn insert(&mut self, query: usize, keys: Option<&(FieldName, Vec<Value>)>) {
        let Some((field, values)) = keys else { return insert_sorted(&mut self.unindexed, query) };
        let index = self.by_field.entry(field.clone()).or_default();
        for value in values {
            let queries = index.entry(value.clone()).or_default();
            if queries.last() != Some(&query) {
                queries.push(query);
            }
        }
    }

    pub(crate) fn remove(&mut self, query: usize, keys: Option<&(FieldName, Vec<Value>)>) {
        let Some((field, values)) = keys else {
            return remove_sorted(&mut self.unindexed, query);
        };
        let Some(index) = self.by_field.get_mut(field) else { return };
        for value in values {
            if let Some(queries) = index.get_mut(value) {
                queries.retain(|other| *other != query);
                if queries.is_empty() {
                    index.remove(value);
                }
            }
        }
        if index.is_empty() {
            self.by_field.remove(field);
        }
    }

    /// The queries whose equality the row satisfies, and those that have none.
    pub(crate) fn candidates(&self, row: &impl Row) -> impl Iterator<Item = usize> {
        self.candidates_beside(&[], row)
    }

    /// The same without those that have none if they are just these queries, which are sorted.
    pub(super) fn candidates_beside(
        &self,
        held: &[usize],
        row: &impl Row,
    ) -> impl Iterator<Item = usize> {
        let indexed = self.by_field.iter().filter_map(|(field, index)| {
            // NULL equals nothing, so no query that demands an equality can want it.
            Some(row.value(field))
                .filter(|value| !value.is_null())
                .and_then(|value| index.get(&value))
        });
        let unindexed = if self.unindexed == held { &[][..] } else { &self.unindexed };
        indexed.flatten().chain(unindexed).copied()
    }
}

/// Inserts a number that mostly comes last.
pub(super) fn insert_sorted(numbers: &mut Vec<usize>, number: usize) {
    if let Err(place) = numbers.binary_search(&number) {
        numbers.insert(place, number);
    }
}

pub(super) fn remove_sorted(numbers: &mut Vec<usize>, number: usize) {
    if let Ok(place) = numbers.binary_search(&number) {
        numbers.remove(place);
    }
}
