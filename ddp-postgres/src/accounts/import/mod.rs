//! Brings the users of a Meteor app over, so that nobody has to log in again.
//!
//! The program `ddp-import-users` does it; this module is for programs of your own. What is read is what
//! `mongoexport --collection users` writes: one document in each line, in Extended JSON of version 2, canonical
//! or relaxed, or of version 1.
//!
//! | of a document | becomes |
//! |---|---|
//! | `_id`, `createdAt`, `username`, `emails`, `profile` | the same; dates, bytes and types of `EJSON.addType` in `profile` as EJSON; an `_id` that is an ObjectID its 24 digits |
//! | `services.password.bcrypt`, `argon2` | the password |
//! | `services.resume.loginTokens` | the same login tokens; old ones that are not hashed are |
//! | `services.password.reset` and `enroll`, `services.email.verificationTokens` | tokens that still work, stored as hashes |
//! | `services.twoFactorAuthentication` | the second factor, whose secret is encrypted |
//! | `services.passwordless` | the same |
//! | all other members of `services` | records of login services, in which texts whose names have `token`, `secret` or `password` in them are encrypted, and what `oauth-encryption` had encrypted is anew |
//!
//! All else is reported: fields by their names and counts, users by their lines and ids. A user whose name,
//! address or id at a login service another one has is left out, and so is a line that cannot be read; the
//! others go on. Users go in by batches of at most 500, or 4 MiB of text, each in one transaction. Who is there
//! already, by the id, is left alone: so an import that was interrupted is begun again, and goes on where
//! it stopped. Servers may run meanwhile.
//!
//! ```no_run
//! use std::fs::File;
//! use std::io::BufReader;
//!
//! use ddp_postgres::accounts::import::UsersImport;
//! use ddp_server::accounts::Sealer;
//!
//! # async fn import() -> Result<(), Box<dyn std::error::Error>> {
//! let users = BufReader::new(File::open("users.jsonl")?);
//! let key = Sealer::new("MDEyMzQ1Njc4OWFiY2RlZg==").ok_or("a key is base64 of 16 bytes")?;
//! let import = UsersImport::new().sealer(key);
//! let report = import.run("postgres://localhost/app", users, |_| {}).await?;
//! print!("{report}");
//! # Ok(())
//! # }
//! ```

mod claims;
mod extended;
mod imported;
mod lines;
mod losses;
mod member;
mod record;
mod report;
mod secrets;
mod services;
mod session;
mod tokens;
mod write;

use std::io::{self, BufRead};

use ddp_server::accounts::Sealer;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use self::claims::{Claims, Decision};
use self::imported::{Imported, Refused};
use self::lines::{Line, Lines};
use self::losses::{Losses, Why};
use self::session::Session;
use self::write::Written;
use super::install;
use super::refusal::is_of_input;
use super::tables::AccountsTables;
use crate::db::dial::dial;
use crate::db::tls;
use crate::db::url::Target;
use crate::error::Error;

pub use self::report::{ImportProblem, ImportReport, Kept, LostField};

/// How many users are written in one transaction.
const BATCH_USERS_MAX: usize = 500;

/// The same in bytes of their lines; one line may be longer.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often a batch is tried that meets with another writer of the same users.
const ATTEMPTS: usize = 5;

/// An import of Meteor's users. See the [module](self).
#[derive(Clone, Debug)]
#[must_use]
pub struct UsersImport {
    tables: AccountsTables,
    sealer: Sealer,
    is_dry_run: bool,
}

/// Why an import ended early. It can be run again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The lines could not be read.
    #[error("line {line} cannot be read: {error}")]
    Read {
        /// The number of the line.
        line: u64,
        /// What went wrong.
        error: io::Error,
    },
    /// The database could not be used.
    #[error("{error} ({imported} users were imported; run it again, and it goes on after them)")]
    Database {
        /// How many users were imported before.
        imported: u64,
        /// What went wrong.
        error: Error,
    },
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        Self::Database { imported: 0, error }
    }
}

impl Default for UsersImport {
    fn default() -> Self {
        Self::new()
    }
}

/// Users that wait for their transaction.
#[derive(Default)]
struct Batch {
    users: Vec<Imported>,
    bytes: usize,
}

impl UsersImport {
    /// Into the schema `accounts`, without a key.
    pub fn new() -> Self {
        Self { tables: AccountsTables::new(), sealer: Sealer::default(), is_dry_run: false }
    }

    /// Into another schema: [`AccountsTables::schema`].
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.tables = self.tables.schema(schema);
        self
    }

    /// Encrypts secrets with the key of this: that of the server's `oauth_secret_key`, and of Meteor's
    /// `oauthSecretKey` if the app had one. Without a key the secrets of second factors are stored as they
    /// are, and other secrets are left out.
    pub fn sealer(mut self, sealer: Sealer) -> Self {
        self.sealer = sealer;
        self
    }

    /// Writes nothing, and reports what would happen. What it looks up is rolled back with all else that
    /// it does; if there are no accounts yet, whoever makes them meanwhile waits.
    pub fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    /// Imports these lines into the database at a URL, as [`Db::builder`](crate::Db::builder) takes it. The
    /// tables are made if they are not there. `progress` is told how many bytes of the lines have been read.
    ///
    /// The thread waits while the lines are read. A line may have 16 MiB; while it is read it takes tens of
    /// times as much memory if it is made of small objects.
    ///
    /// # Errors
    /// Lines that cannot be read, a database that is out of reach or may not be written. What was imported
    /// stays.
    pub async fn run(
        &self,
        url: &str,
        lines: impl BufRead,
        progress: impl FnMut(u64),
    ) -> Result<ImportReport, ImportError> {
        let target = Target::parse(url)?;
        let dialled = dial(&target.config, &tls::of(&target)?, "").await;
        let (mut client, connection) = dialled.map_err(Error::from)?;
        let connection = tokio::spawn(connection);
        let outcome = self.import(&mut client, lines, progress).await;
        drop(client);
        // It ends with its client; the outcome shows any error.
        let _ = connection.await;
        outcome
    }

    async fn import(
        &self,
        client: &mut Client,
        lines: impl BufRead,
        progress: impl FnMut(u64),
    ) -> Result<ImportReport, ImportError> {
        if self.is_dry_run {
            client.batch_execute(session::BEGIN).await.map_err(Error::from)?;
            install::rehearse(client, &self.tables).await?;
            client.batch_execute(claims::CREATE_REHEARSED).await.map_err(Error::from)?;
        } else {
            install::prepare(client, &self.tables, true).await?;
        }
        let session = Session { client, tables: &self.tables, is_rehearsal: self.is_dry_run };
        let report = self.import_lines(&session, Lines::new(lines), progress).await?;
        if self.is_dry_run {
            client.batch_execute("ROLLBACK").await.map_err(Error::from)?;
        }
        Ok(report)
    }

    async fn import_lines(
        &self,
        session: &Session<'_>,
        mut lines: Lines<impl BufRead>,
        mut progress: impl FnMut(u64),
    ) -> Result<ImportReport, ImportError> {
        let mut report = ImportReport { dry_run: self.is_dry_run, ..ImportReport::default() };
        let mut batch = Batch::default();
        loop {
            let number = lines.number + 1;
            let line = lines.read().map_err(|error| ImportError::Read { line: number, error })?;
            let Some(line) = line else { break };
            self.take_line(number, &line, &mut batch, &mut report);
            progress(lines.bytes);
            if batch.users.len() == BATCH_USERS_MAX || batch.bytes >= BATCH_BYTES_MAX {
                self.write_batch(session, &mut batch, &mut report).await?;
            }
        }
        self.write_batch(session, &mut batch, &mut report).await?;
        Ok(report)
    }

    fn take_line(
        &self,
        number: u64,
        line: &Line<'_>,
        batch: &mut Batch,
        report: &mut ImportReport,
    ) {
        let bytes = match line {
            Line::Bytes(b"") => return,
            Line::Bytes(bytes) => bytes,
            Line::TooLong => {
                report.lines += 1;
                let why = "the line has more than 16 MiB".to_owned();
                return report.refuse(number, Refused { user: None, why });
            }
        };
        report.lines += 1;
        let mut losses = Losses::default();
        match record::read(number, bytes, &self.sealer, &mut losses) {
            Ok(user) => {
                report.lose(number, Some(&user.new.user.id), losses);
                batch.bytes += bytes.len();
                batch.users.push(user);
            }
            Err(refused) => report.refuse(number, refused),
        }
    }

    /// Writes what waits. If the database refuses a value in it, each user is written for itself.
    async fn write_batch(
        &self,
        session: &Session<'_>,
        batch: &mut Batch,
        report: &mut ImportReport,
    ) -> Result<(), ImportError> {
        let users = std::mem::take(batch).users;
        let whole = users.chunks(BATCH_USERS_MAX);
        let outcome = match self.write_all(session, whole, false, report).await {
            Err(error) if is_of_input(&error) => {
                self.write_all(session, users.chunks(1), true, report).await
            }
            outcome => outcome,
        };
        outcome.map_err(|error| ImportError::Database { imported: report.imported, error })
    }

    async fn write_all(
        &self,
        session: &Session<'_>,
        parts: std::slice::Chunks<'_, Imported>,
        may_refuse: bool,
        report: &mut ImportReport,
    ) -> Result<(), Error> {
        for users in parts {
            match self.write_together(session, users).await {
                Ok((decisions, written)) => note(users, decisions, written, report),
                Err(error) if may_refuse && is_of_input(&error) => refuse(users, &error, report),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes users in one transaction, again if another writer was faster with something of theirs.
    async fn write_together(
        &self,
        session: &Session<'_>,
        users: &[Imported],
    ) -> Result<(Vec<Decision>, Written), Error> {
        for _ in 1..ATTEMPTS {
            match self.try_write(session, users).await {
                Err(error) if is_of_race(&error) => {}
                outcome => return outcome,
            }
        }
        self.try_write(session, users).await
    }

    async fn try_write(
        &self,
        session: &Session<'_>,
        users: &[Imported],
    ) -> Result<(Vec<Decision>, Written), Error> {
        session.begin().await?;
        match self.write_within(session, users).await {
            Ok(written) => {
                session.commit().await?;
                Ok(written)
            }
            Err(error) => {
                // If the connection is lost, the database does so by itself.
                let _ = session.roll_back().await;
                Err(error)
            }
        }
    }

    async fn write_within(
        &self,
        session: &Session<'_>,
        users: &[Imported],
    ) -> Result<(Vec<Decision>, Written), Error> {
        let mut claims = Claims::look_up(session, users).await?;
        let decisions = claims.decide(users);
        let new: Vec<&Imported> = (users.iter().zip(&decisions))
            .filter(|(_, decision)| matches!(decision, Decision::Import))
            .map(|(user, _)| user)
            .collect();
        if new.is_empty() {
            return Ok((decisions, Written::default()));
        }
        let written = write::write(session, &new, (&claims, self.sealer.has_key())).await?;
        Ok((decisions, written))
    }
}

/// Reports what became of users.
fn note(users: &[Imported], decisions: Vec<Decision>, written: Written, report: &mut ImportReport) {
    for (user, decision) in users.iter().zip(decisions) {
        match decision {
            Decision::Import => report.imported += 1,
            Decision::There => report.already_there += 1,
            Decision::Conflict(kind, other) => report.refuse_as(ImportProblem {
                line: user.line,
                user: Some(user.new.user.id.clone()),
                why: kind.text().to_owned(),
                other: Some(other),
            }),
        }
    }
    report.kept.add(written.kept);
    let [login, mailed] = written.taken;
    for (name, why, count) in [
        ("emails", Why::Twice, written.twice),
        ("services.resume.loginTokens", Why::Taken, login),
        ("services.password.reset, services.email.verificationTokens", Why::Taken, mailed),
    ] {
        report.lose_field(name.to_owned(), why, count);
    }
}

/// Reports users whom the database does not take. What it says may show what it was given.
fn refuse(users: &[Imported], error: &Error, report: &mut ImportReport) {
    let code = error.code().map_or("", SqlState::code);
    for Imported { line, new, .. } in users {
        let why = format!("PostgreSQL cannot keep a value of it (SQLSTATE {code})");
        report.refuse(*line, Refused { user: Some(new.user.id.clone()), why });
    }
}

/// Whether another writer was faster, which can be seen at the next attempt.
fn is_of_race(error: &Error) -> bool {
    let codes = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}
