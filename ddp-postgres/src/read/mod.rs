//! Reading what live queries show: one SELECT for each, in a transaction that says where in the stream
//! of changes it stands.
//!
//! [`load`] needs no more than a [`Reader`](reader::Reader). [`plan`] says how a query is evaluated on
//! changes, and [`sql`] how the database evaluates it.

mod condition;
pub(crate) mod fetch;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod reader;
pub(crate) mod snapshot;
pub(crate) mod sql;
pub(crate) mod visibility;
