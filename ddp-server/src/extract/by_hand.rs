//! The documents that a publication adds, changes and removes by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ddp_core::merge_box::{Direct, Place, Placement};
use ddp_core::{CollectionName, Delta, Document, DocumentId, FieldName, Snapshot};

/// A document's fields with the EJSON text of each.
pub(crate) type Fields = Vec<(FieldName, String)>;

/// What a publication did to its documents, for its session.
pub(crate) enum Change {
    /// A step that a later one may take the place of.
    Step(Arc<Delta>),
    /// A step that may not be left out, since documents have places.
    Exact(Arc<Delta>),
    Placed(Option<Arc<Delta>>, Box<Placement>),
    Direct(Box<Direct>),
}

/// What one subscription publishes by hand: mostly nothing, which takes no memory.
#[derive(Default)]
pub(crate) struct ByHand(Option<Box<Collections>>);

#[derive(Default)]
struct Collections(HashMap<CollectionName, Collection>);

#[derive(Default)]
struct Collection {
    snapshot: Snapshot,
    /// Whether its documents have places, so that no step may be left out.
    is_ordered: bool,
}

impl ByHand {
    /// Replaces one document by what `next` makes of it. Nothing if it is the same.
    pub(crate) fn step(
        &mut self,
        collection: &str,
        id: &str,
        next: impl FnOnce(Option<&Document>) -> Option<Fields>,
    ) -> Option<Change> {
        let (name, collection) = self.collection(collection);
        let delta = step(&mut collection.snapshot, &name, &DocumentId::from_string(id), next)?;
        Some(if collection.is_ordered { Change::Exact(delta) } else { Change::Step(delta) })
    }

    /// Puts a document in its place before another one, or at the end, with these fields if they are
    /// given. Nothing if there is no such document.
    pub(crate) fn place(
        &mut self,
        collection: &str,
        id: &str,
        fields: Option<Fields>,
        before: Option<&str>,
    ) -> Option<Change> {
        let (name, collection) = self.collection(collection);
        let id = DocumentId::from_string(id);
        let delta =
            fields.and_then(|fields| step(&mut collection.snapshot, &name, &id, |_| Some(fields)));
        collection.snapshot.get(&id)?;
        collection.is_ordered = true;
        let place = Place::before(before.map(DocumentId::from_string));
        let placement = Placement { collection: name, id, place };
        Some(Change::Placed(delta, Box::new(placement)))
    }

    fn collection(&mut self, name: &str) -> (CollectionName, &mut Collection) {
        let Collections(collections) = &mut **self.0.get_or_insert_default();
        let name = match collections.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => name.into(),
        };
        (name.clone(), collections.entry(name).or_default())
    }
}

/// The change of a document of a collection in which nothing is remembered, from the first fields to
/// the second. Nothing if they are the same.
pub(crate) fn forgotten(
    collection: &str,
    id: &str,
    before: Option<Fields>,
    after: Option<Fields>,
) -> Option<Change> {
    let (collection, id) = (collection.into(), DocumentId::from_string(id));
    let (before, after) = (before.and_then(document), after.and_then(document));
    let direct = Direct { collection, id, before, after, place: None };
    (direct.before != direct.after).then(|| Change::Direct(Box::new(direct)))
}

/// The change of the place of such a document, which is new if there are fields.
pub(crate) fn forgotten_place(
    collection: &str,
    id: &str,
    fields: Option<Fields>,
    before: Option<&str>,
) -> Option<Change> {
    let (collection, id) = (collection.into(), DocumentId::from_string(id));
    let place = Some(Place::before(before.map(DocumentId::from_string)));
    let (before, after) = match fields {
        Some(fields) => (None, document(fields)?),
        // It moves, and nothing is said about its fields.
        None => (document(Fields::new()), document(Fields::new())?),
    };
    let direct = Direct { collection, id, before, after: Some(after), place };
    Some(Change::Direct(Box::new(direct)))
}

fn step(
    snapshot: &mut Snapshot,
    collection: &CollectionName,
    id: &DocumentId,
    next: impl FnOnce(Option<&Document>) -> Option<Fields>,
) -> Option<Arc<Delta>> {
    let document = next(snapshot.get(id).map(|document| &**document)).and_then(document);
    snapshot.advance(collection, BTreeMap::from([(id.clone(), document.map(Arc::new))]))
}

/// A document of these fields, unless they are longer than 4 GiB.
fn document(fields: Fields) -> Option<Document> {
    Document::from_fields(fields.iter().map(|(name, text)| (name.clone(), text.as_str())))
}
