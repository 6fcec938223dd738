//! Meteor's DDP protocol without IO: EJSON, messages, sessions, merge box and random streams.
//!
//! A [`Session`] is a state machine. It takes [`Input`](session::Input)s (a message from the client,
//! a change of documents, the result of a method, the time) and gives
//! [`Output`](session::Output)s (something to send, something to run, when to come back). **Mutate
//! once, then drain:** after each input, poll the outputs until one says to wait.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use ddp_core::Session;
//! use ddp_core::merge_box::Outgoing;
//! use ddp_core::session::{Input, Output};
//!
//! let now = Instant::now();
//! let mut session = Session::new("Kc9ZbXWp4n3wCmdyv".to_owned(), Arc::default(), now);
//! let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
//! session.handle_input(Input::Message(now, connect));
//! let mut sent = Vec::new();
//! let deadline = loop {
//!     match session.poll_output() {
//!         Output::Send(Outgoing::Text(text)) => sent.push(text),
//!         Output::Send(Outgoing::Shared(delta)) => delta.for_each_message(|text| sent.push(text.into())),
//!         Output::Event(_) => {} // run a publication or a method
//!         Output::EndFrame => {} // only for transports that join messages
//!         Output::Close(_) => break None,
//!         Output::Timeout(deadline) => break deadline,
//!     }
//! };
//! assert_eq!(sent[1], r#"{"msg":"connected","session":"Kc9ZbXWp4n3wCmdyv"}"#);
//! assert!(deadline.is_some(), "the first heartbeat");
//! ```
//!
//! ```text
//!              connect, versions agree
//! Connecting ───────────────────────────► Connected(version) ──┐
//!     │                                        │               │ sub, unsub, method: in order
//!     │ no version, no connect in time         │ no heartbeat  │ ping, pong: at once
//!     ▼                                        ▼               │
//!   Closed ◄───────────────────────────────────┘ ◄─────────────┘
//! ```
//!
//! Documents are held as encoded fields ([`Document`]), shared by `Arc`. A live query holds them in a
//! [`Snapshot`]; each step to the next is a [`Delta`], whose messages are encoded once for all
//! sessions. A session keeps no copies: its [`MergeBox`] holds snapshots and derives what the client
//! sees.
//!
//! This crate has no sockets, no clock, no tasks and no locks, and compiles to wasm32. Time and
//! randomness are arguments.

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
pub use id::{CallKey, DocumentId, LiveQueryKey, SubscriptionKey};
pub use merge_box::MergeBox;
pub use message::{ClientMessage, ServerMessage};
pub use session::Session;
pub use snapshot::{CollectionName, Delta, DocumentChange, Snapshot};
pub use version::Version;
pub use write_fence::WriteFence;

/// The README's example, compiled like all others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
