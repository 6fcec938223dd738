//! Meteor's DDP protocol without IO.

pub mod document;
pub mod ejson;
pub mod error;
pub mod id;
pub mod merge_box;
pub mod message;
pub mod random;
pub mod session;
pub mod snapshot;
pub mod version;
pub mod write_fence;

pub use document::{Document, FieldName};
pub use error::{DdpError, ProtocolError};
pub use id::DocumentId;
pub use merge_box::MergeBox;
pub use message::{ClientMessage, ServerMessage};
pub use session::{Session, SubscriptionKey};
pub use snapshot::{CollectionName, Delta, DocumentChange, Snapshot};
pub use version::Version;
pub use write_fence::WriteFence;
