//! Reads the contents of live queries, in transactions that determine their position in the stream of
//! changes.
//!
//! Queries that wait at the same time are read in [`group`]s: one connection, one transaction, and as
//! few statements as there are queries that are not [`alike`]. A group is bounded in queries and
//! bytes.
//!
//! [`load`] needs only a [`Reader`](reader::Reader). [`plan`] decides how a query is evaluated on
//! changes, and [`sql`] how the database evaluates it.

mod alike;
mod condition;
mod doubt;
pub(crate) mod fetch;
pub(crate) mod group;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod reader;
pub(crate) mod snapshot;
pub(crate) mod sql;
pub(crate) mod visibility;
