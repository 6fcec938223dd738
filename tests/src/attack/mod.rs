//! Attacks on a DDP server of one's own, to see what they cost it. Each is bounded in count and
//! time, and none goes beyond this machine.
//!
//! A [`Scene`] measures what an attack costs the server's process, and what another client feels
//! meanwhile. A new attack is a file here with a struct of its arguments and a function `run`, and
//! a line in `src/bin/ddp-attack.rs`.

mod bystander;
mod bytes;
mod log_flood;
mod many_connections;
mod overlap;
mod scene;
mod silent_sockjs;
mod slow_headers;
mod storm;
mod subscriptions;
mod victim;
mod wire;

pub use self::bytes::Bytes;
pub use self::log_flood::LogFlood;
pub use self::many_connections::ManyConnections;
pub use self::overlap::Overlap;
pub use self::scene::{Report, Scene};
pub use self::silent_sockjs::SilentSockJs;
pub use self::slow_headers::SlowHeaders;
pub use self::storm::Storm;
pub use self::subscriptions::Subscriptions;
pub use self::victim::Victim;

/// What an attack did and what it met: a name and a value for each line.
pub type Findings = Vec<(&'static str, String)>;

/// The most connections, sessions or clients of an attack.
pub const COUNT_MAX: u32 = 20_000;

/// The longest attack, in seconds.
pub const SECONDS_MAX: u64 = 120;

/// What keeps an attack from being made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one of this machine's own.
    #[error("{0} is not on this machine: attacks go to 127.0.0.0/8 and ::1 only")]
    NotLoopback(std::net::SocketAddr),
    /// The server cannot be reached, or does not speak DDP.
    #[error("the server at {0} does not answer as a DDP server: {1}")]
    Server(std::net::SocketAddr, String),
    /// The load, or the server's process.
    #[error(transparent)]
    Load(#[from] crate::load::Error),
    /// A file.
    #[error("{0}: {1}")]
    File(String, #[source] std::io::Error),
}
