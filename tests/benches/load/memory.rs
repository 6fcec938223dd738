//! What sessions take of the server's memory, and what many at once do to it.

use std::time::{Duration, Instant};

use ddp_tests::load::{Latency, Marks, Plan, Swarm};

use super::servers::{self, Server};
use super::{Result, tell};

/// Idle connections, and subscribers to what others have already.
pub(crate) async fn per_session(clients: usize) -> Result<()> {
    let marks = Marks::default();
    for (what, publication, target) in [
        ("an idle connection", None, "10 KiB"),
        ("a subscriber to 1 document", Some("note"), "16 KiB"),
        ("a subscriber to 1,000 documents", Some("notes"), "16 KiB"),
    ] {
        let server = Server::ours()?;
        let subscription = publication.map(|name| (name.to_owned(), "[]".to_owned()));
        // The first ones make the server's threads and caches.
        let plan = |count| Plan { subscription: subscription.clone(), ..server.plan(count) };
        let first = Swarm::start(plan(100), &marks)?;
        first.wait_for_ready(100).await?;
        let before = settled(&server).await?;
        let swarm = Swarm::start(plan(clients), &marks)?;
        swarm.wait_for_ready(clients).await?;
        let more = settled(&server).await?.saturating_sub(before) as f64;
        let kilobytes = more / clients as f64 / 1024.0;
        tell(what, &format!("{:.0} MB for {clients}", more / 1_048_576.0), kilobytes, target);
    }
    Ok(())
}

/// The memory that stays when handshakes are over, and the allocator has given back what they took.
async fn settled(server: &Server) -> Result<u64> {
    let mut memory = server.process.memory()?;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = std::mem::replace(&mut memory, server.process.memory()?);
        if before <= memory + memory / 100 {
            break;
        }
    }
    Ok(memory)
}

/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// All clients come at once, as after a restart.
pub(crate) async fn storm(clients: usize) -> Result<()> {
    let cluster = servers::cluster(1_000)?;
    let server = Server::ours_over(&cluster)?;
    let before = server.process.memory()?;
    let began = Instant::now();
    let subscription = Some(("tasks".to_owned(), "[]".to_owned()));
    let plan = Plan { subscription, at_once: clients, ..server.plan(clients) };
    let swarm = Swarm::start(plan, &Marks::default())?;
    let (mut peak, mut ready) = (before, 0);
    while ready < clients {
        ready = swarm.ready();
        swarm.check()?;
        peak = peak.max(server.process.memory()?);
        if began.elapsed() > PATIENCE {
            return Err(format!("{ready} of {clients} were ready after {PATIENCE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let after = server.process.memory()?;
    let megabytes = |bytes: u64| bytes as f64 / 1_048_576.0;
    let figures = format!(
        "ready after {}; memory {:.0} MB, peak {:.0} MB, then {:.0} MB",
        Latency::of(&swarm.time_to_ready()),
        megabytes(before),
        megabytes(peak),
        megabytes(after)
    );
    tell(&format!("{clients} come at once, s"), &figures, seconds, "bounded");
    Ok(())
}
