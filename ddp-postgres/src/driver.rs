//! The database as a source of live queries.

use std::sync::{Arc, Weak};

use ddp_server::Error as HandlerError;
use ddp_server::live_query::{Driver, Observation, Observer, Plan};
use ddp_server::query::{Comparison, Query};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::db::Inner;
use crate::error::Error;
use crate::schema::Layout;
use crate::table_collection::{Current, Standing, TableCollection};

impl Driver for Inner {
    fn observe<'a>(
        &'a self,
        query: &'a Query,
        observer: Observer,
    ) -> BoxFuture<'a, Result<Observation, HandlerError>> {
        async move {
            let collection = self
                .collections
                .get(&*query.collection)
                .ok_or_else(|| Error::no_such_collection(&query.collection))?;
            let Current { layout, standing } = collection.current();
            if standing == Standing::Unavailable {
                return Err(collection.unavailable().into());
            }
            let plan = plan(&layout, query)?;
            let joined = collection.multiplexer.observe(query, plan, observer);
            let end = End { db: self.weak(), collection: Arc::clone(collection) };
            let observation = Observation::new((joined.observation, end));
            if let Some(load) = joined.load {
                self.spawn_load(collection, load);
            }
            if !Arc::ptr_eq(&layout, &collection.layout()) {
                // The table changed just now, and this query was planned for what it was.
                self.replan(collection);
            }
            joined.ready.await.map_err(|_| Error::closed())??;
            Ok(observation)
        }
        .boxed()
    }
}

/// How a query is evaluated on changes.
pub(crate) fn plan(layout: &Layout, query: &Query) -> Result<Plan, Error> {
    let named = |field: &str| {
        layout.column_named(field).ok_or_else(|| match layout.id_column() {
            None if field == "_id" => Error::composite_key(layout),
            _ => Error::no_such_field(layout, field),
        })
    };
    for field in query.fields.iter().flat_map(|fields| fields.iter()) {
        // The id is always there.
        if &**field != "_id" {
            named(field)?;
        }
    }
    let predicate = query.predicate.try_map_values(&|field, value| {
        let column = named(field)?;
        let constant = column.comparable().constant(value);
        constant.ok_or_else(|| Error::wrong_type(layout, field, value))
    })?;
    let is_exact = |field: &str, comparison| {
        layout.column_named(field).is_some_and(|column| column.comparable().is_exact(comparison))
    };
    let exact = predicate.all_comparisons(&is_exact);
    let keys = predicate.equality_keys(&|field| is_exact(field, Some(Comparison::Eq)));
    Ok(Plan { predicate, exact, keys })
}

/// Stops listening when the last query of a collection has ended. Dropped after its observation.
struct End {
    db: Weak<Inner>,
    collection: Arc<TableCollection>,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(db) = self.db.upgrade() {
            db.unlisten_if_idle(&self.collection.channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use ddp_server::query::{Predicate, Value};

    use super::*;
    use crate::schema::fixture;
    use crate::value::ValueKind;

    fn query(field: &str) -> Query {
        let predicate = Predicate::Compare(field.into(), Comparison::Eq, Value::from("a"));
        Query { collection: "tasks".into(), predicate, fields: None }
    }

    #[test]
    fn the_id_of_several_columns_is_nothing_to_filter_on() {
        let columns = [("list", ValueKind::Text), ("name", ValueKind::Text)];
        let layout = fixture::composite(&columns);
        let error = plan(&layout, &query("_id")).unwrap_err().to_string();
        assert!(error.contains("made up of the fields list, name: filter on them"), "{error}");
        assert!(plan(&layout, &query("name")).is_ok());
        let fields = Some(["_id".into(), "name".into()].into());
        assert!(plan(&layout, &Query { fields, ..query("list") }).is_ok());
    }
}
