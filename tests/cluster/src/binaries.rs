//! Which PostgreSQL programs to run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of programs to use for a data folder of this major version, or for a new one.
pub(crate) fn find(major: Option<u32>) -> Option<PathBuf> {
    let found = candidates();
    match major {
        None => found.into_iter().next(),
        Some(major) => found.into_iter().find(|bin| major_version(bin) == Some(major)),
    }
}

/// Every folder that holds PostgreSQL's server programs: `PG_BIN` alone if it is set, otherwise
/// those on `PATH` and then the installed versions, newest first.
fn candidates() -> Vec<PathBuf> {
    if let Some(bin) = std::env::var_os("PG_BIN") {
        return Some(PathBuf::from(bin)).filter(|bin| has_server(bin)).into_iter().collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|bin| has_server(bin)).filter_map(real).collect();
    let mut installed: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .map(|(version, folder)| (version, folder.join("bin")))
        .filter(|(_, bin)| has_server(bin))
        .collect();
    installed.sort_unstable_by(|a, b| b.cmp(a));
    found.extend(installed.into_iter().map(|(_, bin)| bin));
    found
}

/// The folder that PostgreSQL is installed in, where `PATH` only has links to its programs.
fn real(bin: PathBuf) -> Option<PathBuf> {
    Some(bin.join("postgres").canonicalize().ok()?.parent()?.to_owned())
}

/// The client program, which some systems install apart from the server's programs.
pub(crate) fn psql(bin: &Path) -> PathBuf {
    Some(bin.join("psql")).filter(|psql| psql.is_file()).unwrap_or_else(|| "psql".into())
}

fn has_server(bin: &Path) -> bool {
    ["initdb", "postgres", "pg_ctl"].iter().all(|program| bin.join(program).is_file())
}

/// The major version printed by `postgres --version`.
fn major_version(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_numeric()))?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
