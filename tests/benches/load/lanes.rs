//! Servers with their clients, measured in turns.

use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Marks, Report, Swarm};
use ddp_tests::needs;

use super::figures::{Rounds, tell};
use super::servers::{self, Databases, Kind, Peer, Server};
use super::{Bench, Result};

/// Files that a process has open besides its connections.
const OTHER_FILES: usize = 200;

/// A server with its clients.
pub(crate) struct Lane {
    /// Dropped first, so that the server does not complain of clients that leave.
    _server: Server,
    swarm: Swarm,
    driver: Driver,
    marks: Marks,
    report: Report,
    /// Messages per second.
    rates: Rounds,
}

impl Lane {
    /// Clients that see one document changed by a method.
    pub(crate) async fn of_note(server: Server, clients: usize, deflate: bool) -> Result<Self> {
        let driver = server.driver(1).await?;
        Self::new(server, "note", driver, clients, deflate).await
    }

    /// Clients that get this many messages for each call of the method.
    pub(crate) async fn of_burst(server: Server, clients: usize, messages: usize) -> Result<Self> {
        let driver = server.driver(messages).await?;
        Self::new(server, "note", driver, clients, false).await
    }

    /// Clients that see a table in its own database, with this many changes per transaction.
    pub(crate) async fn of_table(
        bench: &Bench,
        kind: Kind,
        databases: &Databases,
        clients: usize,
        burst: usize,
    ) -> Result<Self> {
        let url = databases.create(&format!("{kind:?}").to_lowercase(), burst)?;
        let server = Server::start_over(bench, kind, &url)?;
        let driver = Driver::sql(&url, servers::UPDATE.to_owned(), burst).await?;
        Self::new(server, "tasks", driver, clients, false).await
    }

    async fn new(
        server: Server,
        publication: &str,
        driver: Driver,
        clients: usize,
        deflate: bool,
    ) -> Result<Self> {
        let marks = Marks::default();
        let swarm = server.subscribers(publication, clients, deflate, &marks).await?;
        let (report, rates) = (Report::default(), Rounds::default());
        Ok(Self { _server: server, swarm, driver, marks, report, rates })
    }

    async fn round(&mut self, bench: &Bench, in_flight: u32) -> Result<()> {
        let Self { swarm, driver, marks, report, .. } = self;
        let pace = Pace::InFlight(in_flight);
        drive::run(swarm, driver, marks, pace, bench.round, report, |_| {}).await?;
        self.rates.push(report.messages_per_second);
        Ok(())
    }

    pub(crate) fn rate(&self) -> String {
        format!("{:.0}/s", self.rates.median())
    }
}

/// Measures all of them, round by round.
pub(crate) async fn take_turns(bench: &Bench, lanes: &mut [Lane], in_flight: u32) -> Result<()> {
    for _ in 0..bench.rounds {
        for lane in &mut *lanes {
            lane.round(bench, in_flight).await?;
        }
    }
    Ok(())
}

/// Prints ours, which comes first, next to the others.
pub(crate) fn tell_all(what: &str, lanes: &[Lane], peers: &[Peer]) {
    let Some((ours, others)) = lanes.split_first() else { return };
    for (lane, peer) in others.iter().zip(peers) {
        let figures = format!("{} beside {} of {}", ours.rate(), lane.rate(), peer.name);
        tell(what, &figures, ours.rates.ratio(&lane.rates), peer.target);
    }
}

/// Checks that this process can have so many clients of so many servers at a time.
pub(crate) fn need_clients(clients: usize, servers: usize) -> Result<()> {
    Ok(needs::open_files(clients * servers + OTHER_FILES)?)
}
