//! Connections that return to the pool only once they have answered.

use std::ops::Deref;

use deadpool_postgres::{Object, Pool};

use crate::error::Error;

/// A connection of the pool with a request in progress. If that fails or is cancelled, the
/// connection is closed, so nobody else gets it.
pub(crate) struct Busy(Option<Object>);

impl Busy {
    pub(crate) async fn get(pool: &Pool) -> Result<Self, Error> {
        Ok(Self(Some(pool.get().await?)))
    }

    /// It has answered everything: others may use it.
    pub(crate) fn done(mut self) {
        self.0 = None;
    }
}

impl Deref for Busy {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.0.as_ref().expect("it is there until it is done")
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}
