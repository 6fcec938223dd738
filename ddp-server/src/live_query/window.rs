//! The first documents of an order, kept up to date without reading them again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ddp_core::{Document, DocumentId};

use super::batch::Row;
use super::plan::{BUFFER, PendingRead};
use crate::query::{Position, SortKey};

/// The documents of a query with `skip` or `limit`, including the skipped ones and some beyond.
///
/// It has no holes: it holds the query's whole result up to `known_to`.
#[derive(Debug)]
pub(super) struct Window {
    skip: usize,
    limit: usize,
    /// The keys that place documents; `None` if only the source can place them.
    order: Option<Arc<[SortKey]>>,
    sort: Vec<SortKey>,
    documents: BTreeMap<Place, (DocumentId, Arc<Document>)>,
    places: HashMap<DocumentId, Place>,
    /// Beyond this there may be more; `None` if there is nothing.
    known_to: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Keyed by the values of the order's fields, which differ between any two documents.
    At(Position),
    /// As the source reported when it was read.
    Nth(usize),
}

impl Window {
    /// An empty window, with nothing known to exist.
    pub(super) fn new(load: &PendingRead) -> Self {
        Self {
            skip: load.query.skip as usize,
            limit: load.query.limit.map_or(usize::MAX, |limit| limit as usize),
            order: load.plan.order.clone(),
            sort: load.query.sort.clone(),
            documents: BTreeMap::new(),
            places: HashMap::new(),
            known_to: None,
        }
    }

    /// The result of a load, in order.
    pub(super) fn read<R: Row>(load: &PendingRead, rows: &[(DocumentId, R)]) -> Self {
        let mut window = Self::new(load);
        let is_all = load.rows_max().is_none_or(|max| rows.len() < max);
        for (number, (id, row)) in rows.iter().enumerate() {
            let place = window.place(row).unwrap_or(Place::Nth(number));
            window.put(id.clone(), place, row.document(load.query.fields.as_deref()));
        }
        if !is_all {
            window.known_to = window.documents.last_key_value().map(|(place, _)| place.clone());
        }
        window
    }

    fn place<R: Row>(&self, row: &R) -> Option<Place> {
        let order = self.order.as_ref()?;
        Some(Place::At(Position::new(order, |field| row.value(field))))
    }

    fn put(&mut self, id: DocumentId, place: Place, document: Arc<Document>) {
        self.places.insert(id.clone(), place.clone());
        self.documents.insert(place, (id, document));
    }

    /// How many documents are wanted or skipped.
    fn end(&self) -> usize {
        self.skip.saturating_add(self.limit)
    }

    /// A document, shown or not.
    pub(super) fn get(&self, id: &DocumentId) -> Option<&Arc<Document>> {
        Some(&self.documents.get(self.places.get(id)?)?.1)
    }

    /// The ids of all documents, shown or not.
    pub(super) fn ids(&self) -> impl Iterator<Item = &DocumentId> {
        self.places.keys()
    }

    /// The documents that are wanted.
    pub(super) fn shown(&self) -> BTreeMap<DocumentId, Arc<Document>> {
        self.documents.values().skip(self.skip).take(self.limit).cloned().collect()
    }

    /// Whether it holds the same documents at the same places as another window, and knows as much.
    /// Documents that are the same become the very same.
    pub(super) fn has_same_as(&mut self, other: &Self) -> bool {
        let mut is_same = self.documents.len() == other.documents.len()
            && self.known_to == other.known_to
            && self.order == other.order;
        for (place, (id, document)) in &mut self.documents {
            match other.documents.get(place) {
                Some((held_id, held)) if held_id == id && held == document => {
                    document.clone_from(held);
                }
                _ => is_same = false,
            }
        }
        is_same
    }

    /// Whether wanted documents may exist that are not held.
    pub(super) fn is_short(&self) -> bool {
        self.known_to.is_some() && self.documents.len() < self.end()
    }

    /// Everything is gone.
    pub(super) fn clear(&mut self) {
        self.documents.clear();
        self.places.clear();
        self.known_to = None;
    }

    pub(super) fn remove(&mut self, id: &DocumentId) {
        if let Some(place) = self.places.remove(id) {
            self.documents.remove(&place);
        }
    }

    /// Takes a row that satisfies the predicate. False if only the source can tell its place.
    pub(super) fn insert<R: Row>(
        &mut self,
        id: &DocumentId,
        row: &R,
        document: &Arc<Document>,
    ) -> bool {
        let (place, is_certain) = match self.place(row) {
            Some(place) => (place, true),
            None => {
                let Some(before) = self.get(id) else { return false };
                let is_certain = self.sort.iter().all(|key| {
                    &*key.field == "_id"
                        || row.is_exact(&key.field)
                            && before.get(&key.field).is_some()
                            && before.get(&key.field) == document.get(&key.field)
                });
                // Until the source decides, the document stays where it was.
                let Some(place) = self.places.get(id) else { return false };
                (place.clone(), is_certain)
            }
        };
        self.remove(id);
        if self.known_to.as_ref().is_none_or(|known_to| place <= *known_to) {
            self.put(id.clone(), place, Arc::clone(document));
        }
        is_certain
    }

    /// Forgets what is far beyond the wanted documents, and returns it.
    pub(super) fn trim(&mut self) -> Vec<DocumentId> {
        let mut forgotten = Vec::new();
        if self.documents.len() > self.end().saturating_add(2 * BUFFER) {
            while self.documents.len() > self.end().saturating_add(BUFFER)
                && let Some((_, (id, _))) = self.documents.pop_last()
            {
                self.places.remove(&id);
                forgotten.push(id);
            }
            self.known_to = self.documents.last_key_value().map(|(place, _)| place.clone());
        }
        forgotten
    }
}
