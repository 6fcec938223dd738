//! A live query's documents at one point, and the step to the next.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Arc;
//!
//! use ddp_core::{CollectionName, Document, DocumentId, Snapshot};
//!
//! let tasks = CollectionName::from("tasks");
//! let mut snapshot = Snapshot::default();
//! let document = Document::from_fields([("text".into(), r#""tidy up""#)]).map(Arc::new);
//! let id = DocumentId::from_string("a");
//! let delta = snapshot.advance(&tasks, BTreeMap::from([(id.clone(), document)]));
//! let delta = delta.expect("the document is new");
//! assert_eq!((delta.from(), delta.to()), (0, 1));
//!
//! let mut messages = Vec::new();
//! delta.for_each_message(|text| messages.push(text.to_owned()));
//! let added = r#"{"msg":"added","collection":"tasks","id":"a","fields":{"text":"tidy up"}}"#;
//! assert_eq!(messages, [added]);
//!
//! // A step that changes nothing is no step.
//! let same = snapshot.get(&id).cloned();
//! assert!(snapshot.advance(&tasks, BTreeMap::from([(id, same)])).is_none());
//! ```

mod frames;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use frames::Frames;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::document::Document;
use crate::id::DocumentId;
use crate::message::encode::{FieldList, push_difference};

/// A collection's name, shared.
pub type CollectionName = Arc<str>;

/// The documents of one collection that a subscription shows, at one version.
///
/// A persistent map: a clone shares the tree, and the next version shares everything that did not
/// change. Version 0 is always empty.
#[derive(Clone, Default)]
pub struct Snapshot {
    version: u64,
    documents: OrdMap<DocumentId, Arc<Document>>,
}

impl Snapshot {
    /// Counts the steps from the empty snapshot, which is version 0.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The document with this id.
    #[must_use]
    pub fn get(&self, id: &DocumentId) -> Option<&Arc<Document>> {
        self.documents.get(id)
    }

    /// The documents, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = (&DocumentId, &Arc<Document>)> {
        self.documents.iter()
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are no documents.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The changes that turn this snapshot into `next`. Shared parts of the two are skipped.
    #[must_use]
    pub fn diff(&self, next: &Self) -> Vec<DocumentChange> {
        let change = |id: &DocumentId, before: Option<&Arc<Document>>, after: Option<&Arc<_>>| {
            DocumentChange { id: id.clone(), before: before.cloned(), after: after.cloned() }
        };
        let changes = self.documents.diff(&next.documents).map(|item| match item {
            DiffItem::Add(id, after) => change(id, None, Some(after)),
            DiffItem::Update { old: (_, before), new: (id, after) } => {
                change(id, Some(before), Some(after))
            }
            DiffItem::Remove(id, before) => change(id, Some(before), None),
        });
        changes.collect()
    }

    /// Replaces this snapshot by the next version, in which each given document has its new
    /// contents, or is gone. Changes without effect are dropped; if none remain, this returns
    /// `None` and the version stays.
    pub fn advance(
        &mut self,
        collection: &CollectionName,
        documents: BTreeMap<DocumentId, Option<Arc<Document>>>,
    ) -> Option<Arc<Delta>> {
        let mut changes = Vec::new();
        for (id, after) in documents {
            let before = match &after {
                Some(document) => match self.documents.get(&id) {
                    Some(old) if old == document => continue,
                    _ => self.documents.insert(id.clone(), Arc::clone(document)),
                },
                None => match self.documents.remove(&id) {
                    Some(document) => Some(document),
                    None => continue,
                },
            };
            changes.push(DocumentChange { id, before, after });
        }
        if changes.is_empty() {
            return None;
        }
        let from = self.version;
        self.version += 1;
        Some(Arc::new(Delta::new(collection.clone(), from, changes, self.clone())))
    }

    /// Replaces this snapshot by a version with exactly these documents, as after a requery.
    pub fn replace(
        &mut self,
        collection: &CollectionName,
        documents: BTreeMap<DocumentId, Arc<Document>>,
    ) -> Option<Arc<Delta>> {
        let gone = self.documents.keys().filter(|id| !documents.contains_key(id));
        let mut changes: BTreeMap<_, _> = gone.map(|id| (id.clone(), None)).collect();
        changes.extend(documents.into_iter().map(|(id, document)| (id, Some(document))));
        self.advance(collection, changes)
    }

    /// The step from nothing to this snapshot, for a subscription that starts now.
    #[must_use]
    pub fn initial(&self, collection: &CollectionName) -> Arc<Delta> {
        let added = |(id, document): (&DocumentId, &Arc<Document>)| DocumentChange {
            id: id.clone(),
            before: None,
            after: Some(Arc::clone(document)),
        };
        let changes = self.documents.iter().map(added).collect();
        Arc::new(Delta::new(collection.clone(), 0, changes, self.clone()))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} ", self.version)?;
        f.debug_map().entries(self.documents.iter()).finish()
    }
}

/// What one step does to one document. The sides are never both absent and never equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentChange {
    /// The document.
    pub id: DocumentId,
    /// The document before the step; `None` if it did not exist.
    pub before: Option<Arc<Document>>,
    /// The document after the step; `None` if it is gone.
    pub after: Option<Arc<Document>>,
}

/// One step of a live query, from a snapshot to the next, with its messages encoded once for all
/// sessions.
#[derive(Debug)]
pub struct Delta {
    collection: CollectionName,
    from: u64,
    changes: Vec<DocumentChange>,
    after: Snapshot,
    frames: Frames,
}

impl Delta {
    fn new(
        collection: CollectionName,
        from: u64,
        changes: Vec<DocumentChange>,
        after: Snapshot,
    ) -> Self {
        Self { collection, from, changes, after, frames: Frames::default() }
    }

    /// The collection whose documents change.
    #[must_use]
    pub fn collection(&self) -> &CollectionName {
        &self.collection
    }

    /// The version that the step starts from.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.from
    }

    /// The version that the step leads to.
    #[must_use]
    pub fn to(&self) -> u64 {
        self.after.version
    }

    /// What changes.
    #[must_use]
    pub fn changes(&self) -> &[DocumentChange] {
        &self.changes
    }

    /// The snapshot after the step.
    #[must_use]
    pub fn after(&self) -> &Snapshot {
        &self.after
    }

    /// Passes each DDP message of the step to `message`, in order.
    pub fn for_each_message(&self, mut message: impl FnMut(&str)) {
        let mut text = String::new();
        for change in &self.changes {
            text.clear();
            let before: Option<FieldList<'_>> = change.before.as_ref().map(|d| d.iter().collect());
            let after: Option<FieldList<'_>> = change.after.as_ref().map(|d| d.iter().collect());
            let id = &change.id;
            if push_difference(&mut text, &self.collection, id, before.as_ref(), after.as_ref()) {
                message(&text);
            }
        }
    }

    /// The messages as frames of one kind, made by `encode` at the first call and shared from then
    /// on. `framing` is the caller's number for the kind. Each number ever used keeps its frames,
    /// and those used first are found fastest, so there should be few.
    pub fn frames(&self, framing: usize, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.frames.get_or_init(framing, || encode(self)).clone()
    }
}
