//! Reactive collections in memory: a data source without a database.

mod row;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ddp_core::DocumentId;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::collection::Collection;
use crate::error::Error;
use crate::live_query::{
    Batch, Change, Content, Cursor, DataSource, Documents, Multiplexer, Observation, Observer,
    Origin, Plan, Row,
};
use crate::query::{Position, Query, Truth, ascending};
use crate::random;
use row::{MemoryRow, as_documents_have_it};

/// A collection in this process's memory, live like one in a database.
///
/// Writes are synchronous: when one returns, every subscriber's mailbox has the change, so that a
/// method's `updated` needs no fence. Documents are typed on the way in and out, and stored as
/// EJSON. Cheap to clone: clones are the same collection.
///
/// ```
/// use ddp_server::{Collection, MemoryCollection};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Task {
///     text: String,
/// }
/// let tasks = MemoryCollection::new(&Collection::<Task>::new("tasks"));
/// let id = tasks.insert(&Task { text: "write".to_owned() }).unwrap();
/// assert_eq!(tasks.get(&id).unwrap().unwrap().text, "write");
/// ```
pub struct MemoryCollection<T> {
    collection: Collection<T>,
    store: Arc<Store>,
}

struct Store {
    rows: Mutex<Rows>,
    multiplexer: Arc<Multiplexer<Arc<MemoryRow>>>,
}

#[derive(Default)]
struct Rows {
    rows: BTreeMap<String, Arc<MemoryRow>>,
    transaction: u64,
}

impl<T: Serialize + DeserializeOwned> MemoryCollection<T> {
    /// An empty collection.
    #[must_use]
    pub fn new(collection: &Collection<T>) -> Self {
        let multiplexer = Multiplexer::new(collection.name());
        let store = Arc::new(Store { rows: Mutex::default(), multiplexer });
        Self { collection: collection.clone(), store }
    }

    /// A cursor over all documents, to be narrowed and returned by a publication.
    #[must_use]
    pub fn find(&self) -> Cursor<T> {
        let source: Arc<dyn DataSource> = Arc::clone(&self.store) as _;
        Cursor::new(source, &self.collection)
    }

    /// The document with this id.
    ///
    /// # Errors
    /// A document that does not have the form of `T`.
    pub fn get(&self, id: &str) -> Result<Option<T>, Error> {
        let row = self.store.rows.lock().rows.get(id).cloned();
        row.map(|row| row.typed()).transpose()
    }

    /// Inserts a document under a new random id and returns the id.
    ///
    /// # Errors
    /// See [`insert_with_id`](Self::insert_with_id).
    pub fn insert(&self, document: &T) -> Result<String, Error> {
        let id = random::id();
        self.insert_with_id(&id, document)?;
        Ok(id)
    }

    /// Inserts a document under this id.
    ///
    /// # Errors
    /// An id that is taken (code 409), or a document that does not serialize to a map.
    pub fn insert_with_id(&self, id: &str, document: &T) -> Result<(), Error> {
        let row = MemoryRow::new(id, document)?;
        let mut rows = self.store.rows.lock();
        if rows.rows.contains_key(id) {
            return Err(Error::client(409, format!("Duplicate id '{id}'")));
        }
        self.store.put(&mut rows, id, Some(row));
        Ok(())
    }

    /// Changes a document. Returns false if no document has this id.
    ///
    /// The collection is locked while `change` runs and the document serializes: neither may use
    /// the collection, or it deadlocks.
    ///
    /// # Errors
    /// A document that does not have the form of `T`, or whose new form does not serialize to a map.
    pub fn update(&self, id: &str, change: impl FnOnce(&mut T)) -> Result<bool, Error> {
        let mut rows = self.store.rows.lock();
        let Some(row) = rows.rows.get(id) else { return Ok(false) };
        let mut document: T = row.typed()?;
        change(&mut document);
        let row = MemoryRow::new(id, &document)?;
        self.store.put(&mut rows, id, Some(row));
        Ok(true)
    }

    /// Removes a document. Returns false if no document has this id.
    #[expect(clippy::must_use_candidate, reason = "removing is the point")]
    pub fn remove(&self, id: &str) -> bool {
        let mut rows = self.store.rows.lock();
        let exists = rows.rows.contains_key(id);
        if exists {
            self.store.put(&mut rows, id, None);
        }
        exists
    }
}

impl Store {
    /// Sets a row and tells the live queries, under the lock: they must see writes in their order.
    fn put(&self, rows: &mut Rows, id: &str, row: Option<Arc<MemoryRow>>) {
        match &row {
            Some(row) => rows.rows.insert(id.to_owned(), Arc::clone(row)),
            None => rows.rows.remove(id),
        };
        rows.transaction += 1;
        let change = Change { id: DocumentId::from_string(id), row };
        let must_read = self.multiplexer.apply(Batch {
            origin: Origin::Transaction(rows.transaction),
            content: Content::Changes(vec![change]),
        });
        if must_read {
            self.read(rows);
        }
    }

    /// Reads all queries that wait. Nothing happens while the rows are locked, so that each is read
    /// once.
    fn read(&self, rows: &Rows) {
        let seen = rows.transaction;
        let has_seen = |origin| matches!(origin, Origin::Transaction(number) if number <= seen);
        while let Some(read) = self.multiplexer.begin_reads(1).pop() {
            let wanted = wanted(rows, &read.plan).into_iter();
            let wanted = wanted.take(read.rows_max().unwrap_or(usize::MAX));
            let wanted = wanted.map(|row| (row.id(), row)).collect();
            if !self.multiplexer.finish_reads(vec![(read, wanted)], Origin::Gap, has_seen) {
                break;
            }
        }
    }
}

impl DataSource for Store {
    fn observe<'a>(
        &'a self,
        query: &'a Query,
        observer: Observer,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        let plan = match plan(query) {
            Ok(plan) => plan,
            Err(error) => return futures::future::ready(Err(error)).boxed(),
        };
        let joined = self.multiplexer.observe(query, plan, observer);
        if joined.must_read {
            self.read(&self.rows.lock());
        }
        async move {
            joined.ready.await??;
            Ok(joined.observation)
        }
        .boxed()
    }

    fn fetch<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Documents, Error>> {
        let documents = plan(query).map(|plan| {
            let rows = self.rows.lock();
            let wanted = wanted(&rows, &plan).into_iter().skip(query.skip as usize);
            let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
            let fields = query.fields.as_deref();
            wanted.take(limit).map(|row| (row.id(), row.document(fields))).collect()
        });
        futures::future::ready(documents).boxed()
    }
}

fn plan(query: &Query) -> Result<Plan, Error> {
    let predicate = query.predicate.try_map_conditions(&as_documents_have_it)?;
    let keys = predicate.equality_keys(&|_| true);
    let id = ascending("_id");
    let is_ordered = query.has_window() || !query.sort.is_empty();
    let order = is_ordered.then(|| query.sort.iter().cloned().chain([id]).collect());
    Ok(Plan { predicate, keys, order })
}

/// The rows that a query wants, in its order.
fn wanted(rows: &Rows, plan: &Plan) -> Vec<Arc<MemoryRow>> {
    let wants =
        |row: &&Arc<MemoryRow>| plan.predicate.evaluate(&|test| row.meets(test)) == Truth::True;
    let mut wanted: Vec<_> = rows.rows.values().filter(wants).cloned().collect();
    if let Some(order) = &plan.order {
        wanted.sort_by_cached_key(|row| Position::new(order, |field| row.value(field)));
    }
    wanted
}

impl<T> Clone for MemoryCollection<T> {
    fn clone(&self) -> Self {
        Self { collection: self.collection.clone(), store: Arc::clone(&self.store) }
    }
}

impl<T> fmt::Debug for MemoryCollection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let documents = self.store.rows.lock().rows.len();
        f.debug_struct("MemoryCollection")
            .field("collection", &self.collection)
            .field("documents", &documents)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::connection::mailbox::Mailbox;
    use crate::query::{Predicate, Value, field};

    const NUMBERS: Collection<Number> = Collection::new("numbers");

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Number {
        number: f64,
    }

    fn observer() -> (Arc<Mailbox>, Observer) {
        let mailbox = Arc::new(Mailbox::new(1_000_000, 8, Arc::default()));
        (Arc::clone(&mailbox), Observer::new(mailbox, 1))
    }

    fn mail(mailbox: &Mailbox) -> usize {
        let mut mail = VecDeque::new();
        mailbox.take(&mut mail);
        mail.len()
    }

    #[test]
    fn a_query_that_others_write_before_it_is_read_begins_with_the_newest() {
        let numbers = MemoryCollection::new(&NUMBERS);
        let id = numbers.insert(&Number { number: 0.0 }).unwrap();
        let query = Query::all("numbers");
        let plan = Plan { predicate: Predicate::All, keys: None, order: None };
        // Others write between the beginning of a subscription and its read.
        let joined = numbers.store.multiplexer.observe(&query, plan, observer().1);
        assert!(joined.must_read);
        assert!(numbers.update(&id, |number| number.number += 1.0).unwrap());
        assert!(matches!(joined.ready.now_or_never(), Some(Ok(Ok(())))));
        let second = numbers.store.observe(&query, observer().1).now_or_never();
        assert!(second.is_some_and(|observed| observed.is_ok()), "it is over");
    }

    #[test]
    fn a_whole_number_routes_however_it_is_written() {
        let numbers = MemoryCollection::new(&NUMBERS);
        let (mailbox, observer) = observer();
        let query =
            Query { predicate: field("number").eq(Value::Float(5.0)), ..Query::all("numbers") };
        let _observation = numbers.store.observe(&query, observer).now_or_never().unwrap().unwrap();
        assert_eq!(mail(&mailbox), 1);
        numbers.insert(&Number { number: 5.0 }).unwrap();
        assert_eq!(mail(&mailbox), 1, "5 equals 5.0");
    }
}
