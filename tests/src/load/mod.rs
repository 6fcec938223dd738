//! A load of many DDP clients on any DDP server, in one process.
//!
//! A [`Swarm`] holds thousands of connections in a few threads that do nothing but read, count and
//! note times, so that it keeps up with any server on the same machine. A [driver](drive) causes
//! the messages that it counts; the outcome is a [`Report`].

mod caller;
mod client;
pub mod drive;
mod marks;
mod process;
mod report;
mod swarm;
mod target;
mod wire;

pub use self::marks::Marks;
pub use self::process::Process;
pub use self::report::{Latency, Report};
pub use self::swarm::{Plan, Swarm};
pub use self::target::{Target, Transport};
pub use caller::Caller;

/// What can go wrong when loading a server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one of a server that can be loaded.
    #[error("{0}")]
    Target(String),
    /// A socket, or the process of the server.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] std::io::Error),
    /// The database refused what the driver did.
    #[error("database: {0}")]
    Database(#[from] tokio_postgres::Error),
    /// The server did something that no DDP server does, or closed a connection.
    #[error("a connection failed: {0}")]
    Client(String),
    /// Something that must happen did not happen in time.
    #[error("{0} after {1} s")]
    Late(String, u64),
}
