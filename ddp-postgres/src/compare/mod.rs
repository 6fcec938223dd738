//! Compares columns with constants in memory, just as PostgreSQL does.

mod comparable;
mod constant;
mod path;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use comparable::{Collation, Comparable, Element, Json, Lower};
pub(crate) use constant::Refusal;
pub(crate) use path::split;
