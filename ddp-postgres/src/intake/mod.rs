//! From what a feed yields to one batch per collection and transaction, and on to the live queries.

pub mod assembler;
pub(crate) mod dispatch;
pub mod notification;
mod pending;
pub(crate) mod pipeline;
mod read_ahead;
mod rows;
