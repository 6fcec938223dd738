//! What a live query hands its steps to.

use std::sync::Arc;

use ddp_core::{DdpError, Delta, LiveQueryKey};
use tokio::runtime::Handle;

/// Where the steps of live queries go: the mailbox of a session, or a reader on the server.
///
/// One sink may observe several queries, each under a key of its own.
pub(crate) trait Sink: Send + Sync {
    /// Takes steps that belong together: all that one transaction means to this sink. True if a
    /// courier must [deliver](Self::deliver) them afterwards.
    fn leave(&self, steps: &[Step<'_>]) -> bool;

    /// The query observed under this key ends with an error, since its documents can't be kept up to
    /// date any more.
    fn fail(&self, key: u64, error: DdpError);

    /// Delivers what was left here.
    fn deliver(&self) {}

    /// Has another task deliver what was left here.
    fn wake(&self) {}

    /// Where to deliver; `None` if waking is enough.
    fn runtime(&self) -> Option<&Handle> {
        None
    }
}

/// The next step of one query, on its way to a sink.
pub(crate) struct Step<'a> {
    pub(super) sink: &'a Arc<dyn Sink>,
    /// The query. A sink gets each of its steps once, however often it observes the query.
    pub(crate) query: LiveQueryKey,
    /// The key under which the sink begins to observe the query, and gets its first documents.
    pub(crate) welcomes: Option<u64>,
    pub(crate) delta: &'a Arc<Delta>,
}

impl Step<'_> {
    /// Distinguishes sinks.
    pub(super) fn address(&self) -> *const () {
        Arc::as_ptr(self.sink).cast()
    }
}
