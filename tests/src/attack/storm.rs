//! Everybody comes at once.

use std::time::Instant;

use super::{COUNT_MAX, Error, Findings, Victim};
use crate::load::{Latency, Marks, Plan, Swarm, Target};

/// Connects many clients at once, and subscribes each.
#[derive(Clone, Debug, clap::Args)]
pub struct Storm {
    /// How many clients.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: u32,
    /// The publication.
    #[arg(long, default_value = "notes")]
    publication: String,
}

impl Storm {
    /// Makes the attack.
    ///
    /// # Errors
    /// If a client fails, or is not ready in time.
    pub async fn run(&self, victim: Victim) -> Result<Findings, Error> {
        let connections = self.count as usize;
        let target: Target = format!("ws://{}/websocket", victim.address()).parse()?;
        let plan = Plan {
            target,
            connections,
            at_once: connections,
            threads: 1,
            deflate: false,
            subscription: Some((self.publication.clone(), "[]".to_owned())),
            method: None,
            pipeline: 1,
        };
        let begun = Instant::now();
        let swarm = Swarm::start(plan, &Marks::default())?;
        swarm.wait_for_ready(connections).await?;
        Ok(vec![
            ("clients", connections.to_string()),
            ("all ready after", format!("{:.2} s", begun.elapsed().as_secs_f64())),
            ("each ready after", Latency::of(&swarm.time_to_ready()).to_string()),
        ])
    }
}
