//! Brings the users of a Meteor app over to PostgreSQL, so that nobody has to log in again. The import is
//! that of an export made with Meteor stopped.
//!
//! ```console
//! $ mongoexport --uri "$MONGO_URL" --collection users --jsonFormat canonical --out users.jsonl
//! $ ddp-import-users --dry-run users.jsonl
//! $ ddp-import-users --report report.json users.jsonl
//! ```

use std::fs::{File, OpenOptions, canonicalize};
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ddp_postgres::accounts::import::{ImportReport, UsersImport};
use ddp_server::accounts::Sealer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The code if not everything fitted.
const INCOMPLETE: u8 = 2;

/// Brings the users of a Meteor app over to the accounts of ddp-postgres, so that nobody has to log in
/// again.
///
/// Rehearse by --dry-run as often as you like; import once, from an export that was made with Meteor stopped.
/// An import that was interrupted is run again. Users who are there already are left as they are: what they
/// have changed in Meteor since, such as a password, is reported and not brought over. Users who were
/// deleted here since are imported again.
///
/// OAUTH_SECRET_KEY in the environment is the key that encrypts secrets: that of the server's
/// oauth_secret_key, and of Meteor's oauthSecretKey if the app had one.
///
/// The exit code is 0 if everything fitted, 2 if something did not, which the report tells, and 1 if the
/// import ended early or the report could not be written.
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
    /// Write nothing, and report what would happen, but for tokens that are there already and values that the
    /// database's encoding does not have.
    #[arg(long)]
    dry_run: bool,
    /// Go on where a secret cannot be encrypted or read, for want of its key: secrets of second factors are
    /// stored as they are, and tokens of providers such as Google are left out.
    #[arg(long)]
    without_key: bool,
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
    if arguments.without_key {
        users = users.without_key();
    }
    let (lines, length) = open(&arguments.file)?;
    // Before anything is imported whose report could not be written.
    let file = arguments.report.as_deref();
    let file = file.map(|path| open_report(path, &arguments.file).map(|file| (path, file)));
    let file = file.transpose()?;
    let bar = bar(length);
    let outcome = users.run(&url, lines, |bytes| bar.set_position(bytes)).await;
    bar.finish_and_clear();
    let report = outcome.map_err(|error| error.to_string())?;
    let told = tell(&report, file);
    told.map_err(|error| format!("all lines are done, but the report is lost: {error}"))?;
    Ok(report.is_complete())
}

/// Prints the report, and writes it to its file.
fn tell(report: &ImportReport, file: Option<(&Path, File)>) -> Result<(), String> {
    // Who has closed the output does not want it.
    let printed = match write!(io::stdout(), "{report}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    };
    if let Some((path, file)) = file {
        write_report(report, file).map_err(|error| named(path, &error))?;
    }
    printed.map_err(|error| format!("standard output: {error}"))
}

fn write_report(report: &ImportReport, mut file: File) -> io::Result<()> {
    let text = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
    // Devices have no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    writeln!(file, "{text}")
}

/// What is in it stays until the report is written.
fn open_report(path: &Path, users: &Path) -> Result<File, String> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| named(path, &error))?;
    if canonicalize(path).is_ok_and(|path| canonicalize(users).is_ok_and(|users| users == path)) {
        return Err(format!(
            "{}: it is the file of the users, not one for the report",
            path.display()
        ));
    }
    Ok(file)
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
