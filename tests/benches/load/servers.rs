//! Servers as processes of their own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use ddp_cluster::Cluster;
use ddp_tests::database;
use ddp_tests::load::drive::Driver;
use ddp_tests::load::{Marks, Plan, Process, Swarm, Target};

use super::Result;

/// A server, killed when dropped.
pub(crate) struct Server {
    pub(crate) target: Target,
    pub(crate) process: Process,
    child: Child,
}

impl Server {
    /// Ours, without a database.
    pub(crate) fn ours() -> Result<Self> {
        Self::start(&mut Command::new(env!("CARGO_BIN_EXE_ddp-load-server")))
    }

    /// The same with so many threads.
    pub(crate) fn ours_with(threads: usize) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddp-load-server"));
        Self::start(command.env("THREADS", threads.to_string()))
    }

    pub(crate) fn ours_over(cluster: &Cluster) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddp-load-server"));
        Self::start(command.env("DATABASE_URL", cluster.url()))
    }

    /// What the sockets allow, with so many messages in each write.
    pub(crate) fn ceiling(messages: usize) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddp-load-ceiling"));
        Self::start(command.env("MESSAGES", messages.to_string()))
    }

    /// Node's `ws`, which compresses as the argument says, if at all.
    pub(crate) fn node_ws(compression: Option<&str>) -> Result<Self> {
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/ws.mjs"));
        Self::start(command.args(compression))
    }

    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
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

    /// Changes the one document, of which each client is told by so many messages.
    pub(crate) async fn driver(&self, messages: usize) -> Result<Driver> {
        let params = r#"["$mark"]"#.to_owned();
        Ok(Driver::method(&self.target, "change".to_owned(), params, messages).await?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which has been told then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A database with a table of so many rows, whose changes become messages as long as the others'.
pub(crate) fn cluster(rows: usize) -> Result<Cluster> {
    let cluster = database::start_cluster();
    cluster.psql(
        "postgres",
        &format!(
            "CREATE TABLE tasks (id text PRIMARY KEY, text text); \
             INSERT INTO tasks SELECT n::text, repeat('x', 120) FROM generate_series(0, {rows} - 1) AS n"
        ),
    )?;
    Ok(cluster)
}

/// Changes a row of it.
pub(crate) const UPDATE: &str = "UPDATE tasks SET text = '$mark The quick brown fox jumps over the \
    lazy dog, while sphinx of black quartz judges my vow at half past seven' WHERE id = '$number'";
