//! What an import did, and what did not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::imported::Refused;
use super::losses::{Losses, Why};

/// How many lines are listed of each kind; the others are counted.
const LISTED_MAX: usize = 10_000;

/// How many names of fields are listed.
const FIELDS_MAX: usize = 1_000;

/// What an import did, or would do. It names users by their ids and fields by their names, and shows no value
/// of them. Serialized, the names are in `camelCase`.
///
/// A report is about the whole file: a user who was imported before counts as
/// [`already_there`](Self::already_there), and what does not fit of that user is listed again. Of lines that
/// gave no user nothing else is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImportReport {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// How many lines that are not empty there were.
    pub lines: u64,
    /// How many users were imported.
    pub imported: u64,
    /// How many were there already, by their ids, and were left as they are.
    pub already_there: u64,
    /// How many of these have another username, password, other addresses, login tokens or login services
    /// than the file says; they are in [`notes`](Self::notes) as well.
    pub differing: u64,
    /// How many lines gave no user: the first 10,000 are in [`refusals`](Self::refusals).
    pub refused: u64,
    /// How many users lack something that a login needs, or differ from the file: the first 10,000 are in
    /// [`notes`](Self::notes).
    pub incomplete: u64,
    /// What came with the users that were imported.
    pub kept: Kept,
    /// The lines that gave no user.
    pub refusals: Vec<ImportProblem>,
    /// What users lack who are not refused, and how those who were there already differ.
    pub notes: Vec<ImportProblem>,
    /// What is not kept as it was, by the path of the field: `roles`, `services.google.accessToken`. For each
    /// reason it says how many users have it. After 1,000 paths all others count as `…`.
    pub fields: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

/// How much came with the users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Kept {
    /// Passwords, as their hashes.
    pub passwords: u64,
    /// Login tokens, by which nobody has to log in again.
    pub login_tokens: u64,
    /// Tokens that were mailed, to reset passwords, to enrol and to verify addresses.
    pub one_time_tokens: u64,
    /// Records of login services, those of second factors among them.
    pub services: u64,
    /// Second factors that are active.
    pub second_factors: u64,
}

/// A line that did not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImportProblem {
    /// The line's number, from 1.
    pub line: u64,
    /// The user's id, if the line has one.
    pub user: Option<String>,
    /// What is wrong.
    pub why: String,
    /// The id of the user who has what must be unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
}

impl ImportReport {
    /// Whether everything fitted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.refused == 0 && self.incomplete == 0 && self.fields.is_empty()
    }

    pub(super) fn refuse(&mut self, line: u64, refused: Refused) {
        let Refused { user, why } = refused;
        self.refuse_as(ImportProblem { line, user, why, other: None });
    }

    pub(super) fn refuse_as(&mut self, problem: ImportProblem) {
        self.refused += 1;
        list(&mut self.refusals, problem);
    }

    /// Adds what one user lost.
    pub(super) fn lose(&mut self, line: u64, user: &str, losses: Losses) {
        let Losses { fields, notes } = losses;
        let listed = |(name, why): (String, Why)| {
            let is_listed = self.fields.contains_key(&name) || self.fields.len() < FIELDS_MAX;
            let name = if is_listed { name } else { "…".to_owned() };
            self.fields.entry(name.clone()).or_default();
            (name, why.text())
        };
        // A user who has several of those that are not listed counts once.
        let fields: BTreeSet<(String, &'static str)> = fields.into_iter().map(listed).collect();
        for (name, why) in fields {
            *self.fields.entry(name).or_default().entry(why).or_default() += 1;
        }
        if !notes.is_empty() {
            self.incomplete += 1;
            let (user, why) = (Some(user.to_owned()), notes.join("; "));
            list(&mut self.notes, ImportProblem { line, user, why, other: None });
        }
    }
}

impl Kept {
    pub(super) fn add(&mut self, more: Self) {
        self.passwords += more.passwords;
        self.login_tokens += more.login_tokens;
        self.one_time_tokens += more.one_time_tokens;
        self.services += more.services;
        self.second_factors += more.second_factors;
    }
}

fn list(listed: &mut Vec<ImportProblem>, problem: ImportProblem) {
    if listed.len() < LISTED_MAX {
        listed.push(problem);
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, imported, already_there, differing, refused, incomplete, kept, .. } =
            self;
        let done = if self.dry_run { "users would be imported" } else { "users imported" };
        writeln!(
            f,
            "{lines} lines: {imported} {done}, {already_there} already there ({differing} of them not as in the file), {refused} not imported"
        )?;
        writeln!(
            f,
            "with them {} passwords, {} login tokens, {} mailed tokens, {} records of login services, {} second factors",
            kept.passwords,
            kept.login_tokens,
            kept.one_time_tokens,
            kept.services,
            kept.second_factors
        )?;
        write_list(f, "not imported", *refused, &self.refusals)?;
        write_list(f, "here, but", *incomplete, &self.notes)?;
        if !self.fields.is_empty() {
            writeln!(f, "fields that are not kept as they were:")?;
        }
        for (name, reasons) in &self.fields {
            for (why, users) in reasons {
                writeln!(f, "  {}: of {users} users: {why}", name.escape_debug())?;
            }
        }
        Ok(())
    }
}

fn write_list(
    f: &mut fmt::Formatter<'_>,
    heading: &str,
    count: u64,
    listed: &[ImportProblem],
) -> fmt::Result {
    if listed.is_empty() {
        return Ok(());
    }
    writeln!(f, "{heading}:")?;
    for ImportProblem { line, user, why, other } in listed {
        write!(f, "  line {line}")?;
        if let Some(user) = user {
            write!(f, ", user {}", user.escape_debug())?;
        }
        write!(f, ": {why}")?;
        match other {
            Some(other) => writeln!(f, " {}", other.escape_debug())?,
            None => writeln!(f)?,
        }
    }
    match count - listed.len() as u64 {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_and_counts_are_not() {
        let mut report = ImportReport::default();
        assert!(report.is_complete());
        for number in 0..LISTED_MAX as u64 + 5 {
            let refused = Refused { user: None, why: "it is odd".to_owned() };
            report.refuse(number, refused);
            let mut losses = Losses::default();
            losses.field(&format!("field{number}"), Why::NoColumn);
            losses.field("roles", Why::NoColumn);
            losses.field("roles", Why::Type);
            losses.note("it lacks something");
            report.lose(number, "ada\u{1b}", losses);
        }
        assert!(!report.is_complete());
        assert_eq!((report.refused, report.incomplete), (10_005, 10_005));
        assert_eq!((report.refusals.len(), report.notes.len()), (LISTED_MAX, LISTED_MAX));
        assert_eq!(report.fields.len(), FIELDS_MAX + 1);
        let reasons = [(Why::NoColumn.text(), 10_005), (Why::Type.text(), 10_005)];
        assert_eq!(report.fields["roles"], BTreeMap::from(reasons));
        let rest = [(Why::NoColumn.text(), 10_005 - (FIELDS_MAX as u64 - 1))];
        assert_eq!(report.fields["…"], BTreeMap::from(rest));
        let text = report.to_string();
        assert!(text.contains("  and 5 more\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "no terminal obeys it");
    }
}
