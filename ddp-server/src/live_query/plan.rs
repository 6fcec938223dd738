//! How a query is evaluated, and what to read for it.

use std::sync::Arc;

use ddp_core::FieldName;

use crate::query::{Predicate, Query, SortKey, Value};

/// How many documents to read beyond the wanted ones; they replace those that leave.
pub(super) const BUFFER: usize = if cfg!(test) { 1 } else { 64 };

/// How a data source evaluates a query.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The predicate, with constants in the form in which [`Row::meets`](super::Row::meets)
    /// and [`Row::value`](super::Row::value) answer.
    pub predicate: Predicate,
    /// An equality that the predicate demands, to route changes by.
    pub keys: Option<(FieldName, Vec<Value>)>,
    /// The order of a query with `skip` or `limit`: its keys, and such that no two rows are equal by
    /// all of them. `None` if only the source can tell which comes first.
    pub order: Option<Arc<[SortKey]>>,
}

/// Asks the source to read the documents of a query and to hand them to
/// [`Multiplexer::finish_reads`](super::Multiplexer::finish_reads), or the reason why it can't to
/// [`Multiplexer::fail_read`](super::Multiplexer::fail_read). It must not start to read before it was
/// given this by [`Multiplexer::begin_reads`](super::Multiplexer::begin_reads).
#[derive(Clone, Debug)]
#[must_use]
pub struct PendingRead {
    pub(super) slot: usize,
    pub(super) generation: u64,
    /// The query.
    pub query: Arc<Query>,
    /// The query as the source planned it.
    pub plan: Arc<Plan>,
}

impl PendingRead {
    /// How many of the first rows are to be read: what is wanted, what is skipped, and some more for
    /// later. `None` if all are.
    #[must_use]
    pub fn rows_max(&self) -> Option<usize> {
        let limit = self.query.limit? as usize;
        Some(limit.saturating_add(self.query.skip as usize).saturating_add(BUFFER))
    }
}
