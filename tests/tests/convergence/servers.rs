//! Server processes, each with its own network to the database.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use ddp_postgres::Feed;
use ddp_tests::proxy::Proxy;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub(crate) struct ServerProcess {
    pub(crate) address: SocketAddr,
    pub(crate) network: Proxy,
    child: Child,
}

impl ServerProcess {
    pub(crate) async fn start(database: SocketAddr, feed: Feed, keys_only: bool) -> Self {
        let network = Proxy::start(database).await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddp-converge"));
        if keys_only {
            command.env("KEYS_ONLY", "yes");
        }
        let mut child = command
            .env("DATABASE_URL", format!("postgres://postgres@{}/postgres", network.address()))
            .env("FEED", format!("{feed:?}").to_lowercase())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = lines.next_line().await.expect("it prints").expect("its address");
        Self { address: line.parse().expect("an address"), network, child }
    }

    /// Pauses the process for a while, like a machine that is overloaded or being moved.
    pub(crate) fn pause(&self, time: Duration) {
        self.signal("-STOP");
        std::thread::sleep(time);
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let status = std::process::Command::new("kill").args([signal, &pid]).status();
        assert!(status.expect("kill is installed").success(), "server {pid} has ended");
    }

    /// Fails if the process has ended.
    pub(crate) fn check(&mut self) {
        let status = self.child.try_wait().expect("its status is known");
        assert!(status.is_none(), "a server ended: {status:?}");
    }
}
