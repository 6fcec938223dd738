//! The documents that a client has, as minimongo keeps them.

use std::collections::{BTreeMap, HashMap};

use ddp_core::ejson::{self, Ejson, Object, ObjectId};
use ddp_core::merge_box::{PublicationStrategies, PublicationStrategy};

/// All collections of a client.
#[derive(Debug)]
pub(super) struct Minimongo {
    strategies: PublicationStrategies,
    collections: HashMap<String, Documents>,
}

/// The documents of one collection.
#[derive(Debug, Default)]
struct Documents {
    /// By the ids that travel.
    documents: HashMap<String, Document>,
    /// The ids in their order.
    order: BTreeMap<u64, String>,
    next_place: u64,
}

#[derive(Debug)]
struct Document {
    place: u64,
    fields: Object,
}

/// What a message about a document says.
#[derive(Debug)]
pub(super) enum Change {
    Added(Object),
    /// Added before another document, or at the end.
    AddedBefore(Object, Option<String>),
    /// New values of some fields, and the names of those cleared.
    Changed(Object, Vec<String>),
    MovedBefore(Option<String>),
    Removed,
}

impl Minimongo {
    pub(super) fn new(strategies: PublicationStrategies) -> Self {
        Self { strategies, collections: HashMap::new() }
    }

    /// Applies a message.
    ///
    /// # Errors
    /// Why it does not fit what is there.
    pub(super) fn apply(
        &mut self,
        collection: &str,
        id: String,
        change: Change,
    ) -> Result<(), String> {
        // Where the server does not merge, several subscriptions may say the same of a document, and
        // Meteor's client makes the best of that.
        let is_merged = self.strategies.of(collection) == PublicationStrategy::ServerMerge;
        let documents = self.collections.entry(collection.to_owned()).or_default();
        match change {
            Change::Added(fields) => documents.add(id, fields, None, is_merged),
            Change::AddedBefore(fields, before) => {
                documents.add(id, fields, Some(before), is_merged)
            }
            Change::Changed(fields, cleared) => documents.change(id, fields, &cleared, is_merged),
            Change::MovedBefore(before) => documents.place(&id, before),
            Change::Removed => documents.remove(&id, is_merged),
        }
    }

    /// The documents of a collection in their order: the `_id` as text, and the document with it.
    pub(super) fn documents(&self, collection: &str) -> Vec<(String, Object)> {
        let Some(documents) = self.collections.get(collection) else { return Vec::new() };
        let ids = documents.order.values();
        ids.map(|id| {
            let (key, value) = decode_id(id);
            let fields = &documents.documents[id].fields;
            let mut document = Object::with_capacity(fields.len() + 1);
            document.insert("_id".to_owned(), value);
            document.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
            (key, document)
        })
        .collect()
    }
}

impl Documents {
    fn add(
        &mut self,
        id: String,
        fields: Object,
        before: Option<Option<String>>,
        is_merged: bool,
    ) -> Result<(), String> {
        if let Some(document) = self.documents.get_mut(&id) {
            if is_merged {
                return Err("the client has this document already".to_owned());
            }
            document.fields.extend(fields);
        } else {
            let place = self.end();
            self.order.insert(place, id.clone());
            self.documents.insert(id.clone(), Document { place, fields });
        }
        before.map_or(Ok(()), |before| self.place(&id, before))
    }

    fn change(
        &mut self,
        id: String,
        fields: Object,
        cleared: &[String],
        is_merged: bool,
    ) -> Result<(), String> {
        let Some(document) = self.documents.get_mut(&id) else {
            if is_merged {
                return Err("the client does not have this document".to_owned());
            }
            return self.add(id, fields, None, is_merged);
        };
        document.fields.extend(fields);
        for name in cleared {
            // The order of the others stays.
            if document.fields.shift_remove(name).is_none() && is_merged {
                return Err(format!("the document has no field {name:?} to be cleared"));
            }
        }
        Ok(())
    }

    fn remove(&mut self, id: &str, is_merged: bool) -> Result<(), String> {
        match self.documents.remove(id) {
            Some(document) => {
                self.order.remove(&document.place);
                Ok(())
            }
            None if is_merged => Err("the client does not have this document".to_owned()),
            None => Ok(()),
        }
    }

    /// Puts a document before another one, or at the end.
    fn place(&mut self, id: &str, before: Option<String>) -> Result<(), String> {
        let Some(document) = self.documents.get_mut(id) else {
            return Err("the client does not have this document".to_owned());
        };
        let moved = self.order.remove(&document.place).unwrap_or_else(|| id.to_owned());
        let Some(before) = before else {
            document.place = self.next_place;
            self.next_place += 1;
            self.order.insert(document.place, moved);
            return Ok(());
        };
        let mut order: Vec<String> = std::mem::take(&mut self.order).into_values().collect();
        let Some(index) = order.iter().position(|other| *other == before) else {
            return Err(format!("the client has no document {before:?} to put it before"));
        };
        order.insert(index, moved);
        for id in order {
            let place = self.end();
            if let Some(document) = self.documents.get_mut(&id) {
                document.place = place;
            }
            self.order.insert(place, id);
        }
        Ok(())
    }

    /// The place after all others.
    fn end(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place - 1
    }
}

/// A document's `_id` as text and as a value, by the rule of Meteor's `mongo-id`: see
/// [`DocumentId`](ddp_core::DocumentId).
fn decode_id(wire: &str) -> (String, Ejson) {
    if let Some(id) = wire.strip_prefix('-') {
        return (id.to_owned(), id.into());
    }
    if let Some(json) = wire.strip_prefix('~')
        && let Ok(value) = ejson::parse(json)
    {
        return (json.to_owned(), value);
    }
    let is_lower_hex = wire.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_object_id = is_lower_hex && wire.parse::<ObjectId>().is_ok();
    let value = if is_object_id { Ejson::custom("oid", wire) } else { wire.into() };
    (wire.to_owned(), value)
}
