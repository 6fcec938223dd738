//! The database as a source of live queries.

use std::sync::{Arc, Weak};

use ddp_server::Error as HandlerError;
use ddp_server::live_query::{DataSource, Documents, Observation, Observer};
use ddp_server::query::Query;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::methods::Methods;
#[cfg(feature = "accounts")]
use crate::accounts::Accounts;
use crate::error::Error;
use crate::intake::dispatch::Intake;
use crate::read::fetch::{fetch, fetch_once};
use crate::read::plan::plan;
use crate::read::reader::Reader;
use crate::table::collection::{Current, TableCollection, TableState};

/// What the clones of a [`Db`](super::Db) share.
pub(crate) struct Inner {
    pub(crate) reader: Arc<Reader>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) methods: Methods,
    #[cfg(feature = "accounts")]
    pub(crate) accounts: Option<Arc<Accounts>>,
}

impl DataSource for Inner {
    fn observe<'a>(
        &'a self,
        query: &'a Query,
        observer: Observer,
    ) -> BoxFuture<'a, Result<Observation, HandlerError>> {
        async move {
            let collection = self.collection(query)?;
            let Current { layout, state } = collection.current();
            if state == TableState::Unavailable {
                return Err(collection.unavailable().into());
            }
            let plan = plan(&layout, query)?;
            let joined = collection.multiplexer.observe(query, plan, observer);
            let reader = Arc::downgrade(&self.reader);
            let end = End { reader, collection: Arc::clone(collection) };
            let observation = Observation::new((joined.observation, end));
            if joined.must_read {
                self.intake.read_soon(collection);
            }
            if !Arc::ptr_eq(&layout, &collection.layout()) {
                // The table changed just now, and this query was planned for what it was.
                self.intake.replace(collection, None);
            }
            joined.ready.await.map_err(|_| Error::closed())??;
            Ok(observation)
        }
        .boxed()
    }

    fn check<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<(), HandlerError>> {
        let check = || {
            plan(&self.collection(query)?.layout(), query)?;
            Ok::<_, Error>(())
        };
        futures::future::ready(check().map_err(HandlerError::from)).boxed()
    }

    fn fetch<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Documents, HandlerError>> {
        async move { fetch(&self.reader, &self.methods, self.collection(query)?, query).await }
            .boxed()
    }

    // As live queries are read, of whose connections methods have none.
    fn fetch_once<'a>(
        &'a self,
        query: &'a Query,
    ) -> BoxFuture<'a, Result<Documents, HandlerError>> {
        async move { fetch_once(&self.reader, self.collection(query)?, query).await }.boxed()
    }
}

impl Inner {
    fn collection(&self, query: &Query) -> Result<&Arc<TableCollection>, Error> {
        let collection = self.intake.collection(&query.collection);
        collection.ok_or_else(|| Error::no_such_collection(&query.collection))
    }
}

/// Stops listening when the last query of a collection has ended. Dropped after its observation.
struct End {
    reader: Weak<Reader>,
    collection: Arc<TableCollection>,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.collection.is_idle()
            && let Some(reader) = self.reader.upgrade()
        {
            reader.unlisten(&self.collection.channel);
        }
    }
}
