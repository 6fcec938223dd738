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
//! others go on. Users go in by batches of at most 500, or 4 MiB of text, each in one transaction. Servers may
//! run meanwhile.
//!
//! Who is there already, by the id, is left alone: so an import that was interrupted is begun again, and goes on
//! where it stopped. It does not follow what Meteor's users do after it: passwords that they change there stay
//! the old ones here. Who differs from the file is reported, and not changed; and who was deleted here since is
//! imported again. So import once, with Meteor stopped, and before that rehearse only.
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

mod batch;
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
mod stale;
mod tokens;
mod write;

use std::io::{self, BufRead};

use ddp_server::accounts::Sealer;
use tokio_postgres::Client;

use self::batch::Batch;
use self::imported::Refused;
use self::lines::{Line, Lines};
use self::session::Session;
use super::install;
use super::tables::AccountsTables;
use crate::db::dial::dial;
use crate::db::tls;
use crate::db::url::Target;
use crate::error::Error;

pub use self::report::{ImportProblem, ImportReport, Kept};

/// An import of Meteor's users. See the [module](self).
#[derive(Clone, Debug)]
#[must_use]
pub struct UsersImport {
    tables: AccountsTables,
    sealer: Sealer,
    is_dry_run: bool,
    is_without_key: bool,
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
    /// The database could not be used, and nothing was to be written.
    #[error("{0} (it was a rehearsal: nothing was written)")]
    Rehearsal(Error),
    /// A secret that there is no key for, or another one.
    #[error(
        "line {line}: {}: {why} (give the key of the server's oauth_secret_key, which Meteor's was, in \
        OAUTH_SECRET_KEY, or go on without such secrets by --without-key)", field.escape_debug()
    )]
    Key {
        /// The number of the line.
        line: u64,
        /// The path of the secret.
        field: String,
        /// What is wrong.
        why: &'static str,
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

impl UsersImport {
    /// Into the schema `accounts`, without a key.
    pub fn new() -> Self {
        Self {
            tables: AccountsTables::new(),
            sealer: Sealer::default(),
            is_dry_run: false,
            is_without_key: false,
        }
    }

    /// Into another schema: [`AccountsTables::schema`].
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.tables = self.tables.schema(schema);
        self
    }

    /// Encrypts secrets with the key of this: that of the server's `oauth_secret_key`, and of Meteor's
    /// `oauthSecretKey` if the app had one.
    pub fn sealer(mut self, sealer: Sealer) -> Self {
        self.sealer = sealer;
        self
    }

    /// Goes on where a secret cannot be encrypted or read, for want of its key. Secrets of second factors are
    /// stored as they are then, and other secrets are left out; the report says so. Without this such a secret
    /// is an error.
    pub fn without_key(mut self) -> Self {
        self.is_without_key = true;
        self
    }

    /// Writes nothing, and reports what would happen, but for what only writing shows: tokens that are there
    /// already, and values that the database's encoding does not have. What it does is rolled back; if there
    /// are no accounts yet, whoever makes them meanwhile waits.
    pub fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    /// Imports these lines into the database at a URL, as [`Db::builder`](crate::Db::builder) takes it. The
    /// tables are made if they are not there. `progress` is told how many bytes of the lines have been read.
    ///
    /// The thread waits while the lines are read. A line may have 32 MiB; while it is read it takes tens of
    /// times as much memory if it is made of small objects.
    ///
    /// # Errors
    /// Lines that cannot be read, a database that is out of reach or may not be written, secrets without
    /// their key. What was imported stays.
    pub async fn run(
        &self,
        url: &str,
        lines: impl BufRead,
        progress: impl FnMut(u64),
    ) -> Result<ImportReport, ImportError> {
        self.connect(url, lines, progress).await.map_err(|error| match error {
            ImportError::Database { error, .. } if self.is_dry_run => ImportError::Rehearsal(error),
            error => error,
        })
    }

    async fn connect(
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
        } else {
            install::prepare(client, &self.tables, true).await?;
        }
        client.batch_execute(claims::CREATE_CLAIMED).await.map_err(Error::from)?;
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
            self.take_line(number, &line, &mut batch, &mut report)?;
            progress(lines.bytes);
            if batch.is_full() {
                write_batch(&mut batch, session, &mut report).await?;
            }
        }
        write_batch(&mut batch, session, &mut report).await?;
        Ok(report)
    }

    fn take_line(
        &self,
        number: u64,
        line: &Line<'_>,
        batch: &mut Batch,
        report: &mut ImportReport,
    ) -> Result<(), ImportError> {
        let read = match line {
            Line::Bytes(b"") => return Ok(()),
            Line::Bytes(bytes) => record::read(number, bytes, &self.sealer),
            Line::TooLong => {
                Err(Refused::new(None, "the line has more than 32 MiB: export without --jsonArray"))
            }
        };
        report.lines += 1;
        match read {
            Ok(user) => {
                let lost = user.losses.fields.iter().find(|(_, why)| why.is_of_key());
                if let Some((field, why)) = lost.filter(|_| !self.is_without_key) {
                    let (field, why) = (field.clone(), why.text());
                    return Err(ImportError::Key { line: number, field, why });
                }
                batch.add(user, line.len());
            }
            Err(refused) => report.refuse(number, refused),
        }
        Ok(())
    }
}

async fn write_batch(
    batch: &mut Batch,
    session: &Session<'_>,
    report: &mut ImportReport,
) -> Result<(), ImportError> {
    let written = batch.write(session, report).await;
    written.map_err(|error| ImportError::Database { imported: report.imported, error })
}
