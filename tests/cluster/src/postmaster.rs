//! What a running server says about itself in its `postmaster.pid` and its log.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the log an error message shows.
const LOG_TAIL_BYTES: u64 = 3000;

/// The contents of `postmaster.pid`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: u32,
    pub(crate) port: u16,
    /// Whether it accepts connections, perhaps only to read.
    pub(crate) ready: bool,
}

impl PidFile {
    /// Reads the file of a data folder. `None` if there is none or it is not complete yet.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let pid = lines.next()?.parse().ok()?;
        let port = lines.nth(2)?.parse().ok()?;
        let ready = matches!(lines.nth(3), Some("ready" | "standby"));
        Some(Self { pid, port, ready })
    }
}

/// The last lines of the server's log.
pub(crate) fn log_tail(path: &Path) -> String {
    read_tail(path).unwrap_or_else(|error| format!("(no log: {error})"))
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_pid_file() {
        let text = "71\n/data\n1700000000\n40001\n/socket\n127.0.0.1\n  123 456\nready   \n";
        assert_eq!(PidFile::parse(text), Some(PidFile { pid: 71, port: 40001, ready: true }));
        let starting = text.replace("ready   ", "starting");
        assert_eq!(PidFile::parse(&starting).map(|file| file.ready), Some(false));
        assert_eq!(PidFile::parse("71\n/data\n"), None);
    }
}
