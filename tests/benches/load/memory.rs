//! What sessions take of the server's memory, and what many at once do to it.

use std::time::{Duration, Instant};

use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Latency, Marks, Plan, Report, Swarm};

use super::servers::{self, Server};
use super::{ROUND, Result, tell};

/// Idle connections, and subscribers to what others have already.
pub(crate) async fn per_session(clients: usize) -> Result<()> {
    let marks = Marks::default();
    for (what, publication, is_sockjs, deflate, limit) in [
        ("an idle connection", None, false, false, "10 KiB"),
        ("an idle connection, SockJS, deflate", None, true, true, "10 KiB"),
        ("a subscriber to 1 document", Some("note"), false, false, "16 KiB"),
        ("a subscriber to 1,000 documents", Some("notes"), false, false, "16 KiB"),
        ("the same by SockJS, compressed", Some("notes"), true, true, "16 KiB"),
    ] {
        let server = Server::ours()?;
        let subscription = publication.map(|name| (name.to_owned(), "[]".to_owned()));
        let target = if is_sockjs { server.sockjs()? } else { server.target.clone() };
        // The first ones make the server's threads and caches.
        let plan = |count| Plan {
            subscription: subscription.clone(),
            target: target.clone(),
            deflate,
            ..server.plan(count)
        };
        let first = Swarm::start(plan(100), &marks)?;
        first.wait_for_ready(100).await?;
        let before = settled(&server).await?;
        let swarm = Swarm::start(plan(clients), &marks)?;
        swarm.wait_for_ready(clients).await?;
        let more = settled(&server).await?.saturating_sub(before) as f64;
        let kilobytes = more / clients as f64 / 1024.0;
        tell(what, &format!("{:.0} MB for {clients}", more / 1_048_576.0), kilobytes, limit);
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

/// All clients come at once, as after a restart, to others who see so many changes a second.
pub(crate) async fn storm(clients: usize, rate: f64) -> Result<()> {
    let cluster = servers::cluster(1_000)?;
    let server = Server::ours_over(&cluster)?;
    let marks = Marks::default();
    let others = server.subscribers("tasks", 100, false, &marks).await?;
    let mut driver = Driver::sql(&cluster.url(), servers::UPDATE.to_owned(), 1).await?;
    let pace = Pace::Rate(rate);
    let mut report = Report::default();
    drive::run(&others, &mut driver, &marks, pace, ROUND, &mut report, |_| {}).await?;
    let calm = report.latency;
    let before = server.process.memory()?;
    let subscription = Some(("tasks".to_owned(), "[]".to_owned()));
    let plan = Plan { subscription, at_once: clients, ..server.plan(clients) };
    let swarm = Swarm::start(plan, &marks)?;
    let (changes, arrival) = tokio::join!(
        drive::run(&others, &mut driver, &marks, pace, ROUND, &mut report, |_| {}),
        arrive(&server, &swarm, clients),
    );
    changes?;
    let (seconds, peak) = arrival?;
    let after = server.process.memory()?;
    let megabytes = |bytes: u64| bytes as f64 / 1_048_576.0;
    let what = format!("{clients} come at once, s");
    let figures = format!(
        "ready after {}; memory {:.0} MB, peak {:.0} MB, then {:.0} MB",
        Latency::of(&swarm.time_to_ready()),
        megabytes(before),
        megabytes(peak),
        megabytes(after)
    );
    tell(&what, &figures, seconds, "bounded");
    let (storm, ratio) = (report.latency, report.latency.p99 / calm.p99);
    let figures = format!("others' p99 {:.1} ms meanwhile, {:.1} ms before", storm.p99, calm.p99);
    tell(&what, &figures, ratio, "bounded");
    Ok(())
}

/// Waits for all; after how many seconds, and with how much memory at most.
async fn arrive(server: &Server, swarm: &Swarm, clients: usize) -> Result<(f64, u64)> {
    let began = Instant::now();
    let (mut peak, mut ready) = (0, 0);
    while ready < clients {
        ready = swarm.ready();
        swarm.check()?;
        peak = peak.max(server.process.memory()?);
        if began.elapsed() > PATIENCE {
            return Err(format!("{ready} of {clients} were ready after {PATIENCE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok((began.elapsed().as_secs_f64(), peak))
}
