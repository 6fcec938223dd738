//! Loads any DDP server with clients: opens connections, subscribes them, makes changes by SQL or by a
//! method, and reports how many messages came and how late.
//!
//! ```console
//! $ ddp-load ws://127.0.0.1:3000/websocket --connections 1000 --subscribe tasks \
//!     --sql "UPDATE tasks SET text = '\$mark' WHERE id = 'a'" --database postgres://… --pid $(pgrep todos)
//! ```

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Error, Latency, Marks, Plan, Process, Report, Swarm, Target};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Loads a DDP server with clients.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// ws://host:port/websocket is spoken to raw, http://host:port/sockjs (or any other path) by
    /// SockJS over WebSocket.
    target: Target,
    /// How many clients.
    #[arg(short, long, default_value_t = 1000)]
    connections: usize,
    /// How many of them connect at a time.
    #[arg(long, default_value_t = 100)]
    at_once: usize,
    /// In how many threads they are served.
    #[arg(short, long, default_value_t = 1)]
    threads: usize,
    /// Offer permessage-deflate.
    #[arg(long)]
    deflate: bool,
    /// A publication to which each client subscribes.
    #[arg(short, long, value_name = "PUBLICATION")]
    subscribe: Option<String>,
    /// Its parameters, as a JSON array.
    #[arg(long, value_name = "JSON", default_value = "[]")]
    params: String,
    /// A statement that changes one document that all clients see; $mark in it stands for a text
    /// that each message must carry to have a latency, $number for the number within a transaction.
    #[arg(long, requires_all = ["database", "subscribe"], conflicts_with = "method")]
    sql: Option<String>,
    /// The database for --sql, as postgres://…
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// How many statements a transaction has, or how many messages a call makes for each client.
    #[arg(long, default_value_t = 1)]
    burst: usize,
    /// A method that changes one document that all clients see.
    #[arg(long, requires = "subscribe")]
    method: Option<String>,
    /// Its parameters, as a JSON array with $mark in it.
    #[arg(long, value_name = "JSON", default_value = r#"["$mark"]"#)]
    method_params: String,
    /// Transactions or calls in a second; without it, as fast as it goes.
    #[arg(short, long, value_parser = rate)]
    rate: Option<f64>,
    /// Without a rate: how many transactions or calls are on their way to the clients at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// A method that every client calls all the time, instead of changes.
    #[arg(long, conflicts_with_all = ["sql", "method"])]
    call: Option<String>,
    /// Its parameters, as a JSON array.
    #[arg(long, value_name = "JSON", default_value = "[]")]
    call_params: String,
    /// How many calls each client has under way.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// For how long.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The server's process on this machine, whose CPU and memory are reported.
    #[arg(long)]
    pid: Option<u32>,
    /// How the report is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 => Ok(rate),
        _ => Err("a number above 0".to_owned()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    match load(&arguments).await {
        Ok(report) => {
            match arguments.format {
                Format::Table => print!("{report}"),
                Format::Json => println!("{}", serde_json::json!(report)),
            }
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ddp-load: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn load(arguments: &Arguments) -> Result<Report, Error> {
    for json in [&arguments.params, &arguments.method_params, &arguments.call_params] {
        if !serde_json::from_str::<serde_json::Value>(json).is_ok_and(|value| value.is_array()) {
            return Err(Error::Target(format!("{json} is not a JSON array")));
        }
    }
    let mut process = arguments.pid.map(Process::new).transpose()?;
    let mut report = Report { connections: arguments.connections, ..Report::default() };
    report.memory_before = process.as_ref().map(Process::memory).transpose()?;

    let marks = Marks::default();
    let swarm = connect(arguments, &marks, &mut report).await?;
    if let (Some(process), Some(before)) = (&process, report.memory_before) {
        let more = process.memory()?.saturating_sub(before);
        report.memory_per_connection = Some(more as f64 / arguments.connections as f64);
    }
    let mut driver = match (&arguments.sql, &arguments.database, &arguments.method) {
        (Some(sql), Some(url), _) => Some(Driver::sql(url, sql.clone(), arguments.burst).await?),
        (_, _, Some(method)) => {
            let params = arguments.method_params.clone();
            let burst = arguments.burst;
            Some(Driver::method(&arguments.target, method.clone(), params, burst).await?)
        }
        _ => None,
    };
    if let Some(process) = &mut process {
        process.take_cpu()?;
    }
    let time = Duration::from_secs_f64(arguments.seconds);
    if let Some(driver) = &mut driver {
        let pace = arguments.rate.map_or(Pace::InFlight(arguments.in_flight), Pace::Rate);
        let bar = bar(time.as_millis() as u64, "changes   {wide_bar} {percent} %");
        let progress = |elapsed: Duration| bar.set_position(elapsed.as_millis() as u64);
        drive::run(&swarm, driver, &marks, pace, time, &mut report, progress).await?;
        bar.finish_and_clear();
    } else if arguments.call.is_some() {
        report.calls_per_second = Some(drive::calls(&swarm, time).await?);
    }
    if let Some(process) = &mut process {
        report.server_cores = Some(process.take_cpu()?);
        report.memory_after = Some(process.memory()?);
    }
    Ok(report)
}

/// Opens all connections, and waits until they are ready.
async fn connect(
    arguments: &Arguments,
    marks: &Marks,
    report: &mut Report,
) -> Result<Swarm, Error> {
    let with = |name: &Option<String>, params: &String| Some((name.clone()?, params.clone()));
    let plan = Plan {
        target: arguments.target.clone(),
        connections: arguments.connections,
        at_once: arguments.at_once.max(1),
        threads: arguments.threads.max(1),
        deflate: arguments.deflate,
        subscription: with(&arguments.subscribe, &arguments.params),
        method: with(&arguments.call, &arguments.call_params),
        pipeline: arguments.pipeline,
    };
    let bar = bar(arguments.connections as u64, "connected {wide_bar} {pos}/{len}");
    let began = Instant::now();
    let swarm = Swarm::start(plan, marks)?;
    // In steps, so that progress shows.
    let step = (arguments.connections / 100).max(1);
    for count in (step..arguments.connections).step_by(step).chain([arguments.connections]) {
        swarm.wait_for_ready(count).await?;
        bar.set_position(count as u64);
    }
    report.connections_per_second = arguments.connections as f64 / began.elapsed().as_secs_f64();
    report.time_to_ready = Latency::of(&swarm.time_to_ready());
    bar.finish_and_clear();
    Ok(swarm)
}

/// Shown on a terminal only.
fn bar(length: u64, template: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), target).with_style(style)
}
