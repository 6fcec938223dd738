//! Reading what live queries show.

mod condition;
pub(crate) mod fetch;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod reader;
pub(crate) mod snapshot;
pub(crate) mod sql;
pub(crate) mod visibility;
