//! What the server makes of the sockets, beside what they allow and what Node's `ws` makes of them, in
//! one run on one machine.
//!
//! `cargo bench --bench load` measures everything; names of parts as arguments (`fan-out`, `bursts`,
//! `compressed`, `cores`, `latency`, `slow`, `storm`, `methods`, `memory`) only those. The servers are
//! processes of their own; all clients are in this one. Every part takes turns between the servers,
//! and tells the medians of the rounds and the ratio of each round's own figures. Node and its `ws`
//! must be there (`tests/run clients` installs them).

mod latency;
mod memory;
mod servers;
mod throughput;

use std::time::Duration;

/// How long each server is measured in a round.
pub(crate) const ROUND: Duration = Duration::from_secs(2);
pub(crate) const ROUNDS: usize = 5;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let names: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    if wants("fan-out") {
        for clients in [1_000, 5_000] {
            for in_flight in [1, 4, 16] {
                throughput::fan_out(clients, in_flight).await?;
            }
        }
    }
    if wants("bursts") {
        throughput::bursts(1_000).await?;
    }
    if wants("compressed") {
        for in_flight in [1, 16] {
            throughput::compressed(1_000, in_flight).await?;
        }
    }
    if wants("cores") {
        throughput::cores(1_000).await?;
    }
    if wants("methods") {
        throughput::methods(50, 10).await?;
        throughput::methods(1, 1).await?;
    }
    if wants("latency") {
        latency::beside_listen(1_000, 100.0).await?;
    }
    if wants("slow") {
        latency::beside_a_slow_client(1_000, 50.0).await?;
    }
    if wants("storm") {
        memory::storm(5_000, 50.0).await?;
    }
    if wants("memory") {
        memory::per_session(4_000).await?;
    }
    Ok(())
}

/// Tells a figure beside what it should be.
pub(crate) fn tell(what: &str, figures: &str, ratio: f64, target: &str) {
    println!("{what:<34} {figures:<58} {ratio:>7.2}   (target {target})");
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
