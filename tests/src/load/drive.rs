//! What causes the messages that clients are sent.

use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use super::caller::Caller;
use super::target::Target;
use super::{Error, Marks, Report, Swarm};

/// Stands for the change's mark in a statement or in parameters.
pub const MARK: &str = "$mark";
/// Stands for the change's number within its transaction, counted from 0.
pub const NUMBER: &str = "$number";

/// After this much silence nothing more is on its way.
const SILENCE: Duration = Duration::from_secs(2);

/// Makes changes.
#[derive(Debug)]
pub enum Driver {
    /// Over a connection to the database: `burst` statements per transaction.
    Sql {
        /// The connection.
        client: Box<tokio_postgres::Client>,
        /// With [`MARK`] and [`NUMBER`] in it.
        statement: String,
        /// How many statements.
        burst: usize,
    },
    /// With a client that calls a method for each change.
    Method {
        /// The client.
        caller: Box<Caller>,
        /// How many messages each call causes for a client.
        burst: usize,
    },
}

impl Driver {
    /// Connects to a database.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn sql(url: &str, statement: String, burst: usize) -> Result<Self, Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        // If it breaks, the next statement fails.
        tokio::spawn(connection);
        Ok(Self::Sql { client: Box::new(client), statement, burst })
    }

    /// Connects to a server. The parameters are JSON with [`MARK`] in it.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn method(
        target: &Target,
        method: String,
        params: String,
        burst: usize,
    ) -> Result<Self, Error> {
        let caller = Box::new(Caller::connect(target, method, params).await?);
        Ok(Self::Method { caller, burst })
    }

    /// How many messages one step causes for each client.
    #[must_use]
    pub fn burst(&self) -> usize {
        match self {
            Self::Sql { burst, .. } | Self::Method { burst, .. } => *burst,
        }
    }

    /// Makes the changes of a step that was due at this time, with marks starting at `first`.
    ///
    /// # Errors
    /// If they could not be made.
    pub async fn step(&mut self, marks: &Marks, first: u64, due: Instant) -> Result<(), Error> {
        match self {
            Self::Sql { client, statement, burst } => {
                let mut sql = String::new();
                for (number, mark) in (first..).take(*burst).enumerate() {
                    let filled = statement.replace(MARK, &Marks::text(mark));
                    sql += &filled.replace(NUMBER, &number.to_string());
                    sql.push(';');
                    marks.made(mark, due);
                }
                // A batch is one transaction even without BEGIN.
                Ok(client.batch_execute(&sql).await?)
            }
            Self::Method { caller, .. } => {
                marks.made(first, due);
                caller.call(first, &Marks::text(first)).await
            }
        }
    }

    /// Waits for an error in the making of changes, while something else is awaited.
    async fn fails(&mut self) -> Error {
        match self {
            // A statement reports its own errors.
            Self::Sql { .. } => std::future::pending().await,
            Self::Method { caller, .. } => caller.fails().await,
        }
    }
}

/// When the next step is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as possible, while fewer than this many steps are on their way to clients.
    InFlight(u32),
    /// This many times per second, whether clients keep up or not.
    Rate(f64),
}

/// Makes changes for this long. What the swarm is sent meanwhile, and how late, is added to the
/// report.
///
/// # Errors
/// If a change cannot be made, a connection fails or, with [`Pace::InFlight`], a client lacks a
/// message.
pub async fn run(
    swarm: &Swarm,
    driver: &mut Driver,
    marks: &Marks,
    pace: Pace,
    time: Duration,
    report: &mut Report,
    mut progress: impl FnMut(Duration),
) -> Result<(), Error> {
    let mut mark = report.changes + 1;
    let (messages, bytes) = (swarm.messages(), swarm.bytes());
    drop(swarm.take_latency());
    let clients = swarm.ready() as u64;
    let burst = driver.burst() as u64;
    let began = Instant::now();
    let mut steps = 0_u32;
    while began.elapsed() < time {
        let due = match pace {
            Pace::InFlight(_) => Instant::now(),
            Pace::Rate(rate) => began + Duration::from_secs_f64(f64::from(steps) / rate),
        };
        // From here on, any delay by a stall of the driver or the server counts as late.
        if due > Instant::now() {
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                error = driver.fails() => return Err(error),
            }
        }
        driver.step(marks, mark, due).await?;
        (mark, steps) = (mark + burst, steps + 1);
        match pace {
            Pace::InFlight(window) => {
                let done = u64::from(steps.saturating_sub(window.saturating_sub(1)));
                tokio::select! {
                    waited = swarm.wait_for_messages(messages + done * clients * burst) => waited?,
                    error = driver.fails() => return Err(error),
                }
            }
            Pace::Rate(_) => swarm.check()?,
        }
        progress(began.elapsed());
    }
    let all = messages + u64::from(steps) * clients * burst;
    let elapsed = match pace {
        Pace::InFlight(_) => {
            swarm.wait_for_messages(all).await?;
            began.elapsed()
        }
        Pace::Rate(_) => {
            let elapsed = began.elapsed();
            // The last ones are in flight.
            settle(swarm, all).await?;
            elapsed
        }
    };
    report.add(
        mark - 1,
        steps.into(),
        swarm.messages() - messages,
        swarm.bytes() - bytes,
        elapsed,
        &swarm.take_latency(),
    );
    Ok(())
}

/// Lets every connection call its method for this long. Returns calls per second.
///
/// # Errors
/// If a connection fails.
pub async fn calls(swarm: &Swarm, time: Duration) -> Result<f64, Error> {
    let (began, before) = (Instant::now(), swarm.results());
    swarm.start_calls();
    tokio::time::sleep(time).await;
    let (elapsed, results) = (began.elapsed(), swarm.results() - before);
    swarm.stop_calls();
    swarm.check()?;
    Ok(results as f64 / elapsed.as_secs_f64())
}

/// Waits for all messages or, since the server may have left some out, until nothing has come for a
/// while.
async fn settle(swarm: &Swarm, all: u64) -> Result<(), Error> {
    let (mut before, mut since) = (swarm.messages(), Instant::now());
    while swarm.messages() < all && since.elapsed() < SILENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
        swarm.check()?;
        if std::mem::replace(&mut before, swarm.messages()) != swarm.messages() {
            since = Instant::now();
        }
    }
    Ok(())
}
