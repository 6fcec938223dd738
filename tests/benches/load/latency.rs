//! How late changes come.
//!
//! Latency begins when a bare `LISTEN` has the notification: what the database and its disk take before
//! is not the server's. The ceiling hears the same commits by a `LISTEN` of its own, and writes the
//! message to each socket.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Latency, Marks, Report, Swarm};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio_postgres::{AsyncMessage, NoTls};

use super::figures::{Rounds, tell};
use super::lanes::need_clients;
use super::servers::{self, Databases, Kind, Peer, Server};
use super::{Bench, Result};

/// Listens for the marks of commits with a bare LISTEN, in its own thread like the clients.
struct Listener {
    /// Microseconds since a commit was due.
    ages: Arc<Mutex<Histogram<u64>>>,
}

impl Listener {
    /// `committed` says when each commit was due; `heard` is notified when its notification
    /// arrives.
    async fn start(url: &str, committed: &Marks, heard: &Marks) -> Result<Self> {
        let ages = Arc::new(Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3)?));
        let (url, committed, heard) = (url.to_owned(), committed.clone(), heard.clone());
        let noted = Arc::clone(&ages);
        let (sender, begun) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let (client, mut connection) =
                    tokio_postgres::connect(&url, NoTls).await.expect("the database runs");
                let mut listening = Box::pin(client.batch_execute("LISTEN bare"));
                let mut begun = Some(sender);
                loop {
                    tokio::select! {
                        done = &mut listening, if begun.is_some() => {
                            done.expect("it listens");
                            begun.take().map(|sender| sender.send(()));
                        }
                        message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                            Some(Ok(AsyncMessage::Notification(notification))) => {
                                let (now, mark) = (Instant::now(), notification.payload().as_bytes());
                                heard.made(heard.number(mark).expect("a mark"), now);
                                let age = committed.age(mark, now).expect("a commit of this run");
                                noted.lock().saturating_record(age);
                            }
                            Some(Ok(_)) => {}
                            // The cluster is gone.
                            _ => return,
                        },
                    }
                }
            });
        });
        begun.await?;
        Ok(Self { ages })
    }

    fn take(&self) -> Latency {
        let mut ages = self.ages.lock();
        let latency = Latency::of(&ages);
        ages.reset();
        latency
    }
}

/// A server with its clients and its own database, and a LISTEN next to it.
struct Lane {
    /// Dropped first, so that the server does not complain of clients that leave.
    _server: Server,
    swarm: Swarm,
    driver: Driver,
    listener: Listener,
    committed: Marks,
    heard: Marks,
    report: Report,
    p50: Rounds,
    p99: Rounds,
    /// The same for LISTEN, counted from when the commits were due.
    listen_p50: Rounds,
    listen_p99: Rounds,
}

impl Lane {
    async fn new(bench: &Bench, kind: Kind, databases: &Databases, clients: usize) -> Result<Self> {
        let (committed, heard) = (Marks::default(), Marks::default());
        let name = if let Kind::Ceiling(_) = kind { "ceiling" } else { &format!("{kind:?}") };
        let url = databases.create(&name.to_lowercase(), 1)?;
        let server = Server::start_over(bench, kind, &url)?;
        let swarm = server.subscribers("tasks", clients, false, &heard).await?;
        let listener = Listener::start(&url, &committed, &heard).await?;
        let statement = format!("{}; SELECT pg_notify('bare', '$mark')", servers::UPDATE);
        let driver = Driver::sql(&url, statement, 1).await?;
        let report = Report::default();
        let [p50, p99, listen_p50, listen_p99] = Default::default();
        Ok(Self {
            _server: server,
            swarm,
            driver,
            listener,
            committed,
            heard,
            report,
            p50,
            p99,
            listen_p50,
            listen_p99,
        })
    }

    async fn round(&mut self, bench: &Bench, rate: f64) -> Result<()> {
        let Self { swarm, driver, committed, report, .. } = self;
        // A message that arrives before LISTEN's has an age of zero.
        let next = report.changes + 1;
        let steps = (bench.round.as_secs_f64() * rate) as u64 + 10;
        (next..next + steps).for_each(|mark| self.heard.expect(mark));
        let pace = Pace::Rate(rate);
        drive::run(swarm, driver, committed, pace, bench.round, report, |_| {}).await?;
        self.p50.push(report.latency.p50);
        self.p99.push(report.latency.p99);
        let listen = self.listener.take();
        self.listen_p50.push(listen.p50);
        self.listen_p99.push(listen.p99);
        Ok(())
    }
}

/// This many commits per second, each sent to all clients.
pub(crate) async fn beside_the_ceiling(bench: &Bench, clients: usize, rate: f64) -> Result<()> {
    let targets = [("p50", "at most 1.1"), ("p99", "at most 1.3")];
    let peers = bench.peers(&[Peer { kind: Kind::Ceiling(1), name: "the ceiling", target: "" }])?;
    need_clients(clients, peers.len() + 1)?;
    let databases = Databases::start()?;
    let mut lanes = vec![Lane::new(bench, Kind::Ours, &databases, clients).await?];
    for peer in &peers {
        lanes.push(Lane::new(bench, peer.kind, &databases, clients).await?);
    }
    for _ in 0..bench.rounds {
        for lane in &mut lanes {
            lane.round(bench, rate).await?;
        }
    }
    let Some((ours, others)) = lanes.split_first() else { return Ok(()) };
    for (lane, peer) in others.iter().zip(&peers) {
        for (quantile, target) in targets {
            let of = |lane: &Lane| if quantile == "p50" { &lane.p50 } else { &lane.p99 }.clone();
            let (mine, other) = (of(ours), of(lane));
            let what = format!("{rate} commits/s to {clients}, {quantile}");
            let figures =
                format!("{:.2} ms beside {:.2} of {}", mine.median(), other.median(), peer.name);
            let target = if peer.target.is_empty() { target } else { peer.target };
            tell(&what, &figures, mine.ratio(&other), target);
        }
    }
    println!(
        "{:<34} p50 {:.2} ms, p99 {:.2} ms from when they were due",
        "LISTEN heard the same commits",
        ours.listen_p50.median(),
        ours.listen_p99.median()
    );
    Ok(())
}
