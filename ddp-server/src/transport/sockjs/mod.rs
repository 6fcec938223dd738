//! SockJS, as sockjs-node serves it to Meteor's clients.
//!
//! A session over WebSocket lives as long as its socket ([`SockJs`]). All other transports move the
//! same frames in HTTP requests, between which the session is kept in a store ([`Polling`]).

mod config;
mod form;
mod frame;
#[cfg(feature = "__fuzzing")]
pub mod fuzzing;
mod headers;
mod mount;
mod outbox;
mod pages;
mod path;
mod polling;
mod protocol;
mod quote;
mod receiver;
mod routes;
mod session;
mod store;
mod websocket;
mod wire;

pub use self::config::SockJsConfig;
pub(crate) use self::polling::Polling;
pub use self::protocol::Protocol;
pub(crate) use self::quote::quote;
pub(crate) use self::routes::router;
pub(crate) use self::websocket::SockJs;
