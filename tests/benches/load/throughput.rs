//! Messages and calls per second.

use ddp_tests::load::drive;
use ddp_tests::load::{Marks, Plan, Swarm};

use super::figures::{Rounds, tell};
use super::lanes::{Lane, need_clients, take_turns, tell_all};
use super::servers::{Databases, Kind, Peer, Server};
use super::{Bench, Result};

/// One change to all clients, with this many changes in flight: with only one, cores would wait for
/// the last message of each.
pub(crate) async fn fan_out(bench: &Bench, clients: usize, in_flight: u32) -> Result<()> {
    let peers = bench.peers(&[
        Peer { kind: Kind::Ceiling(1), name: "the ceiling", target: "0.8" },
        Peer { kind: Kind::NodeWs(None), name: "Node's ws", target: "2.5" },
    ])?;
    let what = format!("fan-out to {clients}, {in_flight} at a time");
    notes(bench, &what, clients, false, in_flight, &peers).await
}

/// One compressed change to all clients, with this many changes in flight.
pub(crate) async fn compressed(bench: &Bench, clients: usize, in_flight: u32) -> Result<()> {
    let peers = bench.peers(&[
        Peer { kind: Kind::NodeWs(Some("like-ours")), name: "Node's ws set alike", target: "20" },
        Peer { kind: Kind::NodeWs(Some("default")), name: "its defaults", target: "20" },
    ])?;
    let what = format!("compressed to {clients}, {in_flight} at a time");
    notes(bench, &what, clients, true, in_flight, &peers).await
}

async fn notes(
    bench: &Bench,
    what: &str,
    clients: usize,
    deflate: bool,
    in_flight: u32,
    peers: &[Peer],
) -> Result<()> {
    need_clients(clients, peers.len() + 1)?;
    let mut lanes = vec![Lane::of_note(Server::start(bench, Kind::Ours)?, clients, deflate).await?];
    for peer in peers {
        lanes.push(Lane::of_note(Server::start(bench, peer.kind)?, clients, deflate).await?);
    }
    take_turns(bench, &mut lanes, in_flight).await?;
    tell_all(what, &lanes, peers);
    Ok(())
}

/// How many changes each transaction of [`bursts`] has.
const BURST: usize = 20;

/// Twenty changes per transaction.
pub(crate) async fn bursts(bench: &Bench, clients: usize) -> Result<()> {
    let peers = bench.peers(&[
        Peer { kind: Kind::Ceiling(1), name: "a write for each", target: "3" },
        Peer { kind: Kind::Ceiling(BURST), name: "a write for 20", target: "none" },
    ])?;
    need_clients(clients, peers.len() + 1)?;
    let databases = Databases::start()?;
    let mut lanes = vec![Lane::of_table(bench, Kind::Ours, &databases, clients, BURST).await?];
    for peer in &peers {
        let lane = match peer.kind {
            Kind::Ceiling(messages) => {
                Lane::of_burst(Server::start(bench, peer.kind)?, clients, messages).await?
            }
            kind => Lane::of_table(bench, kind, &databases, clients, BURST).await?,
        };
        lanes.push(lane);
    }
    take_turns(bench, &mut lanes, 1).await?;
    tell_all(&format!("bursts of {BURST} to {clients}"), &lanes, &peers);
    Ok(())
}

/// What a second thread gains if the clients leave it any CPU: with one change at a time.
pub(crate) async fn cores(bench: &Bench, clients: usize) -> Result<()> {
    need_clients(clients, 2)?;
    let one = Peer { kind: Kind::Ours, name: "one thread", target: "above 1" };
    let mut lanes = [
        Lane::of_note(Server::start_with(bench, Kind::Ours, 2)?, clients, false).await?,
        Lane::of_note(Server::start_with(bench, Kind::Ours, 1)?, clients, false).await?,
    ];
    take_turns(bench, &mut lanes, 1).await?;
    tell_all(&format!("cores, {clients} clients, two threads"), &lanes, &[one]);
    Ok(())
}

/// Calls of a method that returns its parameter.
pub(crate) async fn methods(bench: &Bench, clients: usize, pipeline: usize) -> Result<()> {
    let target = if clients == 1 { "1.1" } else { "2" };
    let peers = bench.peers(&[Peer { kind: Kind::NodeWs(None), name: "Node's ws", target }])?;
    let kinds = [Kind::Ours].into_iter().chain(peers.iter().map(|peer| peer.kind));
    let mut lanes = Vec::new();
    for kind in kinds {
        let server = Server::start(bench, kind)?;
        let method = Some(("echo".to_owned(), r#"["hello"]"#.to_owned()));
        let swarm =
            Swarm::start(Plan { method, pipeline, ..server.plan(clients) }, &Marks::default())?;
        swarm.wait_for_ready(clients).await?;
        lanes.push((swarm, Rounds::default(), server));
    }
    for _ in 0..bench.rounds {
        for (swarm, rates, _) in &mut lanes {
            rates.push(drive::calls(swarm, bench.round).await?);
        }
    }
    let what = format!("calls by {clients}, {pipeline} at a time");
    let Some(((_, ours, _), others)) = lanes.split_first() else { return Ok(()) };
    for ((_, rates, _), peer) in others.iter().zip(&peers) {
        let (median, other) = (ours.median(), rates.median());
        let figures = format!("{median:.0}/s beside {other:.0}/s of {}", peer.name);
        tell(&what, &figures, ours.ratio(rates), peer.target);
    }
    Ok(())
}
