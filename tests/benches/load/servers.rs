//! Servers in separate processes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use ddp_cluster::Cluster;
use ddp_tests::database;
use ddp_tests::load::drive::Driver;
use ddp_tests::load::{Marks, Plan, Process, Swarm, Target};
use ddp_tests::needs;

use super::{Bench, Result};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    /// Another build of ours.
    Baseline,
    /// The sockets alone, with this many messages per write.
    Ceiling(usize),
    /// Node's `ws`, with the given compression, if any.
    NodeWs(Option<&'static str>),
}

/// A server that ours is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// The ratio that ours should reach.
    pub(crate) target: &'static str,
}

/// A server, killed when dropped.
pub(crate) struct Server {
    pub(crate) target: Target,
    pub(crate) process: Process,
    child: Child,
}

impl Server {
    /// Without a database.
    pub(crate) fn start(bench: &Bench, kind: Kind) -> Result<Self> {
        Self::run(&mut Self::command(bench, kind))
    }

    /// With this many threads.
    pub(crate) fn start_with(bench: &Bench, kind: Kind, threads: usize) -> Result<Self> {
        Self::run(Self::command(bench, kind).env("THREADS", threads.to_string()))
    }

    /// With this database.
    pub(crate) fn start_over(bench: &Bench, kind: Kind, url: &str) -> Result<Self> {
        Self::run(Self::command(bench, kind).env("DATABASE_URL", url))
    }

    fn command(bench: &Bench, kind: Kind) -> Command {
        let ours = OsStr::new(env!("CARGO_BIN_EXE_ddp-load-server"));
        let baseline = bench.baseline.as_ref().map_or(ours, |path| path.as_os_str());
        match kind {
            Kind::Ours => Command::new(ours),
            Kind::Baseline => Command::new(baseline),
            Kind::Ceiling(messages) => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ddp-load-ceiling"));
                command.env("MESSAGES", messages.to_string());
                command
            }
            Kind::NodeWs(compression) => {
                let mut command = Command::new("node");
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/ws.mjs"));
                command.args(compression);
                command
            }
        }
    }

    fn run(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("{program} does not start: {error}"))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        if line.is_empty() {
            return Err(format!("{program} ended before it told its address").into());
        }
        let target = format!("ws://{}/websocket", line.trim()).parse()?;
        let process = Process::new(child.id())?;
        Ok(Self { target, process, child })
    }

    /// Clients of this server that are not subscribed.
    pub(crate) fn plan(&self, connections: usize) -> Plan {
        Plan {
            target: self.target.clone(),
            connections,
            at_once: 100,
            threads: 1,
            deflate: false,
            subscription: None,
            method: None,
            pipeline: 1,
        }
    }

    /// The same server's SockJS.
    pub(crate) fn sockjs(&self) -> Result<Target> {
        Ok(format!("http://{}/sockjs", self.target.address).parse()?)
    }

    /// Clients of this server that are subscribed and ready.
    pub(crate) async fn subscribers(
        &self,
        publication: &str,
        connections: usize,
        deflate: bool,
        marks: &Marks,
    ) -> Result<Swarm> {
        let subscription = Some((publication.to_owned(), "[]".to_owned()));
        let swarm = Swarm::start(Plan { subscription, deflate, ..self.plan(connections) }, marks)?;
        swarm.wait_for_ready(connections).await?;
        Ok(swarm)
    }

    /// Changes the one document; each client gets this many messages.
    pub(crate) async fn driver(&self, messages: usize) -> Result<Driver> {
        let params = r#"["$mark"]"#.to_owned();
        Ok(Driver::method(&self.target, "change".to_owned(), params, messages).await?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it has ended by itself, that has been reported already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cluster with a database for each server.
pub(crate) struct Databases(Cluster);

impl Databases {
    /// # Errors
    /// If PostgreSQL is not installed.
    pub(crate) fn start() -> Result<Self> {
        needs::postgres()?;
        Ok(Self(database::start_cluster()))
    }

    /// A database with a table of this many rows, whose changes become messages as long as the
    /// others'. Returns its URL.
    pub(crate) fn create(&self, name: &str, rows: usize) -> Result<String> {
        self.0.psql("postgres", &format!("CREATE DATABASE {name}"))?;
        self.0.psql(
            name,
            &format!(
                "CREATE TABLE tasks (id text PRIMARY KEY, text text); \
                 INSERT INTO tasks \
                 SELECT n::text, repeat('x', 120) FROM generate_series(0, {rows} - 1) AS n"
            ),
        )?;
        Ok(self.0.database_url(name))
    }

    /// A database with a table of so many lists with so many rows each, one row of each marked. Returns
    /// its URL.
    pub(crate) fn create_lists(&self, name: &str, lists: usize, rows: usize) -> Result<String> {
        self.0.psql("postgres", &format!("CREATE DATABASE {name}"))?;
        self.0.psql(
            name,
            &format!(
                "CREATE TABLE tasks (id text PRIMARY KEY, list text, text text, is_marked bool); \
                 INSERT INTO tasks \
                 SELECT n::text, (n / {rows})::text, repeat('x', 120), n % {rows} = 0 \
                 FROM generate_series(0, {lists} * {rows} - 1) AS n; \
                 CREATE INDEX ON tasks (list)"
            ),
        )?;
        self.0.psql(name, "VACUUM ANALYZE tasks")?;
        Ok(self.0.database_url(name))
    }
}

/// Changes a row of the table.
pub(crate) const UPDATE: &str = "UPDATE tasks SET text = '$mark The quick brown fox jumps over the \
    lazy dog, while sphinx of black quartz judges my vow at half past seven' WHERE id = '$number'";
