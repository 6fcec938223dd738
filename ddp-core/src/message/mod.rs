//! The messages of both directions, and their JSON.

pub(crate) mod client;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod server;

pub use client::ClientMessage;
pub use server::ServerMessage;
