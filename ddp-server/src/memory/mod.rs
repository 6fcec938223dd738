//! Reactive collections in memory: a data source without a database.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ddp_core::ejson::{self, Ejson, Object};
use ddp_core::{Document, DocumentId, FieldName};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::collection::Collection;
use crate::error::Error;
use crate::live_query::{
    Batch, Change, Content, Cursor, DataSource, Load, Multiplexer, Observation, Observer, Origin,
    Plan, Row,
};
use crate::query::{Is, Position, Query, Test, Truth, Value, ascending, is_pattern};
use crate::random;

/// A collection that lives in this process and is live like one of a database.
///
/// Writes are synchronous: when one returns, every subscriber's mailbox has the change, so that a
/// method's `updated` needs no fence. Documents are typed when they come and go, and are held as
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

struct MemoryRow {
    id: String,
    fields: Object,
    document: Arc<Document>,
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

    /// Inserts a document under a new random id, which is the answer.
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

    /// Changes a document. False if there is none with this id.
    ///
    /// The collection is locked while `change` runs and the document serializes: they must not use
    /// the collection themselves.
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

    /// Removes a document. False if there is none with this id.
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
        let loads = self.multiplexer.apply(Batch {
            origin: Origin::Transaction(rows.transaction),
            content: Content::Changes(vec![change]),
        });
        for load in loads {
            self.load(rows, load);
        }
    }

    fn load(&self, rows: &Rows, mut load: Load) {
        // Nothing happens while the rows are locked, so that what was missed before is read by the
        // second time at the latest.
        while let Some(repeat) = self.read(rows, load) {
            load = repeat;
        }
    }

    fn read(&self, rows: &Rows, load: Load) -> Option<Load> {
        let mut wanted: Vec<_> = rows
            .rows
            .values()
            .filter(|row| load.plan.predicate.evaluate(&|test| row.test(test)) == Truth::True)
            .collect();
        if let Some(order) = &load.plan.order {
            wanted.sort_by_cached_key(|row| Position::new(order, |field| row.value(field)));
        }
        wanted.truncate(load.rows_max().unwrap_or(usize::MAX));
        let rows_read = wanted.into_iter();
        let rows_read =
            rows_read.map(|row| (DocumentId::from_string(&row.id), Arc::clone(row))).collect();
        let seen = rows.transaction;
        let repeat = self.multiplexer.finish_load(
            load,
            rows_read,
            |origin| matches!(origin, Origin::Transaction(number) if number <= seen),
        );
        repeat.now_or_never()?.ok().flatten()
    }
}

impl DataSource for Store {
    fn observe<'a>(
        &'a self,
        query: &'a Query,
        observer: Observer,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        let predicate = match query.predicate.try_map_tests(&as_documents_have_it) {
            Ok(predicate) => predicate,
            Err(error) => return futures::future::ready(Err(error)).boxed(),
        };
        let keys = predicate.equality_keys(&|_| true);
        let id = ascending("_id");
        let order = query.has_window().then(|| query.sort.iter().cloned().chain([id]).collect());
        let plan = Plan { predicate, keys, order };
        let joined = self.multiplexer.observe(query, plan, observer);
        if let Some(load) = joined.load {
            self.load(&self.rows.lock(), load);
        }
        async move {
            joined.ready.await??;
            Ok(joined.observation)
        }
        .boxed()
    }
}

/// JavaScript's `Number.MAX_SAFE_INTEGER`.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A test with its constants in the form of documents' values: numbers are doubles there, and
/// integers that doubles cannot tell apart are texts.
fn as_documents_have_it(test: &Test) -> Result<Test, Error> {
    if let Is::Like(pattern) | Is::ILike(pattern) = &test.is
        && !is_pattern(pattern)
    {
        let field = &test.field;
        return Err(Error::internal(format!("the pattern for {field:?} ends with a backslash")));
    }
    let is = test.is.try_map(|constant| {
        Ok::<_, Error>(match constant {
            Value::Int(integer) if integer.unsigned_abs() > SAFE_INTEGER_MAX => {
                Value::from(integer.to_string())
            }
            Value::Float(float) => Value::from(*float),
            Value::Decimal(decimal) => decimal.to_string().parse().map_or(Value::Null, f64::into),
            other => other.clone(),
        })
    })?;
    Ok(Test { field: test.field.clone(), is })
}

/// The number that a path's step is of an array of this length; negative ones count from its end.
fn index(step: &str, length: usize) -> Option<usize> {
    let number: i64 = step.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    usize::try_from(if number < 0 { number + length } else { number }).ok()
}

impl MemoryRow {
    fn new(id: &str, document: &impl Serialize) -> Result<Arc<Self>, Error> {
        let Ejson::Object(mut fields) = ejson::to_value(document)? else {
            return Err(Error::internal("a document must serialize to a map"));
        };
        fields.shift_remove("_id");
        let texts: Vec<(FieldName, String)> = fields
            .iter()
            .map(|(name, value)| (FieldName::from(name.as_str()), value.to_text()))
            .collect();
        let document = Document::from_fields(texts.iter().map(|(n, t)| (n.clone(), t.as_str())))
            .ok_or_else(|| Error::internal("document too large"))?;
        Ok(Arc::new(Self { id: id.to_owned(), fields, document: Arc::new(document) }))
    }

    fn typed<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let mut fields = self.fields.clone();
        fields.insert("_id".to_owned(), Ejson::String(self.id.clone()));
        Ok(ejson::from_value(Ejson::Object(fields))?)
    }
}

impl Row for Arc<MemoryRow> {
    fn value(&self, field: &str) -> Value {
        if field == "_id" {
            return Value::from(self.id.as_str());
        }
        let mut names = field.split('.');
        let mut value = names.next().and_then(|name| self.fields.get(name));
        for name in names {
            value = value.and_then(|value| match value {
                Ejson::Object(fields) => fields.get(name),
                Ejson::Array(elements) => elements.get(index(name, elements.len())?),
                _ => None,
            });
        }
        value.map_or(Value::Null, Value::of_document)
    }

    fn document(&self, fields: Option<&[FieldName]>) -> Arc<Document> {
        let Some(fields) = fields else { return Arc::clone(&self.document) };
        let kept = self.document.iter().filter(|(name, _)| fields.contains(name));
        let kept = Document::from_fields(kept.map(|(name, text)| (name.clone(), text)));
        // A part of a document is no larger than the document, which was not too large.
        kept.map_or_else(|| Arc::clone(&self.document), Arc::new)
    }
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

    use serde_json::json;

    use super::*;
    use crate::connection::mailbox::Mailbox;
    use crate::query::{Predicate, field};

    fn truth(row: &Arc<MemoryRow>, predicate: &Predicate) -> Result<Truth, Error> {
        let predicate = predicate.try_map_tests(&as_documents_have_it)?;
        let keys = predicate.equality_keys(&|_| true);
        let truth = predicate.evaluate(&|test| row.test(test));
        if let Some((field, values)) = keys {
            assert_eq!(
                values.contains(&row.value(&field)),
                truth == Truth::True,
                "routed as decided"
            );
        }
        Ok(truth)
    }

    #[test]
    fn documents_are_asked_as_json_of_a_database_is() {
        let row = MemoryRow::new(
            "x",
            &json!({
                "n": 1_152_921_504_606_846_976_i64, "owner": {"name": "Ada", "tags": ["a", 2.5, null]},
                "none": null, "text": "10 % off"
            }),
        );
        let row = row.unwrap();
        for (predicate, expected) in [
            (field("n").eq(1_152_921_504_606_846_976_i64), Truth::True),
            (field("n").ne(1_152_921_504_606_846_977_i64), Truth::True),
            (field("n").eq("1".parse::<crate::query::Decimal>().unwrap()), Truth::False),
            (field("owner.name").eq("Ada"), Truth::True),
            (field("owner.name").ilike("AD_"), Truth::True),
            (field("owner.name").gt(1), Truth::Unknown),
            (field("owner.tags").contains_all(["a"]), Truth::True),
            (field("owner.tags").overlaps([2.5, 3.0]), Truth::True),
            (field("owner.tags.-2").between(2, 3), Truth::True),
            (field("owner.tags.2").is_null(), Truth::True),
            (field("owner.tags.7").is_null(), Truth::True),
            (field("owner").is_not_null(), Truth::True),
            (field("none.at.all").ne(1), Truth::Unknown),
            (field("text").like("10 \\%%"), Truth::True),
            (field("text").starts_with("10 %"), Truth::True),
            (field("_id").not_in(["y"]), Truth::True),
        ] {
            assert_eq!(truth(&row, &predicate).unwrap(), expected, "{predicate:?}");
        }
        let error = truth(&row, &field("text").like("\\")).unwrap_err();
        assert!(error.to_string().contains("backslash"), "{error}");
    }

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
    fn a_load_that_missed_too_much_is_repeated() {
        let numbers = MemoryCollection::new(&NUMBERS);
        let id = numbers.insert(&Number { number: 0.0 }).unwrap();
        let query = Query::all("numbers");
        let plan = Plan { predicate: Predicate::All, keys: None, order: None };
        // Others write between the beginning of a subscription and its read.
        let joined = numbers.store.multiplexer.observe(&query, plan, observer().1);
        for _ in 0..6_000 {
            assert!(numbers.update(&id, |number| number.number += 1.0).unwrap());
        }
        numbers.store.load(&numbers.store.rows.lock(), joined.load.unwrap());
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
