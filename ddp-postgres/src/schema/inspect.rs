//! Which parts of what a table needs are installed.

use std::collections::HashMap;

use tokio_postgres::{Client, GenericClient, Row};

use super::fingerprint::{FORMAT, Fingerprint};
use super::name::{qualified, quoted};
use super::sql::Capture;
use super::{Error, Layout};

/// The functions of these names, each with the triggers that run it. Triggers are found by what they
/// depend on, since no index finds them by their function.
const INSTALLED: &str = "
SELECT p.proname::text, i.description, t.tgname::text, n.nspname::text, c.relname::text,
    t.tgenabled IN ('O', 'A')
FROM unnest($1::text[]) AS f (name)
    JOIN pg_catalog.pg_proc p ON p.proname = f.name::name AND p.proname::text = f.name
        AND p.pronamespace = pg_catalog.to_regnamespace('ddp')
    LEFT JOIN pg_catalog.pg_description i ON i.objoid = p.oid
        AND i.classoid = 'pg_catalog.pg_proc'::regclass AND i.objsubid = 0
    LEFT JOIN LATERAL (SELECT t.tgname, t.tgrelid, t.tgenabled
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_trigger t ON t.oid = d.objid
        WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.refobjid = p.oid
            AND t.tgfoid = p.oid
        OFFSET 0) t ON true
    LEFT JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// What the installed functions say about themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Functions {
    /// They are what this version would install.
    Right,
    /// Some are missing, or they do not match each other.
    Incomplete,
    /// Another server installed them.
    Other(Fingerprint),
}

/// What is installed.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(super) functions: Functions,
    /// Triggers that are missing or disabled, each with the quoted name of its table.
    pub(super) missing: Vec<(String, Capture)>,
    /// Triggers that should not exist, as quoted names of trigger and table.
    pub(super) strays: Vec<(String, String)>,
    /// All existing triggers, needed or not, as quoted names of trigger and table.
    pub(super) triggers: Vec<(String, String)>,
    /// The quoted names of all existing functions, needed or not.
    pub(super) present: Vec<String>,
}

impl Inspection {
    /// Whether a table has exactly what it needs.
    pub(super) fn is_right(&self) -> bool {
        self.functions == Functions::Right && self.missing.is_empty() && self.strays.is_empty()
    }

    /// Refuses to change what a newer version installed.
    pub(crate) fn check_format(&self, layout: &Layout) -> Result<(), Error> {
        match &self.functions {
            Functions::Other(other) if other.format > FORMAT => Err(Error::NewerFormat {
                relation: layout.relation().to_owned(),
                format: other.format,
            }),
            _ => Ok(()),
        }
    }

    /// Whether the triggers' messages can be used.
    pub(crate) fn readiness(&self, layout: &Layout) -> Readiness {
        if !self.missing.is_empty() {
            return Readiness::Incomplete;
        }
        match &self.functions {
            Functions::Right => Readiness::Ready,
            Functions::Other(other) if layout.fingerprint().reads(other) => Readiness::Ready,
            Functions::Other(other) if other.feed == layout.other_feed().name() => {
                Readiness::Unheard
            }
            Functions::Other(_) => Readiness::Unreadable,
            Functions::Incomplete => Readiness::Incomplete,
        }
    }
}

/// Whether the messages of the installed triggers can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Every change is sent, and can be read.
    Ready,
    /// Every change is sent, but by functions of another server whose messages cannot be read.
    Unreadable,
    /// Every change is sent, but through the other feed.
    Unheard,
    /// Changes may go unnoticed.
    Incomplete,
}

/// What is installed for a table.
pub(crate) async fn inspect(
    client: &impl GenericClient,
    layout: &Layout,
) -> Result<Inspection, tokio_postgres::Error> {
    let rows = installed_rows(client, &function_names(layout)).await?;
    inspection(layout, rows.iter())
}

/// The same for many tables, by one query.
pub(crate) async fn inspect_all(
    client: &Client,
    layouts: &[Layout],
) -> Result<Vec<Inspection>, tokio_postgres::Error> {
    let names: Vec<String> = layouts.iter().flat_map(function_names).collect();
    let rows = installed_rows(client, &names).await?;
    let mut by_function: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in &rows {
        by_function.entry(row.try_get(0)?).or_default().push(row);
    }
    let of_layout = |layout| {
        let names = function_names(layout);
        let rows = names.iter().filter_map(|name| by_function.get(name.as_str()));
        inspection(layout, rows.flatten().copied())
    };
    layouts.iter().map(of_layout).collect()
}

/// The functions of these names that are there: each with its comment and, one row for each, with the
/// name, schema, table and state of the triggers that run it.
pub(super) async fn installed_rows(
    client: &impl GenericClient,
    names: &[String],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    client.query(INSTALLED, &[&names]).await
}

fn function_names(layout: &Layout) -> [String; Capture::ALL.len()] {
    Capture::ALL.map(|capture| layout.function_name(capture))
}

fn inspection<'a>(
    layout: &Layout,
    rows: impl Iterator<Item = &'a Row>,
) -> Result<Inspection, tokio_postgres::Error> {
    let (mut comments, mut enabled) = (Vec::new(), Vec::new());
    let mut found = Inspection {
        functions: Functions::Incomplete,
        missing: Vec::new(),
        strays: Vec::new(),
        triggers: Vec::new(),
        present: Vec::new(),
    };
    for row in rows {
        let (function, comment): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let capture = Capture::ALL.into_iter().find(|c| layout.function_name(*c) == function);
        let Some(capture) = capture else { continue };
        let name = quoted(&function);
        if !found.present.contains(&name) {
            found.present.push(name);
            comments.push((capture, comment));
        }
        let Some(trigger): Option<String> = row.try_get(2)? else { continue };
        let relation = qualified(row.try_get(3)?, row.try_get(4)?);
        found.triggers.push((quoted(&trigger), relation.clone()));
        let is_needed = trigger == layout.trigger_name(capture)
            && layout.triggers().any(|needed| needed == (relation.as_str(), capture));
        if !is_needed && layout.is_leaving(&relation) {
            // It goes when the table can be locked.
        } else if !is_needed {
            found.strays.push((quoted(&trigger), relation));
        } else if row.try_get(5)? {
            enabled.push((relation, capture));
        }
    }
    let is_missing = |(relation, capture): &(&str, Capture)| {
        !enabled.iter().any(|(other, installed)| other == relation && installed == capture)
    };
    let missing = layout.triggers().filter(is_missing);
    found.missing = missing.map(|(relation, capture)| (relation.to_owned(), capture)).collect();
    found.functions = functions(layout, &comments);
    Ok(found)
}

/// What the functions say, if they all agree.
fn functions(layout: &Layout, comments: &[(Capture, Option<String>)]) -> Functions {
    let mut needed = layout.all_captures();
    let comment_of =
        |capture: Capture| comments.iter().find(|(other, _)| *other == capture)?.1.as_deref();
    let parsed = comments.iter().filter_map(|(_, comment)| Fingerprint::parse(comment.as_deref()?));
    if let Some(newer) = parsed.max_by_key(|other| other.format).filter(|o| o.format > FORMAT) {
        return Functions::Other(newer);
    }
    let Some(first) = layout.captures().first().and_then(|capture| comment_of(*capture)) else {
        return Functions::Incomplete;
    };
    if !needed.all(|capture| comment_of(capture) == Some(first)) {
        return Functions::Incomplete;
    }
    match Fingerprint::parse(first) {
        Some(installed) if installed == layout.fingerprint() => Functions::Right,
        Some(installed) => Functions::Other(installed),
        None => Functions::Incomplete,
    }
}
