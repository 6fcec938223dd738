//! Meteor's DDP protocol without IO.

pub mod document;
pub mod id;

pub use document::{Document, FieldName};
pub use id::DocumentId;
