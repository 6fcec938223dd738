//! Messages and calls per second.

use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Marks, Plan, Report, Swarm};

use super::servers::{self, Server};
use super::{ROUND, ROUNDS, Result, median, tell};

/// A server with its clients.
struct Lane {
    swarm: Swarm,
    driver: Driver,
    marks: Marks,
    report: Report,
    rates: Vec<f64>,
    _server: Server,
}

impl Lane {
    async fn new(server: Server, publication: &str, clients: usize, deflate: bool) -> Result<Self> {
        let marks = Marks::default();
        let swarm = server.subscribers(publication, clients, deflate, &marks).await?;
        let driver = server.driver(1).await?;
        let (report, rates) = (Report::default(), Vec::new());
        Ok(Self { swarm, driver, marks, report, rates, _server: server })
    }

    async fn round(&mut self, in_flight: u32) -> Result<()> {
        let Self { swarm, driver, marks, report, .. } = self;
        drive::run(swarm, driver, marks, Pace::InFlight(in_flight), ROUND, report, |_| {}).await?;
        self.rates.push(report.messages_per_second);
        Ok(())
    }

    /// Of each round.
    fn ratio(&self, other: &Self) -> f64 {
        median(self.rates.iter().zip(&other.rates).map(|(ours, theirs)| ours / theirs))
    }

    fn rate(&self) -> String {
        format!("{:.0}/s", median(self.rates.iter().copied()))
    }
}

async fn take_turns(lanes: &mut [Lane], in_flight: u32) -> Result<()> {
    for _ in 0..ROUNDS {
        for lane in &mut *lanes {
            lane.round(in_flight).await?;
        }
    }
    Ok(())
}

/// One change to all clients, with so many changes on their way at a time: with one of them, cores wait
/// for the last message of each.
pub(crate) async fn fan_out(clients: usize, in_flight: u32) -> Result<()> {
    let mut lanes = [
        Lane::new(Server::ours()?, "note", clients, false).await?,
        Lane::new(Server::ceiling(1)?, "note", clients, false).await?,
        Lane::new(Server::node_ws(None)?, "note", clients, false).await?,
    ];
    take_turns(&mut lanes, in_flight).await?;
    let [ours, ceiling, node] = &lanes;
    let what = format!("fan-out to {clients}, {in_flight} at a time");
    let figures =
        |other: &str, lane: &Lane| format!("{} beside {} of {other}", ours.rate(), lane.rate());
    tell(&what, &figures("the ceiling", ceiling), ours.ratio(ceiling), "0.8");
    tell(&what, &figures("Node's ws", node), ours.ratio(node), "2.5");
    Ok(())
}

/// Twenty changes in each transaction.
pub(crate) async fn bursts(clients: usize) -> Result<()> {
    let cluster = servers::cluster(20)?;
    let mut ours = Lane::new(Server::ours_over(&cluster)?, "tasks", clients, false).await?;
    ours.driver = Driver::sql(&cluster.url(), servers::UPDATE.to_owned(), 20).await?;
    let joined = Server::ceiling(20)?;
    let driver = joined.driver(20).await?;
    let mut joined = Lane::new(joined, "note", clients, false).await?;
    joined.driver = driver;
    let mut lanes = [ours, Lane::new(Server::ceiling(1)?, "note", clients, false).await?, joined];
    take_turns(&mut lanes, 1).await?;
    let [ours, ceiling, joined] = &lanes;
    let what = format!("bursts of 20 to {clients}");
    let figures = format!("{} beside {} with a write for each", ours.rate(), ceiling.rate());
    tell(&what, &figures, ours.ratio(ceiling), "3");
    let figures = format!("{} beside {} with a write for 20", ours.rate(), joined.rate());
    tell(&what, &figures, ours.ratio(joined), "none");
    Ok(())
}

/// One change to all clients, compressed, with so many changes on their way at a time.
pub(crate) async fn compressed(clients: usize, in_flight: u32) -> Result<()> {
    let mut lanes = [
        Lane::new(Server::ours()?, "note", clients, true).await?,
        Lane::new(Server::node_ws(Some("like-ours"))?, "note", clients, true).await?,
        Lane::new(Server::node_ws(Some("default"))?, "note", clients, true).await?,
    ];
    take_turns(&mut lanes, in_flight).await?;
    let [ours, alike, default] = &lanes;
    let what = format!("compressed to {clients}, {in_flight} at a time");
    let figures = format!("{} beside {} of Node's ws set alike", ours.rate(), alike.rate());
    tell(&what, &figures, ours.ratio(alike), "20");
    let figures = format!("{} beside {} of its defaults", ours.rate(), default.rate());
    tell(&what, &figures, ours.ratio(default), "20");
    Ok(())
}

/// What a second thread adds while the clients leave it something: with one change at a time.
pub(crate) async fn cores(clients: usize) -> Result<()> {
    let mut lanes = [
        Lane::new(Server::ours_with(2)?, "note", clients, false).await?,
        Lane::new(Server::ours_with(1)?, "note", clients, false).await?,
    ];
    take_turns(&mut lanes, 1).await?;
    let [two, one] = &lanes;
    let figures = format!("{} with two threads beside {} with one", two.rate(), one.rate());
    tell(&format!("cores, {clients} clients"), &figures, two.ratio(one), "above 1");
    Ok(())
}

/// Calls of a method that gives back its parameter.
pub(crate) async fn methods(clients: usize, pipeline: usize) -> Result<()> {
    let mut rates: [Vec<f64>; 2] = Default::default();
    let servers = [Server::ours()?, Server::node_ws(None)?];
    let mut swarms = Vec::new();
    for server in &servers {
        let method = Some(("echo".to_owned(), r#"["hello"]"#.to_owned()));
        let plan = Plan { method, pipeline, ..server.plan(clients) };
        let swarm = Swarm::start(plan, &Marks::default())?;
        swarm.wait_for_ready(clients).await?;
        swarms.push(swarm);
    }
    for _ in 0..ROUNDS {
        for (swarm, rates) in swarms.iter().zip(&mut rates) {
            rates.push(drive::calls(swarm, ROUND).await?);
        }
    }
    let [ours, node] = &rates;
    let ratio = median(ours.iter().zip(node).map(|(ours, node)| ours / node));
    let (ours, node) = (median(ours.iter().copied()), median(node.iter().copied()));
    let figures = format!("{ours:.0}/s beside {node:.0}/s of Node's ws");
    let target = if clients == 1 { "1" } else { "2" };
    tell(&format!("calls by {clients}, {pipeline} at a time"), &figures, ratio, target);
    Ok(())
}
