//! What the integration tests share: a strict DDP client, servers and clusters of their own.

pub mod attack;
pub mod client;
pub mod database;
pub mod dice;
mod feeds;
pub mod load;
mod log;
pub mod needs;
pub mod peer;
pub mod program;
pub mod proxy;

pub use client::Client;
pub use dice::Dice;
pub use log::Log;
pub use peer::Peer;
