//! What is found out about a batch's rows once, for all live queries that they concern.

use std::collections::BTreeMap;
use std::sync::Arc;

use ddp_core::{Document, DocumentId, FieldName};
use smallvec::SmallVec;

use super::batch::{Batch, Change, Row};
use super::plan::Plan;
use crate::query::{Condition, Truth};

/// A field that has at most so many different values in a batch's rows is asked about these values
/// instead of each row.
const VALUES_MAX: usize = if cfg!(test) { 2 } else { 4 };

/// A query's fields.
pub(super) type Fields = Option<Arc<[FieldName]>>;

/// A batch's effect on a query with a window: the rows that it wants, with their documents, and `None`
/// for those that it does not.
pub(super) type Step<'a, R> = BTreeMap<DocumentId, Option<(&'a R, Arc<Document>)>>;

/// The documents that a row becomes, by the fields that queries want.
type Projections = SmallVec<[(Fields, Arc<Document>); 1]>;

/// What has been found out about a batch's rows.
pub(super) struct Rows<'a, R> {
    batch: &'a Batch<R>,
    /// For each field that predicates ask about, the rows that have its different values; `None` if
    /// there are many.
    values: Vec<(FieldName, Option<Vec<&'a R>>)>,
    /// For each change the documents that its row becomes.
    documents: SmallVec<[Projections; 1]>,
    are_all_there: bool,
}

impl<'a, R: Row> Rows<'a, R> {
    pub(super) fn new(batch: &'a Batch<R>) -> Self {
        let are_all_there = batch.changes().iter().all(|change| change.row.is_some());
        Self { batch, values: Vec::new(), documents: SmallVec::new(), are_all_there }
    }

    pub(super) fn changes(&self) -> &'a [Change<R>] {
        self.batch.changes()
    }

    /// Whether no change is the end of a row.
    pub(super) fn are_all_there(&self) -> bool {
        self.are_all_there
    }

    /// The document that a change's row becomes.
    fn document(
        &mut self,
        number: u32,
        fields: Option<&Arc<[FieldName]>>,
    ) -> Option<Arc<Document>> {
        let number = number as usize;
        self.documents.resize(self.batch.changes().len(), Projections::new());
        let made = &mut self.documents[number];
        if let Some((_, document)) = made.iter().find(|(other, _)| other.as_ref() == fields) {
            return Some(Arc::clone(document));
        }
        let row = self.batch.changes()[number].row.as_ref()?;
        let document = row.document(fields.map(|fields| &**fields));
        made.push((fields.cloned(), Arc::clone(&document)));
        Some(document)
    }

    /// The documents of the rows that a query wants, and none in the place of those that it does not.
    pub(super) fn documents(
        &mut self,
        wanted: &[u32],
        gone: &[u32],
        fields: Option<&Arc<[FieldName]>>,
    ) -> BTreeMap<DocumentId, Option<Arc<Document>>> {
        let changes = self.batch.changes();
        let id = |number: u32| changes[number as usize].id.clone();
        let gone = gone.iter().map(|number| (id(*number), None));
        let wanted = wanted.iter().map(|number| (id(*number), self.document(*number, fields)));
        gone.chain(wanted).collect()
    }

    /// The same with the rows.
    pub(super) fn step(
        &mut self,
        wanted: &[u32],
        gone: &[u32],
        fields: Option<&Arc<[FieldName]>>,
    ) -> Step<'a, R> {
        let changes = self.changes();
        let gone = gone.iter().map(|number| (changes[*number as usize].id.clone(), None));
        let wanted = wanted.iter().map(|number| {
            let change = &changes[*number as usize];
            (change.id.clone(), change.row.as_ref().zip(self.document(*number, fields)))
        });
        gone.chain(wanted).collect()
    }

    /// Whether a predicate is known to hold for all rows, without asking each.
    pub(super) fn all_meet(&mut self, plan: &Plan) -> bool {
        plan.predicate.all_conditions(&mut |test| {
            self.note_values(test);
            true
        });
        // What differs between rows, or is not known of all, is not decided here.
        let answer = |test: &Condition| {
            let field = test.top_field();
            let known = self.values.iter().find(|(other, _)| **other == *field);
            let Some((_, Some(rows))) = known else { return Truth::Undecided };
            let mut answers = rows.iter().map(|row| row.meets(test));
            let Some(first) = answers.next() else { return Truth::Undecided };
            if answers.all(|other| other == first) { first } else { Truth::Undecided }
        };
        self.are_all_there && plan.predicate.evaluate(&answer) == Truth::True
    }

    fn note_values(&mut self, test: &Condition) {
        let field = test.top_field();
        if !self.values.iter().any(|(other, _)| **other == *field) {
            self.values.push((field.into(), self.values_of(field)));
        }
    }

    fn values_of(&self, field: &str) -> Option<Vec<&'a R>> {
        let mut found: Vec<(Arc<Document>, &R)> = Vec::new();
        for row in self.batch.changes().iter().filter_map(|change| change.row.as_ref()) {
            let document = row.document(None);
            let text = document.get(field).filter(|_| row.is_exact(field))?;
            if !found.iter().any(|(other, _)| other.get(field) == Some(text)) {
                if found.len() == VALUES_MAX {
                    return None;
                }
                found.push((document, row));
            }
        }
        Some(found.into_iter().map(|(_, row)| row).collect())
    }
}
