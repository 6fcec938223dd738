//! What the triggers cost those who write: `pgbench` updates single rows of a table without triggers
//! and of the same table with triggers for each feed, in turns, so that only ratios count. Beside
//! them are the least triggers that could send a row, with no limits and nothing that they remember.
//!
//! `cargo bench --bench triggers`; `ROUNDS` and `SECONDS` say how often and how long each is measured.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use ddp_cluster::{Cluster, ClusterOptions};
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

/// The least trigger, with `$send` for the call that sends.
const LEAST: &str = "
    CREATE FUNCTION tell_least() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM $send'channel', (SELECT pg_current_xact_id()::text || ' 1 1 1 u '
            || string_agg(to_json(r)::text, ',') FROM new r));
        RETURN NULL;
    END $$;
    CREATE TRIGGER tell_least AFTER UPDATE ON tasks REFERENCING NEW TABLE AS new
        FOR EACH STATEMENT EXECUTE FUNCTION tell_least();";

/// What the triggers of a table are.
enum Triggers {
    None,
    Least(&'static str),
    Ours(Feed),
}

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
    let variants = [
        ("none", Triggers::None),
        ("notify", Triggers::Ours(Feed::Notify)),
        ("least_notify", Triggers::Least("pg_notify(")),
        ("wal", Triggers::Ours(Feed::Wal)),
        ("least_wal", Triggers::Least("pg_logical_emit_message(true, ")),
    ];
    for (name, triggers) in &variants {
        cluster.psql("postgres", &format!("CREATE DATABASE triggers_{name}")).unwrap();
        let database = format!("triggers_{name}");
        for statement in SETUP.split(';').filter(|statement| !statement.trim().is_empty()) {
            cluster.psql(&database, statement).unwrap();
        }
        match triggers {
            Triggers::None => {}
            Triggers::Least(send) => {
                cluster.psql(&database, &LEAST.replace("$send", send)).unwrap();
            }
            Triggers::Ours(feed) => {
                let db = Db::builder(cluster.database_url(&database)).feed(*feed);
                db.table(Table::new("tasks")).connect().await.unwrap().close().await;
            }
        }
    }
    let mut report =
        "| writers | without triggers, commits/s | notify | least notify | wal | least wal |\n\
        |---|---|---|---|---|---|\n"
            .to_owned();
    for clients in CLIENTS {
        let mut tps = [const { Vec::new() }; 5];
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
        let _ = write!(report, "| {clients} | {:.0} |", median(tps[0].clone()));
        for index in 1..variants.len() {
            let _ = write!(report, " {:.0} % |", kept(index));
        }
        report.push('\n');
        eprintln!("{clients} writers: {tps:.0?}");
    }
    println!("{report}");
}
