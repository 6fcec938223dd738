//! SockJS, as sockjs-node serves it to Meteor's clients.
//!
//! Here are the framed WebSocket and the answers to `/info`; the polling and streaming fallbacks
//! belong here as well.

mod frame;
mod info;
mod path;
mod quote;
mod websocket;

pub(crate) use self::{
    info::{info, info_options, method_not_allowed, not_found, welcome},
    path::Endpoint,
    quote::quote,
    websocket::SockJs,
};
