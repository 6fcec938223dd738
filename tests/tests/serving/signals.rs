//! A program that is asked to end.

#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ddp_tests::Peer;
use serde_json::json;

use super::*;

struct Program(Child, SocketAddr);

impl Program {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ddp-load-server"))
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().parse().unwrap())
    }

    fn signal(&self, name: &str) {
        let kill =
            Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Whether it ended well, once it does.
    async fn ended(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            assert!(begun.elapsed() < PATIENCE, "it still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Begins a call that takes ten seconds.
async fn call(peer: &mut Peer) {
    let call = json!({"msg": "method", "id": "1", "method": "wait", "params": [10_000]});
    peer.send(call).await;
    // Answered after it has begun, since it is handled in order.
    peer.expect_nothing().await;
}

#[tokio::test]
async fn the_first_signal_lets_methods_end() {
    for name in ["TERM", "INT"] {
        let mut program = Program::start();
        let mut peer = Peer::connect(program.1).await;
        peer.send(json!({"msg": "method", "id": "1", "method": "wait", "params": [1_000]})).await;
        peer.expect_nothing().await;
        program.signal(name);
        assert_eq!(peer.recv().await["msg"], "updated", "SIG{name}");
        assert_eq!(peer.recv().await["result"], 1_000, "SIG{name}");
        assert!(program.ended().await, "SIG{name}");
    }
}

#[tokio::test]
async fn the_second_signal_ends_at_once() {
    let mut program = Program::start();
    let mut peer = Peer::connect(program.1).await;
    call(&mut peer).await;
    let begun = Instant::now();
    program.signal("TERM");
    // The first one is noticed when nothing listens any longer.
    while TcpStream::connect(program.1).await.is_ok() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    program.signal("INT");
    assert!(program.ended().await);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
