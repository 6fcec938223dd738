//! What the triggers cost writers: `pgbench` updates single rows of a table without triggers, and
//! of the same table with the triggers of each feed, in turn, so that only ratios count. For
//! comparison there are minimal triggers that just send a row, without limits and without
//! remembering anything.
//!
//! `cargo bench --bench triggers`; `ROUNDS` and `SECONDS` set how often and how long each is
//! measured, and arguments the number of writers: `-- 1 8`. `BASELINE=<another build's
//! ddp-load-server>` measures the triggers that this server installs, in turn with the others.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use ddp_cluster::{Cluster, ClusterOptions};
use ddp_postgres::{Db, Feed, Table};
use ddp_tests::needs;

const CLIENTS: [u32; 3] = [1, 8, 32];

const SETUP: &str = "
    CREATE TABLE tasks (id int PRIMARY KEY, list_id text NOT NULL, text text,
        checked boolean NOT NULL DEFAULT false, rank int NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 50);
    INSERT INTO tasks (id, list_id, text)
        SELECT n, 'list ' || n % 100, 'task number ' || n FROM generate_series(1, 100000) AS n;
    VACUUM ANALYZE tasks;";

const SCRIPT: &str =
    "\\set id random(1, 100000)\nUPDATE tasks SET rank = rank + 1 WHERE id = :id;\n";

/// A minimal trigger; `$send` stands for the call that sends.
const LEAST: &str = "
    CREATE FUNCTION tell_least() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM $send'channel', (SELECT pg_current_xact_id()::text || ' 1 1 1 u '
            || string_agg(to_json(r)::text, ',') FROM new r));
        RETURN NULL;
    END $$;
    CREATE TRIGGER tell_least AFTER UPDATE ON tasks REFERENCING NEW TABLE AS new
        FOR EACH STATEMENT EXECUTE FUNCTION tell_least();";

/// A table's triggers.
enum Triggers {
    None,
    Least(&'static str),
    Ours(Feed),
    /// Those of another build of the server.
    Baseline(Feed, OsString),
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Transactions per second.
fn pgbench(program: &Path, url: &str, script: &Path, clients: u32, seconds: u32) -> Result<f64> {
    let output = Command::new(program)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .args([format!("--client={clients}"), format!("--time={seconds}")])
        .arg("--file")
        .arg(script)
        .arg(url)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps = tps.and_then(|tps| tps.split(' ').next()?.parse().ok());
    tps.ok_or_else(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Has another build of the server install its triggers, which remain when it ends.
fn install_baseline(server: &OsString, url: &str, feed: Feed) -> Result<()> {
    let mut command = Command::new(server);
    if feed == Feed::Wal {
        command.env("FEED", "wal");
    }
    let child = command.env("DATABASE_URL", url).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("BASELINE does not start: {error}"))?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    child.kill()?;
    child.wait()?;
    // It prints its address once everything is installed.
    if line.is_empty() { Err("BASELINE installed no triggers".into()) } else { Ok(()) }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

async fn prepare(cluster: &Cluster, database: &str, triggers: &Triggers) -> Result<()> {
    cluster.psql("postgres", &format!("CREATE DATABASE {database}"))?;
    for statement in SETUP.split(';').filter(|statement| !statement.trim().is_empty()) {
        cluster.psql(database, statement)?;
    }
    let url = cluster.database_url(database);
    match triggers {
        Triggers::None => {}
        Triggers::Least(send) => {
            cluster.psql(database, &LEAST.replace("$send", send))?;
        }
        Triggers::Ours(feed) => {
            let db = Db::builder(url).feed(*feed);
            db.table(Table::new("tasks").all_columns()).connect().await?.close().await;
        }
        Triggers::Baseline(feed, server) => install_baseline(server, &url, *feed)?,
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("triggers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let program = needs::pgbench()?;
    let (rounds, seconds) = (number("ROUNDS", 5), number("SECONDS", 5));
    let writers: Vec<u32> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let writers = if writers.is_empty() { CLIENTS.to_vec() } else { writers };
    let options = ClusterOptions::temporary()
        .setting("wal_level", "logical")
        .setting("max_wal_size", "8GB")
        .setting("shared_buffers", "256MB");
    let cluster = Cluster::start(options)?;
    let script = cluster.folder().join("update.sql");
    std::fs::write(&script, SCRIPT)?;
    let mut variants = vec![
        ("without triggers", Triggers::None),
        ("notify", Triggers::Ours(Feed::Notify)),
        ("least notify", Triggers::Least("pg_notify(")),
        ("wal", Triggers::Ours(Feed::Wal)),
        ("least wal", Triggers::Least("pg_logical_emit_message(true, ")),
    ];
    if let Some(server) = std::env::var_os("BASELINE") {
        variants.push(("baseline notify", Triggers::Baseline(Feed::Notify, server.clone())));
        variants.push(("baseline wal", Triggers::Baseline(Feed::Wal, server)));
    }
    let database = |index: usize| format!("triggers_{index}");
    for (index, (_, triggers)) in variants.iter().enumerate() {
        prepare(&cluster, &database(index), triggers).await?;
    }
    let names: Vec<&str> = variants[1..].iter().map(|(name, _)| *name).collect();
    let mut report = format!(
        "| writers | without triggers, commits/s | {} |\n|{}\n",
        names.join(" | "),
        "---|".repeat(names.len() + 2)
    );
    for clients in writers {
        let mut tps = vec![Vec::new(); variants.len()];
        for _ in 0..rounds {
            for (index, tps) in tps.iter_mut().enumerate() {
                let url = cluster.database_url(&database(index));
                tps.push(pgbench(&program, &url, &script, clients, seconds)?);
            }
        }
        let kept = |index: usize| {
            let ratios = tps[index].iter().zip(&tps[0]).map(|(with, without)| with / without);
            100.0 * median(ratios.collect())
        };
        let _ = write!(report, "| {clients} | {:.0} |", median(tps[0].clone()));
        for index in 1..variants.len() {
            let _ = write!(report, " {:.0} % |", kept(index));
        }
        report.push('\n');
        eprintln!("{clients} writers: {tps:.0?}");
    }
    println!("{report}");
    Ok(())
}
