//! Reads the contents of live queries: one SELECT each, in a transaction that determines its
//! position in the stream of changes.
//!
//! [`load`] needs only a [`Reader`](reader::Reader). [`plan`] decides how a query is evaluated on
//! changes, and [`sql`] how the database evaluates it.

mod condition;
pub(crate) mod fetch;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod reader;
pub(crate) mod snapshot;
pub(crate) mod sql;
pub(crate) mod visibility;
