//! Users who are written together, and what is reported of them.

use tokio_postgres::error::SqlState;

use super::claims::{Claims, Decision};
use super::imported::{Imported, Refused};
use super::report::{ImportProblem, ImportReport};
use super::session::Session;
use super::write::Written;
use super::{stale, write};
use crate::accounts::refusal::is_of_input;
use crate::error::Error;

/// How many users are written in one transaction.
const BATCH_USERS_MAX: usize = 500;

/// The same in bytes of their lines; one line may be longer.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often a batch is tried that meets with another writer of the same users.
const ATTEMPTS: usize = 5;

/// Users that wait for their transaction.
#[derive(Default)]
pub(super) struct Batch {
    users: Vec<Imported>,
    bytes: usize,
}

impl Batch {
    /// Adds a user, whose line has so many bytes.
    pub(super) fn add(&mut self, user: Imported, bytes: usize) {
        self.bytes += bytes;
        self.users.push(user);
    }

    pub(super) fn is_full(&self) -> bool {
        self.users.len() == BATCH_USERS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Writes what waits. If the database refuses a value in it, each user is written for itself.
    pub(super) async fn write(
        &mut self,
        session: &Session<'_>,
        report: &mut ImportReport,
    ) -> Result<(), Error> {
        let users = std::mem::take(self).users;
        let whole = users.chunks(BATCH_USERS_MAX);
        match write_all(session, whole, false, report).await {
            Err(error) if is_of_input(&error) => {
                write_all(session, users.chunks(1), true, report).await
            }
            outcome => outcome,
        }
    }
}

async fn write_all(
    session: &Session<'_>,
    parts: std::slice::Chunks<'_, Imported>,
    may_refuse: bool,
    report: &mut ImportReport,
) -> Result<(), Error> {
    for users in parts {
        match write_together(session, users).await {
            Ok((decisions, written)) => note(users, decisions, written, report),
            Err(error) if may_refuse && is_of_input(&error) => refuse(users, &error, report),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes users in one transaction, again if another writer was faster with something of theirs.
async fn write_together(
    session: &Session<'_>,
    users: &[Imported],
) -> Result<(Vec<Decision>, Written), Error> {
    for _ in 1..ATTEMPTS {
        match try_write(session, users).await {
            Err(error) if is_of_race(&error) => {}
            outcome => return outcome,
        }
    }
    try_write(session, users).await
}

async fn try_write(
    session: &Session<'_>,
    users: &[Imported],
) -> Result<(Vec<Decision>, Written), Error> {
    session.begin().await?;
    match write_within(session, users).await {
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
    session: &Session<'_>,
    users: &[Imported],
) -> Result<(Vec<Decision>, Written), Error> {
    let mut claims = Claims::look_up(session, users).await?;
    let decisions = claims.decide(users);
    claims.claim(session, users, &decisions).await?;
    let (mut new, mut there) = (Vec::new(), Vec::new());
    for (user, decision) in users.iter().zip(&decisions) {
        match decision {
            Decision::Import => new.push(user),
            Decision::There => there.push(user),
            Decision::Conflict(..) => {}
        }
    }
    let mut written = Written::default();
    if !new.is_empty() {
        written = write::write(session, &new, &claims).await?;
    }
    written.differing = stale::find(session, &claims, &there).await?;
    Ok((decisions, written))
}

/// Reports what became of users.
fn note(
    users: &[Imported],
    decisions: Vec<Decision>,
    mut written: Written,
    report: &mut ImportReport,
) {
    for (user, decision) in users.iter().zip(decisions) {
        let (line, id) = (user.line, &user.new.user.id);
        let mut losses = user.losses.clone();
        match decision {
            Decision::Import => {
                report.imported += 1;
                losses.extend(written.lost.remove(id).unwrap_or_default());
            }
            Decision::There => {
                report.already_there += 1;
                let differences = written.differing.remove(id).unwrap_or_default();
                report.differing += u64::from(!differences.is_empty());
                losses.notes.extend(differences);
            }
            Decision::Conflict(kind, other) => {
                let (user, why) = (Some(id.clone()), kind.text().to_owned());
                report.refuse_as(ImportProblem { line, user, why, other: Some(other) });
                continue;
            }
        }
        report.lose(line, id, losses);
    }
    report.kept.add(written.kept);
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
