//! The database as a source of live queries.

use std::sync::{Arc, Weak};

use ddp_server::Error as HandlerError;
use ddp_server::live_query::{Driver, Observation, Observer, Plan};
use ddp_server::query::{Comparison, Query};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::db::{Inner, TableCollection};
use crate::error::Error;
use crate::schema::Layout;

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
            let plan = plan(&collection.layout, query)?;
            let joined = collection.multiplexer.observe(query, plan, observer);
            let end = End { db: self.weak(), collection: Arc::clone(collection) };
            let observation = Observation::new((joined.observation, end));
            if let Some(load) = joined.load {
                self.spawn_load(collection, load);
            }
            joined.ready.await.map_err(|_| Error::closed())??;
            Ok(observation)
        }
        .boxed()
    }
}

/// How a query is evaluated on changes.
fn plan(layout: &Layout, query: &Query) -> Result<Plan, Error> {
    for field in query.fields.iter().flat_map(|fields| fields.iter()) {
        layout.column_named(field).ok_or_else(|| Error::no_such_field(layout, field))?;
    }
    let predicate = query.predicate.try_map_values(&|field, value| {
        let column = layout.column_named(field);
        let column = column.ok_or_else(|| Error::no_such_field(layout, field))?;
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
            db.unlisten_if_idle(self.collection.layout.channel());
        }
    }
}
