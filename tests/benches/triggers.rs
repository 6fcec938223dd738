//! What the triggers cost those who write: `pgbench` updates single rows of a table without triggers
//! and of the same table with triggers for each feed, in turns, so that only ratios count.
//!
//! `cargo bench --bench triggers`; `ROUNDS` and `SECONDS` say how often and how long each is measured.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use ddp_examples::{Cluster, ClusterOptions};
use ddp_postgres::{Db, Feed, Table};

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

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Transactions per second.
fn pgbench(url: &str, script: &Path, clients: u32, seconds: u32) -> f64 {
    let pgbench = Cluster::find_binaries().expect("PostgreSQL is installed").join("pgbench");
    let output = Command::new(pgbench)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .args([format!("--client={clients}"), format!("--time={seconds}")])
        .arg("--file")
        .arg(script)
        .arg(url)
        .output()
        .expect("pgbench runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")).unwrap_or_else(|| {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
    });
    tps.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

#[tokio::main]
async fn main() {
    let (rounds, seconds) = (number("ROUNDS", 5), number("SECONDS", 5));
    let options = ClusterOptions::temporary()
        .setting("wal_level", "logical")
        .setting("max_wal_size", "8GB")
        .setting("shared_buffers", "256MB");
    let cluster = Cluster::start(options).unwrap();
    let script = cluster.folder().join("update.sql");
    std::fs::write(&script, SCRIPT).unwrap();
    let variants = [("none", None), ("notify", Some(Feed::Notify)), ("wal", Some(Feed::Wal))];
    for (name, feed) in variants {
        cluster.psql("postgres", &format!("CREATE DATABASE triggers_{name}")).unwrap();
        let database = format!("triggers_{name}");
        for statement in SETUP.split(';').filter(|statement| !statement.trim().is_empty()) {
            cluster.psql(&database, statement).unwrap();
        }
        if let Some(feed) = feed {
            let db = Db::builder(cluster.database_url(&database)).feed(feed);
            db.table(Table::new("tasks")).connect().await.unwrap().close().await;
        }
    }
    let mut report =
        "| writers | without triggers, commits/s | notify | wal |\n|---|---|---|---|\n".to_owned();
    for clients in CLIENTS {
        let mut tps = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            for (index, (name, _)) in variants.iter().enumerate() {
                let url = cluster.database_url(&format!("triggers_{name}"));
                tps[index].push(pgbench(&url, &script, clients, seconds));
            }
        }
        let kept = |index: usize| {
            let ratios = tps[index].iter().zip(&tps[0]).map(|(with, without)| with / without);
            100.0 * median(ratios.collect())
        };
        let (notify, wal, plain) = (kept(1), kept(2), median(tps[0].clone()));
        let _ = writeln!(report, "| {clients} | {plain:.0} | {notify:.0} % | {wal:.0} % |");
        eprintln!("{clients} writers: {tps:.0?}");
    }
    println!("{report}");
}
