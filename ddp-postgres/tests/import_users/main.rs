//! Users of a Meteor app, as `mongoexport` writes them, are users here who need not log in again.

mod again;
mod interrupted;
mod logins;
mod reports;
mod shapes;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::{env, fs, process};

use ddp_cluster::{Cluster, ClusterOptions};
use serde_json::Value;

/// The key of these tests.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

/// Everything that an import writes, with the transactions that wrote it.
const EVERYTHING: &str = "SELECT u.xmin, u.* FROM accounts.users u ORDER BY u.id;
    SELECT e.xmin, e.* FROM accounts.emails e ORDER BY e.position;
    SELECT p.xmin, p.* FROM accounts.passwords p ORDER BY p.user_id;
    SELECT t.xmin, t.* FROM accounts.login_tokens t ORDER BY t.hash;
    SELECT t.xmin, t.* FROM accounts.one_time_tokens t ORDER BY t.hash;
    SELECT s.xmin, s.* FROM accounts.services s ORDER BY s.user_id, s.service";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let options = ClusterOptions::temporary().without_durability();
        Cluster::start(options).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A database of its own, and a folder that goes with the test.
struct Scene {
    database: String,
    folder: PathBuf,
}

/// What the program did.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    report: Value,
}

impl Scene {
    fn new(name: &str) -> Self {
        Self::with(name, "")
    }

    /// With options of `CREATE DATABASE`.
    fn with(name: &str, options: &str) -> Self {
        let create = format!("CREATE DATABASE {name} {options}");
        cluster().psql("postgres", &create).unwrap_or_else(|error| panic!("{error}"));
        let folder = env::temp_dir().join(format!("ddp-import-users-{}-{name}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self { database: name.to_owned(), folder }
    }

    fn url(&self) -> String {
        cluster().database_url(&self.database)
    }

    fn psql(&self, sql: &str) -> String {
        let printed = cluster().psql(&self.database, sql);
        printed.unwrap_or_else(|error| panic!("{sql}: {error}")).trim().to_owned()
    }

    /// The program with its environment, and no arguments yet.
    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddp-import-users"));
        command.env("DATABASE_URL", self.url()).env("OAUTH_SECRET_KEY", KEY).stdin(Stdio::null());
        command
    }

    /// Imports these lines.
    fn import(&self, lines: &str) -> Outcome {
        self.import_with(lines, &[], KEY)
    }

    fn import_with(&self, lines: &str, options: &[&str], key: &str) -> Outcome {
        let (users, report) = (self.folder.join("users.jsonl"), self.folder.join("report.json"));
        fs::write(&users, lines).unwrap();
        let _ = fs::remove_file(&report);
        let mut command = self.program();
        command.args(options).arg("--report").arg(&report).arg(&users).env("OAUTH_SECRET_KEY", key);
        let Output { status, stdout, stderr } = command.output().expect("the program starts");
        let report = fs::read_to_string(&report).ok().filter(|text| !text.is_empty());
        Outcome {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
            report: report.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap()),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
