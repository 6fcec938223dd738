//! The messages in both directions, and their JSON.
//!
//! ```
//! use ddp_core::{ClientMessage, ServerMessage};
//!
//! let ping = ClientMessage::from_text(r#"{"msg":"ping","id":"7"}"#)?;
//! assert_eq!(ping, ClientMessage::Ping { id: Some(r#""7""#.to_owned()) });
//!
//! let pong = ServerMessage::Pong { id: Some(r#""7""#) };
//! assert_eq!(pong.to_text(), r#"{"msg":"pong","id":"7"}"#);
//! # Ok::<(), ddp_core::ProtocolError>(())
//! ```
//!
//! Messages about documents are not included: those are written once for all sessions by
//! [`Delta`](crate::Delta), or for one session by its [`MergeBox`](crate::MergeBox).

pub(crate) mod client;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod server;

pub use client::ClientMessage;
pub use server::ServerMessage;
