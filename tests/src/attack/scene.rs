//! What an attack costs the server, and what others feel.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, interval, sleep};

use super::bystander::Bystander;
use super::{Error, Findings, Victim};
use crate::load::{Latency, Process};

/// How long the other client pings before the attack.
const QUIET: Duration = Duration::from_secs(2);

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often somebody new tries to connect meanwhile.
const NEWCOMER: Duration = Duration::from_millis(500);

/// A server, and those who watch it.
#[derive(Debug)]
pub struct Scene {
    victim: Victim,
    process: Option<Process>,
    /// A server that is left alone.
    control: Option<Victim>,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    findings: Findings,
    seconds: f64,
    quiet: Latency,
    meanwhile: Latency,
    /// That of a client of the server that is left alone: what the machine makes of it.
    control: Option<Latency>,
    newcomer: Latency,
    turned_away: u32,
    memory: Option<Memory>,
    cores: Option<f64>,
}

/// The memory of the server's process, in bytes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    before: u64,
    most: u64,
    after: u64,
}

impl Scene {
    /// A server, and its process if it is to be watched. A client of the second server, which is left
    /// alone, shows what the machine does to everybody while the attack lasts.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn new(victim: Victim, pid: Option<u32>, control: Option<Victim>) -> Result<Self, Error> {
        Ok(Self { victim, process: pid.map(Process::new).transpose()?, control })
    }

    /// The server.
    #[must_use]
    pub fn victim(&self) -> Victim {
        self.victim
    }

    /// Makes an attack and watches.
    ///
    /// # Errors
    /// That of the attack, or if the server cannot be watched.
    pub async fn watch(
        &mut self,
        attack: impl Future<Output = Result<Findings, Error>>,
    ) -> Result<Report, Error> {
        let mut bystander = Bystander::connect(self.victim).await?;
        let mut elsewhere = match self.control {
            Some(control) => Some(Bystander::connect(control).await?),
            None => None,
        };
        let (mut quiet, mut meanwhile) = (histogram(), histogram());
        let mut control = elsewhere.as_ref().map(|_| histogram());
        tokio::select! {
            () = bystander.ping(&mut quiet) => {}
            () = sleep(QUIET) => {}
        }
        if let Some(process) = &mut self.process {
            process.take_cpu()?;
        }
        let before = self.memory()?;
        let (mut most, mut newcomers) = (before, (histogram(), 0));
        let begun = Instant::now();
        let findings = tokio::select! {
            findings = attack => findings?,
            () = bystander.ping(&mut meanwhile) => Findings::new(),
            () = ping_elsewhere(&mut elsewhere, &mut control) => Findings::new(),
            () = newcomers_try(self.victim, &mut newcomers) => Findings::new(),
            error = self.look(&mut most) => return Err(error),
        };
        let seconds = begun.elapsed().as_secs_f64();
        let cores = self.process.as_mut().map(Process::take_cpu).transpose()?;
        // What is freed at once is no cost that remains.
        sleep(Duration::from_secs(1)).await;
        let memory = before.zip(most).zip(self.memory()?);
        Ok(Report {
            findings,
            seconds,
            quiet: Latency::of(&quiet),
            meanwhile: Latency::of(&meanwhile),
            control: control.as_ref().map(Latency::of),
            newcomer: Latency::of(&newcomers.0),
            turned_away: newcomers.1,
            memory: memory.map(|((before, most), after)| Memory { before, most, after }),
            cores,
        })
    }

    fn memory(&self) -> Result<Option<u64>, Error> {
        Ok(self.process.as_ref().map(Process::memory).transpose()?)
    }

    /// Looks at the server's memory until it has ended.
    async fn look(&self, most: &mut Option<u64>) -> Error {
        let mut due = interval(LOOK);
        loop {
            due.tick().await;
            match self.memory() {
                Ok(now) => *most = (*most).max(now),
                Err(error) => return error,
            }
        }
    }
}

/// Pings the server that is left alone, if there is one.
async fn ping_elsewhere(other: &mut Option<Bystander>, noted: &mut Option<Histogram<u64>>) {
    match (other, noted) {
        (Some(other), Some(noted)) => other.ping(noted).await,
        _ => std::future::pending().await,
    }
}

/// Clients that come while the attack lasts, one after the other: how long each takes to be
/// connected, in microseconds, and how many are not.
async fn newcomers_try(victim: Victim, (took, turned_away): &mut (Histogram<u64>, u32)) {
    let mut due = interval(NEWCOMER);
    loop {
        due.tick().await;
        let begun = Instant::now();
        match Bystander::connect(victim).await {
            Ok(_) => {
                let micros = begun.elapsed().as_micros();
                took.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
            }
            Err(_) => *turned_away += 1,
        }
    }
}

/// A histogram of up to a minute in microseconds, with three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are valid")
}

/// As a table of two columns.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<32}{value}");
        for (name, value) in &self.findings {
            row(name, value.clone())?;
        }
        row("it took", format!("{:.1} s", self.seconds))?;
        row("another client's ping before", self.quiet.to_string())?;
        row("its ping meanwhile", self.meanwhile.to_string())?;
        if let Some(control) = &self.control {
            row("a client's of the other server", control.to_string())?;
        }
        row("newcomers connected after", self.newcomer.to_string())?;
        row("newcomers turned away", self.turned_away.to_string())?;
        if let Some(Memory { before, most, after }) = self.memory {
            let megabytes = |bytes: u64| bytes as f64 / 1_048_576.0;
            row(
                "the server's memory",
                format!(
                    "{:.1} MiB before, {:.1} at most, {:.1} a second after",
                    megabytes(before),
                    megabytes(most),
                    megabytes(after)
                ),
            )?;
        }
        if let Some(cores) = self.cores {
            row("the server's cores", format!("{cores:.2}"))?;
        }
        Ok(())
    }
}
