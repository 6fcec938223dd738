//! The account that PostgreSQL runs under.

use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Another user's account, used when this program is root: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account to switch to, if a folder made by this program belongs to root.
    pub(crate) fn for_owner_of(folder: &Path) -> io::Result<Option<Self>> {
        if std::fs::metadata(folder)?.uid() != 0 {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd")?;
        let accounts: Vec<(&str, Self)> = passwd.lines().filter_map(parse_line).collect();
        let named = |wanted: &str| accounts.iter().find(|(name, _)| *name == wanted);
        named("postgres")
            .or_else(|| named("nobody"))
            .or_else(|| accounts.iter().find(|(_, account)| account.uid >= 1000))
            .map(|(_, account)| Some(*account))
            .ok_or_else(|| io::Error::other("no unprivileged user in /etc/passwd"))
    }

    /// Gives the account a file or folder.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    /// Runs a command under the account.
    pub(crate) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

fn parse_line(line: &str) -> Option<(&str, Account)> {
    let mut parts = line.split(':');
    let name = parts.next()?;
    let uid = parts.nth(1)?.parse().ok()?;
    let gid = parts.next()?.parse().ok()?;
    (uid != 0).then_some((name, Account { uid, gid }))
}
