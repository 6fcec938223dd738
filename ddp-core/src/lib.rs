//! Meteor's DDP protocol without IO.

pub mod document;
pub mod ejson;
pub mod id;
pub mod random;

pub use document::{Document, FieldName};
pub use id::DocumentId;
