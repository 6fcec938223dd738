//! A private PostgreSQL cluster, started from the installed programs.
//!
//! Examples and tests need a PostgreSQL that they may configure, restart and throw away. A
//! [`Cluster`] runs one on the loopback interface, with all of its files in one folder:
//!
//! ```text
//! <folder>/data         PostgreSQL's data folder
//! <folder>/socket       its Unix socket, where the path is short enough for one
//! <folder>/server.log   what the server prints
//! <folder>/owner.lock   locked by the program that stops the server when it ends
//! ```
//!
//! Everything here blocks; call it from `spawn_blocking` inside an async program.

mod account;
mod binaries;
mod error;
mod guardian;
mod options;
mod postmaster;
mod system;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use account::Account;
pub use error::ClusterError;
use guardian::Guardian;
pub use options::ClusterOptions;
use postmaster::{PidFile, log_tail};
use system::{free_port, make_folder, run};

/// How long a server may take to start, which includes crash recovery.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// The pause between two checks of a starting server. Starting takes some 50 ms.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How often to try another free port when somebody else took the chosen one first.
const PORT_ATTEMPTS: u32 = 5;
/// Unix socket paths end at 107 bytes; PostgreSQL adds `/.s.PGSQL.65535.lock`.
const SOCKET_FOLDER_BYTES_MAX: usize = 85;

/// How to stop a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Disconnects clients and shuts down cleanly.
    Fast,
    /// Ends at once, as in a crash; the next start recovers.
    Immediate,
}

impl ShutdownMode {
    fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// A running private PostgreSQL cluster, stopped when this value is dropped.
#[derive(Debug)]
pub struct Cluster {
    bin: PathBuf,
    folder: PathBuf,
    account: Option<Account>,
    settings: Vec<(String, String)>,
    /// One that is compiled for the server.
    locale: Option<String>,
    port: u16,
    /// The server, unless somebody else started it.
    child: Option<Child>,
    /// Held by the owner; a cluster without it has joined another program's.
    lock: Option<File>,
    /// Present for a temporary cluster.
    guardian: Option<Guardian>,
}

impl Cluster {
    /// The folder of the PostgreSQL programs that a new cluster would use, if any are installed:
    /// from the environment variable `PG_BIN`, `PATH`, or `/usr/lib/postgresql`, newest first.
    #[must_use]
    pub fn find_binaries() -> Option<PathBuf> {
        binaries::find(None)
    }

    /// Starts a cluster, or joins the one that already runs on the same persistent folder.
    ///
    /// A cluster whose owner was killed is adopted: it keeps running, and this program stops it.
    ///
    /// # Errors
    ///
    /// If no PostgreSQL is installed, the folder cannot be used, or the server does not start.
    pub fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        let temporary = options.folder.is_none();
        let folder = make_folder(options.folder)?;
        let account = Account::for_owner_of(&folder)
            .map_err(ClusterError::file("find an account for", &folder))?;
        let major = fs::read_to_string(folder.join("data/PG_VERSION"))
            .ok()
            .and_then(|version| version.trim().parse().ok());
        let bin = binaries::find(major).ok_or(ClusterError::NoBinaries { major })?;
        let mut cluster = Self {
            bin,
            folder,
            account,
            settings: options.settings,
            locale: options.locale,
            port: options.port.unwrap_or(0),
            child: None,
            lock: None,
            guardian: None,
        };
        if !cluster.lock_or_join()? {
            return Ok(cluster);
        }
        if temporary {
            cluster.guardian = Some(Guardian::start(&cluster.folder)?);
        }
        cluster.initialise(temporary)?;
        cluster.compile_locale()?;
        match cluster.running() {
            Some(running) => {
                cluster.wait_until_ready(running.pid).map(|port| cluster.port = port)?
            }
            None => cluster.launch()?,
        }
        Ok(cluster)
    }

    /// Stops the server cleanly. Does nothing if it has stopped, or belongs to another program.
    ///
    /// # Errors
    ///
    /// If the server does not stop within a minute.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        if self.lock.is_some() { self.shut_down(ShutdownMode::Fast) } else { Ok(()) }
    }

    /// Stops the server in one way or the other and starts it again on the same port.
    ///
    /// # Errors
    ///
    /// If it does not stop or start, or belongs to another program.
    pub fn restart(&mut self, mode: ShutdownMode) -> Result<(), ClusterError> {
        if self.lock.is_none() {
            return Err(ClusterError::NotOwner);
        }
        self.shut_down(mode)?;
        self.launch()
    }

    /// Whether this program started or adopted the server, and so stops it.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.lock.is_some()
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The connection URL of the database `postgres`, as its superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// The connection URL of another database, whose name needs no escaping in a URL.
    #[must_use]
    pub fn database_url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The command line with which a person can look into the database.
    #[must_use]
    pub fn psql_command(&self) -> String {
        format!("{} {}", binaries::psql(&self.bin).display(), self.url())
    }

    /// Runs SQL commands in a database with `psql`, stopping at the first error. Returns what it
    /// printed, without column headings.
    ///
    /// # Errors
    ///
    /// If `psql` cannot be run or a command fails.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, ClusterError> {
        let mut command = Command::new(binaries::psql(&self.bin));
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        run("psql", command.arg(self.database_url(database)))
    }

    /// The server's log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The folder that holds everything in the cluster.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// One of PostgreSQL's programs, run under the account that owns the data.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        // The account may be unable to read this program's current folder, and would complain.
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(account) = self.account {
            account.apply(&mut command);
        }
        command
    }

    /// Takes the owner's lock, or waits until the holder's server is ready. Returns whether this
    /// program is the owner.
    fn lock_or_join(&mut self) -> Result<bool, ClusterError> {
        let path = self.folder.join("owner.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(ClusterError::file("open", &path))?;
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            match lock.try_lock() {
                Ok(()) => {
                    self.lock = Some(lock);
                    return Ok(true);
                }
                Err(TryLockError::Error(error)) => {
                    return Err(ClusterError::file("lock", &path)(error));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(server) = PidFile::read(&self.data()).filter(|server| server.ready) {
                self.port = server.port;
                return Ok(false);
            }
            self.sleep_until_poll(deadline)?;
        }
    }

    /// Makes the data folder unless it exists.
    fn initialise(&self, temporary: bool) -> Result<(), ClusterError> {
        let data = self.data();
        if data.join("PG_VERSION").is_file() {
            return Ok(());
        }
        // Created under another name, so that an interrupted initdb does not leave half a data
        // folder.
        let unfinished = self.folder.join("data.new");
        let mut outcome = Ok(());
        for locale in ["C.UTF-8", "C"] {
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)
                    .map_err(ClusterError::file("remove", &unfinished))?;
            }
            self.make_owned_folder(&unfinished)?;
            let mut initdb = self.program("initdb");
            initdb.args(["--auth=trust", "--encoding=UTF8", "--username=postgres"]);
            initdb.arg(format!("--locale={locale}")).arg("-D").arg(&unfinished);
            if temporary {
                initdb.arg("--no-sync");
            }
            outcome = run("initdb", &mut initdb).map(drop);
            if outcome.is_ok() {
                break;
            }
        }
        outcome?;
        fs::rename(&unfinished, &data).map_err(ClusterError::file("name", &data))
    }

    /// A folder for locales that only this server finds.
    fn locales(&self) -> PathBuf {
        self.folder.join("locale")
    }

    fn compile_locale(&self) -> Result<(), ClusterError> {
        let Some(locale) = &self.locale else { return Ok(()) };
        self.make_owned_folder(&self.locales())?;
        let compiled = self.locales().join(format!("{locale}.UTF-8"));
        if compiled.is_dir() {
            return Ok(());
        }
        let mut localedef = Command::new("localedef");
        localedef.args(["--no-archive", "-i", locale, "-f", "UTF-8"]).arg(&compiled);
        if let Some(account) = self.account {
            account.apply(&mut localedef);
        }
        run("localedef", localedef.current_dir("/")).map(drop)
    }

    fn make_owned_folder(&self, path: &Path) -> Result<(), ClusterError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(ClusterError::file("make", path))?;
        match self.account {
            Some(account) => account.own(path).map_err(ClusterError::file("give away", path)),
            None => Ok(()),
        }
    }

    /// The server running on the data folder, if any.
    fn running(&self) -> Option<PidFile> {
        let status = self.program("pg_ctl").arg("status").arg("-D").arg(self.data()).output();
        status.is_ok_and(|output| output.status.success()).then(|| PidFile::read(&self.data()))?
    }

    /// Starts the server, on another free port if somebody takes the chosen one first.
    fn launch(&mut self) -> Result<(), ClusterError> {
        let fixed = self.port;
        for attempt in 1.. {
            let port = if fixed == 0 { free_port()? } else { fixed };
            let mut child = self.spawn(port)?;
            match self.wait_until_ready_or_ended(&mut child) {
                Ok(port) => {
                    self.port = port;
                    self.child = Some(child);
                    return Ok(());
                }
                Err(ClusterError::Ended { log })
                    if log.contains("could not bind") && attempt < PORT_ATTEMPTS => {}
                Err(error) => {
                    // It has ended, or is too late to be of use.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(error);
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn spawn(&self, port: u16) -> Result<Child, ClusterError> {
        let socket = self.folder.join("socket");
        let socket = if socket.as_os_str().len() <= SOCKET_FOLDER_BYTES_MAX {
            self.make_owned_folder(&socket)?;
            socket.display().to_string()
        } else {
            String::new()
        };
        let path = self.log_path();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(ClusterError::file("open", &path))?;
        let errors = log.try_clone().map_err(ClusterError::file("open", &path))?;
        let mut postgres = self.program("postgres");
        if self.locale.is_some() {
            postgres.env("LOCPATH", self.locales());
        }
        postgres.arg("-D").arg(self.data()).stdout(log).stderr(errors);
        // In a process group of its own, Ctrl-C in the terminal reaches only the owner.
        postgres.process_group(0);
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}")]);
        postgres.args(["-c", &format!("unix_socket_directories={socket}")]);
        for (name, value) in &self.settings {
            postgres.args(["-c", &format!("{name}={value}")]);
        }
        postgres.spawn().map_err(ClusterError::file("run", &self.bin.join("postgres")))
    }

    fn wait_until_ready_or_ended(&self, child: &mut Child) -> Result<u16, ClusterError> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            let ended = child.try_wait().map_err(ClusterError::file("watch", &self.bin))?;
            if ended.is_some() {
                return Err(ClusterError::Ended { log: log_tail(&self.log_path()) });
            }
            if let Some(port) = self.ready_port(child.id()) {
                return Ok(port);
            }
            self.sleep_until_poll(deadline)?;
        }
    }

    fn wait_until_ready(&self, pid: u32) -> Result<u16, ClusterError> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(port) = self.ready_port(pid) {
                return Ok(port);
            }
            self.sleep_until_poll(deadline)?;
        }
    }

    /// The port of the server with this process id, once it accepts connections.
    fn ready_port(&self, pid: u32) -> Option<u16> {
        let server = PidFile::read(&self.data())?;
        (server.pid == pid && server.ready).then_some(server.port)
    }

    fn sleep_until_poll(&self, deadline: Instant) -> Result<(), ClusterError> {
        if Instant::now() >= deadline {
            let log = log_tail(&self.log_path());
            return Err(ClusterError::NotReady { seconds: START_TIME_MAX.as_secs(), log });
        }
        std::thread::sleep(POLL_INTERVAL);
        Ok(())
    }

    fn shut_down(&mut self, mode: ShutdownMode) -> Result<(), ClusterError> {
        if self.running().is_some() {
            let mut stop = self.program("pg_ctl");
            stop.args(["stop", "-w", "-t", "60", "-m", mode.name()]).arg("-D").arg(self.data());
            if let Err(error) = run("pg_ctl", &mut stop)
                // It may have ended by itself in between.
                && self.running().is_some()
            {
                return Err(error);
            }
        }
        if let Some(mut child) = self.child.take() {
            child.wait().map_err(ClusterError::file("wait for", &self.bin.join("postgres")))?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Errors cannot be reported from here.
        let _ = self.stop();
        if let Some(guardian) = self.guardian.take() {
            let _ = fs::remove_dir_all(&self.folder);
            guardian.dismiss();
        }
    }
}

#[cfg(test)]
mod tests;
