//! Folders, ports and programs.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use crate::ClusterError;

/// Makes the given folder, or a new temporary one that every account may enter.
pub(crate) fn make_folder(given: Option<PathBuf>) -> Result<PathBuf, ClusterError> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let folder = given.unwrap_or_else(|| {
        let nanoseconds = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        std::env::temp_dir().join(format!("ddp-cluster-{process}-{number}-{nanoseconds}"))
    });
    if !folder.exists() {
        fs::create_dir_all(&folder).map_err(ClusterError::file("make", &folder))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))
            .map_err(ClusterError::file("open up", &folder))?;
    }
    fs::canonicalize(&folder).map_err(ClusterError::file("find", &folder))
}

pub(crate) fn free_port() -> Result<u16, ClusterError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(ClusterError::file("find a free port on", Path::new("127.0.0.1")))
}

/// Runs a program to its end and returns what it printed.
pub(crate) fn run(program: &'static str, command: &mut Command) -> Result<String, ClusterError> {
    let output = command.output().map_err(ClusterError::file("run", Path::new(program)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(ClusterError::Program { program, output: text.trim().to_owned() })
}
