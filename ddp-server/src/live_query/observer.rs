//! The two ends of observing a live query.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ddp_core::{DdpError, Delta, LiveQueryKey};

use super::sink::{Sink, Step};

/// Where the steps of one live query go. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    sink: Arc<dyn Sink>,
    key: u64,
}

impl Observer {
    /// `key` tells the sink which of its queries a step is of.
    pub(crate) fn new(sink: Arc<dyn Sink>, key: u64) -> Self {
        Self { sink, key }
    }

    /// An observer that discards its documents, for benchmarks.
    #[doc(hidden)]
    #[must_use]
    pub fn detached() -> Self {
        struct Nobody;
        impl Sink for Nobody {
            fn leave(&self, _: &[Step<'_>]) -> bool {
                false
            }

            fn fail(&self, _: u64, _: DdpError) {}
        }
        Self::new(Arc::new(Nobody), 0)
    }

    /// The first documents of a query.
    pub(super) fn welcome<'a>(&'a self, query: LiveQueryKey, delta: &'a Arc<Delta>) -> Step<'a> {
        Step { sink: &self.sink, query, welcomes: Some(self.key), delta }
    }

    /// A step of a query, for all observers that have the same sink.
    pub(super) fn step<'a>(&'a self, query: LiveQueryKey, delta: &'a Arc<Delta>) -> Step<'a> {
        Step { sink: &self.sink, query, welcomes: None, delta }
    }

    /// Distinguishes sinks.
    pub(super) fn address(&self) -> *const () {
        Arc::as_ptr(&self.sink).cast()
    }

    /// Ends the observation with an error, because the documents can no longer be kept up to date.
    pub fn fail(&self, error: DdpError) {
        self.sink.fail(self.key, error);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.key).finish()
    }
}

/// Keeps a live query observed until dropped.
pub struct Observation(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send>);

impl Observation {
    /// An observation that ends when `guard` is dropped.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observation").finish_non_exhaustive()
    }
}
