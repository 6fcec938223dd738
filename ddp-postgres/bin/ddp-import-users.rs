//! Brings the users of a Meteor app over to PostgreSQL, so that nobody has to log in again.
//!
//! ```console
//! $ mongoexport --uri "$MONGO_URL" --collection users --jsonFormat canonical --out users.jsonl
//! $ ddp-import-users --dry-run users.jsonl
//! $ ddp-import-users --report report.json users.jsonl
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ddp_postgres::accounts::import::{ImportReport, UsersImport};
use ddp_server::accounts::Sealer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The code if not everything fitted.
const INCOMPLETE: u8 = 2;

/// Brings the users of a Meteor app over to the accounts of ddp-postgres, so that nobody has to log in
/// again. It may be run again at any time: users who are there already are left as they are.
///
/// OAUTH_SECRET_KEY in the environment is the key that encrypts secrets: that of the server's
/// oauth_secret_key, and of Meteor's oauthSecretKey if the app had one.
///
/// The exit code is 0 if everything fitted, 2 if something did not, which the report tells, and 1 if the
/// import ended early.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What `mongoexport --collection users` wrote; - is standard input.
    file: PathBuf,
    /// The database, as postgres://…; DATABASE_URL in the environment unless given.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The schema of the accounts.
    #[arg(long, default_value = "accounts")]
    schema: String,
    /// Write nothing, and report what would happen.
    #[arg(long)]
    dry_run: bool,
    /// A file for the report, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is there to be told if that fails.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match import(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(INCOMPLETE),
        Err(error) => {
            eprintln!("ddp-import-users: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything fitted.
async fn import(arguments: &Arguments) -> Result<bool, String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let url = arguments.database.clone().or_else(|| variable("DATABASE_URL"));
    let url = url.ok_or("name the database by --database or DATABASE_URL")?;
    let mut users = UsersImport::new().schema(&arguments.schema);
    if let Some(key) = variable("OAUTH_SECRET_KEY") {
        let sealer = Sealer::new(&key);
        users = users.sealer(sealer.ok_or("OAUTH_SECRET_KEY is not base64 of 16 bytes")?);
    }
    if arguments.dry_run {
        users = users.dry_run();
    }
    // Before anything is imported whose report could not be written.
    let file = arguments.report.as_deref();
    let file = file.map(|path| create(path).map(|file| (path, file))).transpose()?;
    let (lines, length) = open(&arguments.file)?;
    let bar = bar(length);
    let outcome = users.run(&url, lines, |bytes| bar.set_position(bytes)).await;
    bar.finish_and_clear();
    let report = outcome.map_err(|error| error.to_string())?;
    tell(&report, file)
}

/// Prints the report, and writes it to its file.
fn tell(report: &ImportReport, file: Option<(&Path, File)>) -> Result<bool, String> {
    if let Some((path, mut file)) = file {
        let text = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
        writeln!(file, "{text}").map_err(|error| named(path, &error))?;
    }
    write!(io::stdout(), "{report}").map_err(|error| format!("standard output: {error}"))?;
    Ok(report.is_complete())
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| named(path, &error))
}

/// The lines, and how many bytes they have, if that is known.
fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), String> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(path).map_err(|error| named(path, &error))?;
    let length = file.metadata().ok().filter(|of| of.is_file()).map(|of| of.len());
    Ok((Box::new(BufReader::new(file)), length))
}

fn named(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Shown on a terminal only.
fn bar(length: Option<u64>) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let template = match length {
        Some(_) => "users {wide_bar} {percent} %, {eta} left",
        None => "users {spinner} {bytes}",
    };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(length, target).with_style(style)
}
