//! What the benchmarks need from the machine, and how to get it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ddp_cluster::Cluster;

/// Something is not installed, or a limit of the system is too low. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(String);

/// The folder of PostgreSQL's programs.
///
/// # Errors
/// If they are not installed.
pub fn postgres() -> Result<PathBuf, Missing> {
    Cluster::find_binaries().ok_or_else(|| {
        Missing(
            "PostgreSQL is not installed: run `tests/run rust`, or `apt-get install postgresql`, \
             or set PG_BIN to the folder that holds initdb"
                .to_owned(),
        )
    })
}

/// `pgbench`, which comes with PostgreSQL.
///
/// # Errors
/// If it is not beside PostgreSQL's other programs.
pub fn pgbench() -> Result<PathBuf, Missing> {
    pgbench_of(&postgres()?)
}

fn pgbench_of(folder: &Path) -> Result<PathBuf, Missing> {
    let pgbench = folder.join("pgbench");
    if pgbench.is_file() {
        return Ok(pgbench);
    }
    let folder = folder.display();
    Err(Missing(format!(
        "there is no pgbench in {folder}: run `apt-get install postgresql`, or set PG_BIN to a \
         folder that holds initdb and pgbench"
    )))
}

/// Node with `ws`, installed in `tests/clients`.
///
/// # Errors
/// If either is missing.
pub fn node_ws() -> Result<(), Missing> {
    node_ws_of("node".as_ref(), Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/clients")))
}

fn node_ws_of(node: &OsStr, clients: &Path) -> Result<(), Missing> {
    let mut load = Command::new(node);
    load.args(["--eval", "require('ws')"]).current_dir(clients);
    match load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Err(error) => Err(Missing(format!(
            "Node does not run ({error}): run `tests/run clients`, or `apt-get install nodejs npm` \
             and then `npm ci --ignore-scripts` in tests/clients"
        ))),
        Ok(status) if !status.success() => Err(Missing(
            "Node's ws is not installed: run `tests/run clients`, or `npm ci --ignore-scripts` in \
             tests/clients"
                .to_owned(),
        )),
        Ok(_) => Ok(()),
    }
}

/// Checks that this process may have this many files and sockets open at a time.
///
/// # Errors
/// If the system's limit is lower.
pub fn open_files(count: usize) -> Result<(), Missing> {
    // Where there is no `/proc`, opening the sockets will tell.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match soft_limit(&limits) {
        Some(limit) if limit < count => Err(Missing(format!(
            "only {limit} files may be open at a time, and {count} are needed: run `ulimit -n {count}`"
        ))),
        _ => Ok(()),
    }
}

/// How many files may be open, if there is a limit.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(missing: &Missing, remedies: &[&str]) {
        let text = missing.to_string();
        assert!(remedies.iter().all(|remedy| text.contains(remedy)), "{text}");
    }

    #[test]
    fn what_is_missing_names_its_remedy() {
        let empty = std::env::temp_dir();
        says(&pgbench_of(&empty.join("nowhere")).unwrap_err(), &["apt-get install", "PG_BIN"]);
        let remedies = ["tests/run clients", "npm ci --ignore-scripts", "tests/clients"];
        says(&node_ws_of("no-such-node".as_ref(), &empty).unwrap_err(), &remedies);
        // A program that fails, as Node does if the package is not found.
        let missing = node_ws_of("false".as_ref(), &empty).unwrap_err();
        says(&missing, &remedies);
        says(&missing, &["ws is not installed"]);
        assert_eq!(node_ws_of("true".as_ref(), &empty), Ok(()));
    }

    #[test]
    fn the_limit_of_open_files_is_known() {
        let line = "Limit   Soft Limit  Hard Limit  Units\nMax open files    1024    4096    files";
        assert_eq!(soft_limit(line), Some(1024));
        assert_eq!(soft_limit("Max open files    unlimited  unlimited  files"), None);
        assert_eq!(soft_limit(""), None);
        assert_eq!(open_files(8), Ok(()));
    }
}
