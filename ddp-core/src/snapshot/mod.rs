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
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound::{self, Excluded, Unbounded};
use std::sync::{Arc, OnceLock, Weak};

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

    /// The same for the documents after one, or for all, without copying anything. Shared parts are
    /// skipped only if it is for all, or everything is shared.
    pub(crate) fn changes_to<'a>(
        &'a self,
        next: &'a Self,
        after: Option<&DocumentId>,
    ) -> Box<dyn Iterator<Item = Sides<'a>> + 'a> {
        let Some(after) = after else {
            return Box::new(self.documents.diff(&next.documents).map(|item| match item {
                DiffItem::Add(id, is) => (id, None, Some(is)),
                DiffItem::Update { old: (_, was), new: (id, is) } => (id, Some(was), Some(is)),
                DiffItem::Remove(id, was) => (id, Some(was), None),
            }));
        };
        if self.documents.ptr_eq(&next.documents) {
            return Box::new(std::iter::empty());
        }
        let rest: (Bound<&DocumentId>, Bound<&DocumentId>) = (Excluded(after), Unbounded);
        let mut old = self.documents.range::<_, DocumentId>(rest).peekable();
        let mut new = next.documents.range::<_, DocumentId>(rest).peekable();
        Box::new(std::iter::from_fn(move || {
            loop {
                let order = match (old.peek(), new.peek()) {
                    (Some((was, _)), Some((is, _))) => was.cmp(is),
                    (Some(_), None) => Ordering::Less,
                    (None, _) => Ordering::Greater,
                };
                let was = if order.is_le() { old.next() } else { None };
                let is = if order.is_ge() { new.next() } else { None };
                let (id, _) = is.or(was)?;
                let (was, is) = (was.map(|(_, was)| was), is.map(|(_, is)| is));
                if was != is {
                    return Some((id, was, is));
                }
            }
        }))
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

    /// Replaces this snapshot by a version with the documents of another, which both share from then
    /// on. `None` if they are equal to these; the version stays then.
    pub fn replace_by(&mut self, collection: &CollectionName, other: &Self) -> Option<Arc<Delta>> {
        let changes = self.diff(other);
        self.documents.clone_from(&other.documents);
        if changes.is_empty() {
            return None;
        }
        let from = self.version;
        self.version += 1;
        Some(Arc::new(Delta::new(collection.clone(), from, changes, self.clone())))
    }

    /// Whether the documents are the very same, so that a step of one could be a step of the other.
    /// That equal documents are the very same is only seen where both snapshots come from one.
    #[must_use]
    pub fn shares_with(&self, other: &Self) -> bool {
        self.documents.ptr_eq(&other.documents) || self.is_empty() && other.is_empty()
    }

    /// Has this snapshot share the documents of another, if they are equal: then both take no more
    /// memory than one, and one can [follow](Self::follow) the other. The version stays. False, and
    /// nothing happens, if they are not equal.
    pub fn share(&mut self, other: &Self) -> bool {
        if self.shares_with(other) {
            return true;
        }
        let is_equal =
            self.len() == other.len() && self.documents.iter().eq(other.documents.iter());
        if is_equal {
            self.documents.clone_from(&other.documents);
        }
        is_equal
    }

    /// Takes a step that another snapshot took which had the documents of `before`. It costs the same
    /// however many documents change: the changes and their messages are shared. `None`, and nothing
    /// happens, if this snapshot does not [share](Self::shares_with) its documents with `before`.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::sync::Arc;
    ///
    /// use ddp_core::{CollectionName, Document, DocumentId, Snapshot};
    ///
    /// let (tasks, before) = (CollectionName::from("tasks"), Snapshot::default());
    /// let (mut one, mut other) = (before.clone(), before.clone());
    /// let document = Document::from_fields([("done".into(), "false")]).map(Arc::new);
    /// let documents = BTreeMap::from([(DocumentId::from_string("a"), document)]);
    /// let step = one.advance(&tasks, documents).expect("the document is new");
    /// let same = other.follow(&before, &step).expect("nothing differs");
    /// assert!(same.is_like(&step) && other.shares_with(&one));
    /// ```
    pub fn follow(&mut self, before: &Self, step: &Arc<Delta>) -> Option<Arc<Delta>> {
        if !self.shares_with(before) {
            return None;
        }
        let from = self.version;
        self.version += 1;
        self.documents.clone_from(&step.after.documents);
        if from == step.from {
            return Some(Arc::clone(step));
        }
        let (collection, changes) = (step.collection.clone(), Arc::clone(&step.changes));
        Some(Arc::new(Delta { collection, from, changes, after: self.clone() }))
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

/// A document before and after.
pub(crate) type Sides<'a> = (&'a DocumentId, Option<&'a Arc<Document>>, Option<&'a Arc<Document>>);

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
    changes: Arc<Changes>,
    after: Snapshot,
}

/// What a step does, and what is made of that once, for all live queries that it is a step of.
#[derive(Debug)]
struct Changes {
    all: Vec<DocumentChange>,
    only_update: OnceLock<bool>,
    frames: Frames,
}

/// Recognizes the steps that are [like](Delta::is_like) one, without keeping its documents.
#[derive(Debug)]
pub(crate) struct Likeness(Weak<Changes>);

impl Likeness {
    /// Equal for steps that are like each other, and for no other as long as this is kept.
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl Delta {
    fn new(
        collection: CollectionName,
        from: u64,
        all: Vec<DocumentChange>,
        after: Snapshot,
    ) -> Self {
        let (only_update, frames) = Default::default();
        Self { collection, from, changes: Arc::new(Changes { all, only_update, frames }), after }
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
        &self.changes.all
    }

    /// Whether no document comes or goes, and none loses a field. Found out once.
    #[must_use]
    pub fn only_updates(&self) -> bool {
        *self.changes.only_update.get_or_init(|| {
            self.changes.all.iter().all(|change| match (&change.before, &change.after) {
                (Some(before), Some(after)) => after.has_fields_of(before),
                _ => false,
            })
        })
    }

    /// Whether this is the same step as another but for its versions: one of the two
    /// [followed](Snapshot::follow) the other. Then both do the same to equal documents.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.changes, &other.changes)
    }

    pub(crate) fn likeness(&self) -> Likeness {
        Likeness(Arc::downgrade(&self.changes))
    }

    /// The [address](Likeness::address) of its likeness.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.changes).addr()
    }

    /// The snapshot after the step.
    #[must_use]
    pub fn after(&self) -> &Snapshot {
        &self.after
    }

    /// Passes each DDP message of the step to `message`, in order.
    pub fn for_each_message(&self, mut message: impl FnMut(&str)) {
        let mut text = String::new();
        for change in &self.changes.all {
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
        self.changes.frames.get_or_init(framing, || encode(self)).clone()
    }
}
