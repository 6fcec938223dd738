//! The server's memory per session, and what many at once do to it.

use std::time::{Duration, Instant};

use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Latency, Marks, Plan, Report, Swarm};

use super::figures::{Ratio, Rounds, tell};
use super::lanes::need_clients;
use super::servers::{self, Databases, Kind, Server};
use super::{Bench, Result};

/// How many clients are measured.
const CLIENTS: usize = 4_000;
/// How many come before them, to create the server's threads and caches.
const FIRST_CLIENTS: usize = 100;

/// Idle connections, and subscribers to what others already have.
pub(crate) async fn per_session(bench: &Bench, publication: &str, is_sockjs: bool) -> Result<()> {
    need_clients(FIRST_CLIENTS + CLIENTS, 1)?;
    let (what, subscription, limit) = match publication {
        "idle" => ("an idle connection", None, 10.0),
        "note" => ("a subscriber to 1 document", Some(publication), 16.0),
        "notes" => ("a subscriber to 1,000 documents", Some(publication), 16.0),
        _ => return Err(format!("there is no memory of {publication}").into()),
    };
    let what = if is_sockjs { format!("{what}, SockJS, deflate") } else { what.to_owned() };
    let (mut ours, mut baseline) = (Rounds::default(), Rounds::default());
    let has_baseline = bench.baseline.is_some();
    for _ in 0..if has_baseline { bench.rounds } else { 1 } {
        ours.push(kilobytes(bench, Kind::Ours, subscription, is_sockjs).await?);
        if has_baseline {
            baseline.push(kilobytes(bench, Kind::Baseline, subscription, is_sockjs).await?);
        }
    }
    let each = format!("{:.1} KiB each of {CLIENTS}", ours.median());
    if has_baseline {
        let figures = format!("{each} beside {:.1} of the baseline", baseline.median());
        tell(&what, &figures, ours.ratio(&baseline), "1");
    } else {
        let share = Ratio::once(ours.median() / limit);
        tell(&what, &format!("{each}, where {limit} are allowed"), share, "at most 1");
    }
    Ok(())
}

/// The memory per client.
async fn kilobytes(
    bench: &Bench,
    kind: Kind,
    publication: Option<&str>,
    is_sockjs: bool,
) -> Result<f64> {
    let (server, marks) = (Server::start(bench, kind)?, Marks::default());
    let subscription = publication.map(|name| (name.to_owned(), "[]".to_owned()));
    let target = if is_sockjs { server.sockjs()? } else { server.target.clone() };
    let plan = |count| Plan {
        subscription: subscription.clone(),
        target: target.clone(),
        // Compression takes memory, too.
        deflate: is_sockjs,
        ..server.plan(count)
    };
    let first = Swarm::start(plan(FIRST_CLIENTS), &marks)?;
    first.wait_for_ready(FIRST_CLIENTS).await?;
    let before = settled(&server).await?;
    let swarm = Swarm::start(plan(CLIENTS), &marks)?;
    swarm.wait_for_ready(CLIENTS).await?;
    let more = settled(&server).await?.saturating_sub(before) as f64;
    Ok(more / CLIENTS as f64 / 1024.0)
}

/// The memory that remains after the handshakes, once the allocator has returned theirs.
pub(crate) async fn settled(server: &Server) -> Result<u64> {
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

/// The outcome of a storm.
struct Storm {
    /// The time until all were ready.
    seconds: f64,
    time_to_ready: Latency,
    /// Bytes of memory before, at the peak, and after.
    memory: [u64; 3],
    /// The latency of changes for the others, before, during and after the storm. After it all who came
    /// are sent the changes as well.
    p99: [f64; 3],
}

/// All clients come at once, as after a restart, while others see this many changes per second.
pub(crate) async fn storm(bench: &Bench, clients: usize, rate: f64) -> Result<()> {
    need_clients(clients, 1)?;
    let databases = Databases::start()?;
    let has_baseline = bench.baseline.is_some();
    let (mut ours, mut baseline) = (Rounds::default(), Rounds::default());
    for round in 0..if has_baseline { bench.rounds } else { 1 } {
        let url = databases.create(&format!("ours_{round}"), 1_000)?;
        let storm = one_storm(bench, Kind::Ours, &url, clients, rate).await?;
        ours.push(storm.seconds);
        if has_baseline {
            let url = databases.create(&format!("baseline_{round}"), 1_000)?;
            baseline.push(one_storm(bench, Kind::Baseline, &url, clients, rate).await?.seconds);
            continue;
        }
        let [before, peak, after] = storm.memory.map(|bytes| bytes as f64 / 1_048_576.0);
        let figures = format!(
            "ready after {}; memory {before:.0} MB, peak {peak:.0} MB, then {after:.0} MB",
            storm.time_to_ready
        );
        let what = format!("{clients} come at once, s");
        tell(&what, &figures, Ratio::once(storm.seconds), "bounded");
        let [calm, meanwhile, after] = storm.p99;
        let figures = format!(
            "others' p99 {meanwhile:.1} ms meanwhile, {calm:.1} ms before, {after:.1} ms with all"
        );
        tell(&what, &figures, Ratio::once(meanwhile / calm), "bounded");
    }
    if has_baseline {
        let (mine, other) = (ours.median(), baseline.median());
        let figures = format!("ready after {mine:.2} s beside {other:.2} s of the baseline");
        tell(&format!("{clients} come at once"), &figures, ours.ratio(&baseline), "1");
    }
    Ok(())
}

async fn one_storm(
    bench: &Bench,
    kind: Kind,
    url: &str,
    clients: usize,
    rate: f64,
) -> Result<Storm> {
    let server = Server::start_over(bench, kind, url)?;
    let marks = Marks::default();
    let others = server.subscribers("tasks", 100, false, &marks).await?;
    let mut driver = Driver::sql(url, servers::UPDATE.to_owned(), 1).await?;
    let pace = Pace::Rate(rate);
    let mut report = Report::default();
    drive::run(&others, &mut driver, &marks, pace, bench.round, &mut report, |_| {}).await?;
    let calm = report.latency.p99;
    let before = server.process.memory()?;
    let subscription = Some(("tasks".to_owned(), "[]".to_owned()));
    let plan = Plan { subscription, at_once: clients, ..server.plan(clients) };
    let swarm = Swarm::start(plan, &marks)?;
    let (changes, arrival) = tokio::join!(
        drive::run(&others, &mut driver, &marks, pace, bench.round, &mut report, |_| {}),
        arrive(&server, &swarm, clients),
    );
    changes?;
    let (seconds, peak) = arrival?;
    let (after, stormy) = (server.process.memory()?, report.latency.p99);
    drive::run(&others, &mut driver, &marks, pace, bench.round, &mut report, |_| {}).await?;
    Ok(Storm {
        seconds,
        time_to_ready: Latency::of(&swarm.time_to_ready()),
        memory: [before, peak, after],
        p99: [calm, stormy, report.latency.p99],
    })
}

/// Waits for all of them. Returns how many seconds it took, and the peak memory.
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
