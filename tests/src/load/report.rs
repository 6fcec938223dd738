//! The outcome of a load.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Some quantiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of all values are below.
    pub p50: f64,
    /// One in a hundred is above.
    pub p99: f64,
    /// One in a thousand is above.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// From microseconds.
    #[must_use]
    pub fn of(micros: &Histogram<u64>) -> Self {
        let millis = |micros: u64| micros as f64 / 1000.0;
        Self {
            p50: millis(micros.value_at_quantile(0.5)),
            p99: millis(micros.value_at_quantile(0.99)),
            p999: millis(micros.value_at_quantile(0.999)),
            max: millis(micros.max()),
        }
    }
}

/// All figures of one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// How many connections there were.
    pub connections: usize,
    /// How many became ready per second, in total.
    pub connections_per_second: f64,
    /// From a connection's start to its `ready`.
    pub time_to_ready: Latency,
    /// Changes that were made.
    pub changes: u64,
    /// Transactions or calls that made them, per second.
    pub steps_per_second: f64,
    /// Messages about documents sent to all connections.
    pub messages: u64,
    /// The same per second.
    pub messages_per_second: f64,
    /// Bytes of frames per second.
    pub bytes_per_second: f64,
    /// From the time when a change is due (to be sent to the database, or its method to be called)
    /// to its message.
    pub latency: Latency,
    /// Method results per second, if connections called one.
    pub calls_per_second: Option<f64>,
    /// Cores that the server used, if its process is known.
    pub server_cores: Option<f64>,
    /// The server's memory before the connections, in bytes.
    pub memory_before: Option<u64>,
    /// The server's memory per connection when all were ready, in bytes.
    pub memory_per_connection: Option<f64>,
    /// The server's memory at the end, in bytes.
    pub memory_after: Option<u64>,
}

impl Report {
    /// Adds the results of a driver's run.
    pub(super) fn add(
        &mut self,
        changes: u64,
        steps: u64,
        messages: u64,
        bytes: u64,
        elapsed: Duration,
        latency: &Histogram<u64>,
    ) {
        let seconds = elapsed.as_secs_f64();
        self.changes = changes;
        self.steps_per_second = steps as f64 / seconds;
        self.messages += messages;
        self.messages_per_second = messages as f64 / seconds;
        self.bytes_per_second = bytes as f64 / seconds;
        self.latency = Latency::of(latency);
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, p999, max } = self;
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, longest {max:.2} ms")
    }
}

/// As a table of two columns.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<24}{value}");
        let megabytes = |bytes: u64| bytes as f64 / 1_048_576.0;
        row("connections", format!("{} ({:.0}/s)", self.connections, self.connections_per_second))?;
        row("time to ready", self.time_to_ready.to_string())?;
        if self.changes > 0 {
            let steps = format!("{} (in {:.1} steps/s)", self.changes, self.steps_per_second);
            row("changes", steps)?;
            row(
                "messages",
                format!(
                    "{} ({:.0}/s, {:.1} MB/s)",
                    self.messages,
                    self.messages_per_second,
                    self.bytes_per_second / 1_048_576.0
                ),
            )?;
            row("change to client", self.latency.to_string())?;
        }
        if let Some(calls) = self.calls_per_second {
            row("calls", format!("{calls:.0}/s"))?;
        }
        if let Some(cores) = self.server_cores {
            row("server's cores", format!("{cores:.2}"))?;
        }
        if let (Some(before), Some(each), Some(after)) =
            (self.memory_before, self.memory_per_connection, self.memory_after)
        {
            row(
                "server's memory",
                format!(
                    "{:.1} MB before, {:.1} KB for each connection, {:.1} MB at the end",
                    megabytes(before),
                    each / 1024.0,
                    megabytes(after)
                ),
            )?;
        }
        Ok(())
    }
}
