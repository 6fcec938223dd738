//! Collections of documents of any shape.

use std::sync::Arc;

use ddp_core::ejson::{Ejson, Object};
use ddp_server::{Collection, Cursor, Error, MemoryCollection};
use parking_lot::Mutex;
use serde::de::{Deserialize, Deserializer, Error as _};

use crate::modifier;

/// An argument that must be an object.
pub(crate) struct Members(pub(crate) Object);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Ejson::deserialize(deserializer)? {
            Ejson::Object(members) => Ok(Self(members)),
            other => Err(D::Error::custom(format_args!("{} is no object", other.kind()))),
        }
    }
}

/// A collection in memory. Its documents are EJSON objects; their ids are strings.
#[derive(Clone)]
pub(crate) struct Documents {
    name: &'static str,
    rows: MemoryCollection<Ejson>,
    /// In the order of insertion, which is also the order of search.
    ids: Arc<Mutex<Vec<String>>>,
}

impl Documents {
    pub(crate) fn new(name: &'static str) -> Self {
        let rows = MemoryCollection::new(&Collection::new(name));
        Self { name, rows, ids: Arc::default() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn find(&self) -> Cursor<Ejson> {
        self.rows.find()
    }

    pub(crate) fn get(&self, id: &str) -> Result<Option<Ejson>, Error> {
        self.rows.get(id)
    }

    /// The first document with these values.
    pub(crate) fn find_one(&self, wanted: &[(&str, &str)]) -> Result<Option<Ejson>, Error> {
        let ids = self.ids.lock().clone();
        for id in ids {
            let document = self.rows.get(&id)?;
            let fits = |document: &Ejson| {
                wanted
                    .iter()
                    .all(|(name, value)| document.get(name).and_then(Ejson::as_str) == Some(*value))
            };
            if document.as_ref().is_some_and(fits) {
                return Ok(document);
            }
        }
        Ok(None)
    }

    /// Inserts a document under the id that it has, or otherwise the one that `make_id` returns.
    pub(crate) fn insert(
        &self,
        mut document: Object,
        make_id: impl FnOnce() -> String,
    ) -> Result<String, Error> {
        let id = match document.shift_remove("_id") {
            None => make_id(),
            Some(Ejson::String(id)) => id,
            Some(other) => {
                let reason = format!("ids are strings here, not {}", other.kind());
                return Err(Error::client(409, reason));
            }
        };
        self.rows.insert_with_id(&id, &Ejson::Object(document))?;
        self.ids.lock().push(id.clone());
        Ok(id)
    }

    /// Changes a document as `modifier` says. Returns how many there were to change.
    pub(crate) fn update(&self, id: &str, modifier: &Ejson) -> Result<u32, Error> {
        let mut outcome = Ok(());
        let found = self.rows.update(id, |document| {
            if let Ejson::Object(fields) = document {
                let mut changed = fields.clone();
                outcome = modifier::apply(&mut changed, modifier);
                if outcome.is_ok() {
                    *fields = changed;
                }
            }
        })?;
        outcome.map(|()| u32::from(found))
    }

    /// Removes a document. Returns how many there were to remove.
    pub(crate) fn remove(&self, id: &str) -> u32 {
        self.ids.lock().retain(|other| other != id);
        u32::from(self.rows.remove(id))
    }
}
