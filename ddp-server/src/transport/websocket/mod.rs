//! WebSocket (RFC 6455): the server's side.
//!
//! tungstenite reads and writes frame headers. Messages, control frames and the socket are handled
//! here, because tungstenite copies each message into every connection's buffer and keeps a read
//! buffer for every idle connection; this module does neither.

mod extension;
mod frame;
mod handshake;
mod io;
mod outbox;
mod socket;

pub(crate) use self::{
    handshake::{Upgrade, UpgradeRefused},
    io::UpgradedIo,
    socket::WebSocket,
};
