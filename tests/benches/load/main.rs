//! How much of the sockets' throughput the server achieves, compared with the sockets alone and
//! with Node's `ws`, in one run on one machine.
//!
//! - `cargo bench --bench load` measures every row, and `-- --list` prints their names;
//! - `cargo bench --bench load -- latency fan-out/1000` measures the rows whose names start like
//!   that, and `fan-out/300/2` one with other numbers;
//! - `ROUNDS` (5) and `SECONDS` (2) set how often and how long each server is measured;
//! - `BASELINE=<another build's ddp-load-server>` measures only that server, in turn with ours:
//!   what a code change costs or gains. `cores` and `slow` are omitted then.
//!
//! The servers are separate processes; all clients are in this one. Every row alternates between
//! the servers, and prints the medians of the rounds and the median of each round's ratio, with the
//! lowest and the highest. If something that a row needs is missing, the row is skipped and says
//! what to install.

mod figures;
mod lanes;
mod latency;
mod memory;
mod reload;
mod servers;
mod slow;
mod throughput;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ddp_tests::needs::{self, Missing};

use servers::{Kind, Peer};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROWS: [&str; 23] = [
    "fan-out/1000/1",
    "fan-out/1000/4",
    "fan-out/1000/16",
    "fan-out/5000/1",
    "fan-out/5000/4",
    "fan-out/5000/16",
    "bursts/1000",
    "compressed/1000/1",
    "compressed/1000/16",
    "cores/1000",
    "methods/50/10",
    "methods/1/1",
    "latency/1000/25",
    "latency/1000/100",
    "slow/1000/50",
    "storm/5000/50",
    "reload/10000",
    "reload/50000",
    "memory/idle/raw",
    "memory/idle/sockjs",
    "memory/note/raw",
    "memory/notes/raw",
    "memory/notes/sockjs",
];

/// What is measured, and how.
pub(crate) struct Bench {
    /// How often each server is measured.
    rounds: usize,
    /// How long each time.
    round: Duration,
    /// Another build of our server, which ours is then compared with exclusively.
    baseline: Option<PathBuf>,
    /// Whether Node's `ws` is there.
    node_ws: std::result::Result<(), Missing>,
    /// Whether a row would have been compared with it.
    lacks_node_ws: Cell<bool>,
    /// The prefixes of the wanted rows' names; empty means all.
    names: Vec<String>,
}

impl Bench {
    fn from_environment() -> Result<Self> {
        let names = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
        let bench = Self {
            rounds: number("ROUNDS", 5.0)?.max(1.0) as usize,
            round: Duration::try_from_secs_f64(number("SECONDS", 2.0)?)?,
            baseline: std::env::var_os("BASELINE").map(PathBuf::from),
            node_ws: needs::node_ws(),
            lacks_node_ws: Cell::new(false),
            names: names.collect(),
        };
        let is_known = |name: &&String| ROWS.iter().any(|row| is_of(row, part(name)));
        if let Some(name) = bench.names.iter().find(|name| !is_known(name)) {
            return Err(format!("no row is called {name}; there are:\n{}", ROWS.join("\n")).into());
        }
        Ok(bench)
    }

    /// The wanted rows: those that match each name, or one that the name itself spells out.
    fn rows(&self) -> Vec<&str> {
        let has_turns = |row: &&str| !["cores", "slow"].contains(&part(row));
        let all = ROWS.iter().copied().filter(|row| self.baseline.is_none() || has_turns(row));
        if self.names.is_empty() {
            return all.collect();
        }
        let of = |name| all.clone().filter(|row| is_of(row, name)).collect::<Vec<_>>();
        let rows = self.names.iter().map(|name| (name.as_str(), of(name)));
        rows.flat_map(|(name, rows)| if rows.is_empty() { vec![name] } else { rows }).collect()
    }

    /// The servers that ours is compared with.
    ///
    /// # Errors
    /// If none of them can run here.
    fn peers(&self, peers: &[Peer]) -> std::result::Result<Vec<Peer>, Missing> {
        if self.baseline.is_some() {
            return Ok(vec![Peer { kind: Kind::Baseline, name: "the baseline", target: "1" }]);
        }
        let runs = |peer: &&Peer| self.node_ws.is_ok() || !matches!(peer.kind, Kind::NodeWs(_));
        let found: Vec<Peer> = peers.iter().filter(runs).copied().collect();
        if found.is_empty() {
            return self.node_ws.clone().map(|()| found);
        }
        self.lacks_node_ws.set(self.lacks_node_ws.get() || found.len() < peers.len());
        Ok(found)
    }

    async fn measure(&self, row: &str) -> Result<()> {
        let parts: Vec<&str> = row.split('/').collect();
        let [part, first, second] = [0, 1, 2].map(|index| parts.get(index).copied().unwrap_or("1"));
        match part {
            "fan-out" => throughput::fan_out(self, first.parse()?, second.parse()?).await,
            "bursts" => throughput::bursts(self, first.parse()?).await,
            "compressed" => throughput::compressed(self, first.parse()?, second.parse()?).await,
            "cores" => throughput::cores(self, first.parse()?).await,
            "methods" => throughput::methods(self, first.parse()?, second.parse()?).await,
            "latency" => latency::beside_the_ceiling(self, first.parse()?, second.parse()?).await,
            "slow" => slow::beside_a_slow_client(self, first.parse()?, second.parse()?).await,
            "storm" => memory::storm(self, first.parse()?, second.parse()?).await,
            "reload" => reload::reload(self, first.parse()?).await,
            "memory" => memory::per_session(self, first, second == "sockjs").await,
            _ => Err(format!("{row} is not measured").into()),
        }
    }
}

/// A number in the environment.
fn number(name: &str, default: f64) -> Result<f64> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().map_err(|_| format!("{name} is not a number: {text}").into())
}

/// What a row measures.
fn part(row: &str) -> &str {
    row.split('/').next().unwrap_or(row)
}

/// Whether a row has this name or prefix.
fn is_of(row: &str, name: &str) -> bool {
    row.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("{}", ROWS.join("\n"));
        return ExitCode::SUCCESS;
    }
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let bench = Bench::from_environment()?;
    let mut left_out = Vec::new();
    for row in bench.rows() {
        match bench.measure(row).await {
            Ok(()) => {}
            Err(error) => match error.downcast::<Missing>() {
                Ok(missing) => left_out.push(format!("{row} was left out: {missing}")),
                Err(error) => return Err(format!("{row}: {error}").into()),
            },
        }
    }
    if let (Err(missing), true) = (&bench.node_ws, bench.lacks_node_ws.get()) {
        left_out.push(format!("figures of Node's ws were left out: {missing}"));
    }
    left_out.iter().for_each(|what| println!("{what}"));
    Ok(())
}
