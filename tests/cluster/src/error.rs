//! What can go wrong with a cluster.

use std::io;
use std::path::{Path, PathBuf};

/// Why a private PostgreSQL cluster could not be started, restarted or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No PostgreSQL was found, or none with the data's version.
    #[error(
        "found no PostgreSQL server programs{}: install PostgreSQL 14 or newer, or set PG_BIN to \
         the folder that holds initdb", .major.map(|major| format!(" of version {major}")).unwrap_or_default()
    )]
    NoBinaries {
        /// The version that created the data folder, if it already exists.
        major: Option<u32>,
    },
    /// A file or folder could not be used.
    #[error("cannot {action} {}: {source}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// One of PostgreSQL's programs failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// The server ended while it was starting.
    #[error("postgres ended while starting; the end of its log:\n{log}")]
    Ended {
        /// The last lines of its log.
        log: String,
    },
    /// The server did not accept connections in time.
    #[error("postgres is not ready after {seconds} seconds; the end of its log:\n{log}")]
    NotReady {
        /// How long we waited.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// Another program started the cluster, and only that one may restart it.
    #[error("the cluster belongs to another program, so it cannot be restarted from here")]
    NotOwner,
}

impl ClusterError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
