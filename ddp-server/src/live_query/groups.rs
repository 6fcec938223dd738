//! What a batch does to live queries that hold the same documents, found out once for all of them.

use std::collections::HashMap;
use std::sync::Arc;

use ddp_core::{CollectionName, Delta, FieldName, Snapshot};

use super::batch::Row;
use super::concerns::{Bundles, Numbers};
use super::contents::is_same;
use super::holders::Members;
use super::plan::Plan;
use super::rows::{Fields, Rows};

/// What a batch does to a live query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// It keeps all documents that it holds, in their new state, and gets none.
    Stay,
    /// By the numbers of the changes.
    Rows { wanted: Numbers, gone: Numbers },
}

/// Live queries that hold the same documents, and those that change.
pub(super) struct Group {
    before: Snapshot,
    bundles: Bundles,
    held: Numbers,
    /// Fields that were examined, and whether no change touches them.
    untouched: Vec<(FieldName, bool)>,
    /// The steps that some of them have taken; `None` if nothing differs.
    steps: HashMap<(Fields, Outcome), Option<Arc<Delta>>>,
}

/// The groups that a batch concerns.
#[derive(Default)]
pub(super) struct Groups {
    all: HashMap<(Members, usize), Vec<Group>>,
}

impl Groups {
    /// The group of a live query that holds the documents of these bundles.
    pub(super) fn of(
        &mut self,
        members: Members,
        snapshot: &Snapshot,
        (bundles, held): (&Bundles, impl FnOnce(&[u32]) -> Numbers),
    ) -> &mut Group {
        let alike = self.all.entry((members, bundles.len())).or_default();
        let is_it = |group: &Group| group.before.shares_with(snapshot) && group.bundles == *bundles;
        let position = alike.iter().position(is_it).unwrap_or_else(|| {
            let (untouched, steps) = Default::default();
            let (before, bundles, held) = (snapshot.clone(), bundles.clone(), held(bundles));
            alike.push(Group { before, bundles, held, untouched, steps });
            alike.len() - 1
        });
        &mut alike[position]
    }
}

impl Group {
    /// Whether a query of this plan is known to keep all of the documents that it holds, without asking
    /// for each.
    pub(super) fn keeps<R: Row>(&mut self, plan: &Plan, rows: &mut Rows<'_, R>) -> bool {
        let is_untouched = rows.are_all_there()
            && plan.predicate.all_conditions(&mut |test| {
                let field = test.top_field();
                field == "_id" || self.is_untouched(field, rows)
            });
        is_untouched || rows.all_meet(plan)
    }

    fn is_untouched<R: Row>(&mut self, field: &str, rows: &Rows<'_, R>) -> bool {
        if let Some((_, is_untouched)) = self.untouched.iter().find(|(other, _)| **other == *field)
        {
            return *is_untouched;
        }
        let is_untouched = self.held.iter().all(|number| {
            let change = &rows.changes()[*number as usize];
            let (row, before) = (change.row.as_ref(), self.before.get(&change.id));
            row.zip(before).is_some_and(|(row, before)| is_same(row, before, field))
        });
        self.untouched.push((field.into(), is_untouched));
        is_untouched
    }

    /// The changes of documents that the queries hold.
    pub(super) fn held(&self) -> &[u32] {
        &self.held
    }

    /// What the changes mean by which a query has documents, and those by which it has them no longer.
    pub(super) fn outcome(&self, wanted: Numbers, gone: Numbers) -> Outcome {
        if gone.is_empty() && wanted == self.held {
            Outcome::Stay
        } else {
            Outcome::Rows { wanted, gone }
        }
    }

    /// Has a query take its step, which others of the group may have taken already.
    pub(super) fn step<R: Row>(
        &mut self,
        collection: &CollectionName,
        snapshot: &mut Snapshot,
        key: (Fields, Outcome),
        rows: &mut Rows<'_, R>,
    ) -> Option<Arc<Delta>> {
        if let Some(step) = self.steps.get(&key) {
            return snapshot.follow(&self.before, step.as_ref()?);
        }
        let documents = match &key.1 {
            Outcome::Stay => rows.documents(&self.held, &[], key.0.as_ref()),
            Outcome::Rows { wanted, gone } => rows.documents(wanted, gone, key.0.as_ref()),
        };
        let step = snapshot.advance(collection, documents);
        self.steps.insert(key, step.clone());
        step
    }
}
