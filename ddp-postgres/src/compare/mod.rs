//! Comparison of columns with constants, in memory as in PostgreSQL.

mod comparable;
mod constant;
mod path;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use comparable::{Collation, Comparable, Element, Json, Lower};
pub(crate) use constant::Refusal;
pub(crate) use path::split;
