//! Removes a temporary cluster whose owner could not.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::ClusterError;

/// Waits for the end of its input, then stops the server and removes the folder, if they still
/// exist. `$1` is the folder.
const SCRIPT: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -INT "$pid" 2>/dev/null
    tries=0
    while [ -e "$1/data/postmaster.pid" ] && [ "$tries" -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
fi
case "$1" in */ddp-cluster-*) rm -rf "$1" ;; esac
"#;

/// A shell that outlives this program just long enough to clean up.
///
/// A test binary keeps its cluster in a static, which is never dropped, and any program can be
/// killed. Either way the pipe to the shell closes.
#[derive(Debug)]
pub(crate) struct Guardian(Child);

impl Guardian {
    pub(crate) fn start(folder: &Path) -> Result<Self, ClusterError> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "ddp-cluster-guardian"]).arg(folder).current_dir("/");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        shell.spawn().map(Self).map_err(ClusterError::file("run", Path::new("/bin/sh")))
    }

    /// Ends the shell after the owner has cleaned up by itself.
    pub(crate) fn dismiss(mut self) {
        drop(self.0.stdin.take());
        // It finds nothing to do and ends at once.
        let _ = self.0.wait();
    }
}
