//! What is installed in a database, for tables that nobody names.

use std::collections::BTreeMap;
use std::fmt;

use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use super::fingerprint::Fingerprint;
use super::inspect::installed_rows;
use super::name::{is_hash, qualified};
use super::sql::Capture;
use super::{Error, Layout};
use crate::feed::Feed;

/// The trigger functions in the schema, with their owners.
const FUNCTIONS: &str = "SELECT p.proname::text, pg_catalog.pg_get_userbyid(p.proowner)::text
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = pg_catalog.to_regnamespace('ddp')
    AND p.prorettype = 'pg_catalog.trigger'::regtype";

/// What is installed for a table as a collection: its triggers, and their functions in the schema
/// `ddp`. [`DbBuilder::installed`](crate::DbBuilder::installed) lists them.
///
/// It is written as one line, such as `"public"."tasks" as tasks: format 2, feed notify, owner app,
/// triggers on "public"."tasks"`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Installed {
    /// The table's name with its schema, quoted for SQL, as it was when the triggers were installed.
    /// Nothing if the comments of the functions are lost, as after `pg_dump --no-comments`.
    pub table: Option<String>,
    /// The collection that the table is published as; nothing if the comments are lost.
    pub collection: Option<String>,
    /// The tables that have the triggers now, by the names that they have now, quoted for SQL: the
    /// table itself, its partitions and children, and those that it inherits from. None if it was dropped.
    pub triggers_on: Vec<String>,
    /// The feed that the triggers send through; nothing if the comments are lost, or of a version that
    /// this one cannot read.
    pub feed: Option<Feed>,
    /// The version of the messages' format; nothing if the comments are lost.
    pub format: Option<u32>,
    /// The role that owns the functions: it, or a superuser, may uninstall them.
    pub owner: String,
    /// What the names of the functions end with.
    hash: String,
}

impl Installed {
    fn new(hash: &str, owner: &str) -> Self {
        Self {
            table: None,
            collection: None,
            triggers_on: Vec::new(),
            feed: None,
            format: None,
            owner: owner.to_owned(),
            hash: hash.to_owned(),
        }
    }

    /// Whether it is what a layout's table has as this collection.
    pub(super) fn is_of(&self, layout: &Layout) -> bool {
        self.hash == layout.hash
    }

    /// The table, for errors.
    pub(super) fn relation(&self) -> &str {
        let relation = self.table.as_ref().or(self.triggers_on.first());
        relation.map_or("(unknown)", String::as_str)
    }

    /// The error for a failed removal.
    pub(super) fn refusal(&self, error: tokio_postgres::Error) -> Error {
        if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return error.into();
        }
        let (relation, owner) = (self.relation().to_owned(), self.owner.clone());
        Error::MayNotUninstall { relation, owner, error }
    }

    fn note(&mut self, comment: &Fingerprint) {
        if let Some((table, collection)) = comment.subject() {
            self.table = Some(table.to_owned());
            self.collection = Some(collection.to_owned());
        }
        self.feed = [Feed::Notify, Feed::Wal].into_iter().find(|feed| feed.name() == comment.feed);
        self.format = Some(comment.format);
    }
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = "(unknown)";
        let table = self.table.as_deref().unwrap_or(unknown);
        let collection = self.collection.as_deref().unwrap_or(unknown);
        write!(f, "{table} as {collection}: ")?;
        if let Some(format) = self.format {
            write!(f, "format {format}, ")?;
        }
        if let Some(feed) = self.feed {
            write!(f, "feed {}, ", feed.name())?;
        }
        let relations = self.triggers_on.join(", ");
        let relations = if relations.is_empty() { "no table" } else { &relations };
        write!(f, "owner {}, triggers on {relations}", self.owner)
    }
}

/// Everything that is installed, in the order of tables and collections.
pub(crate) async fn installed(
    client: &impl GenericClient,
) -> Result<Vec<Installed>, tokio_postgres::Error> {
    let mut found: BTreeMap<String, Installed> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    for row in client.query(FUNCTIONS, &[]).await? {
        let name: String = row.try_get(0)?;
        let Some(hash) = hash_of(&name) else { continue };
        if !found.contains_key(hash) {
            found.insert(hash.to_owned(), Installed::new(hash, row.try_get(1)?));
        }
        names.push(name);
    }
    for row in installed_rows(client, &names).await? {
        let installed = hash_of(row.try_get(0)?).and_then(|hash| found.get_mut(hash));
        let Some(installed) = installed else { continue };
        if let Some(comment) = row.try_get::<_, Option<&str>>(1)?.and_then(Fingerprint::parse) {
            installed.note(&comment);
        }
        if row.try_get::<_, Option<&str>>(2)?.is_some() {
            installed.triggers_on.push(qualified(row.try_get(3)?, row.try_get(4)?));
        }
    }
    let mut all: Vec<Installed> = found.into_values().collect();
    for installed in &mut all {
        installed.triggers_on.sort();
        installed.triggers_on.dedup();
    }
    all.sort_by(|a, b| (&a.table, &a.collection).cmp(&(&b.table, &b.collection)));
    Ok(all)
}

/// The names of the functions that are there of one of those.
pub(super) async fn functions(
    client: &impl GenericClient,
    installed: &Installed,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut names = Vec::new();
    for row in client.query(FUNCTIONS, &[]).await? {
        let name: String = row.try_get(0)?;
        if hash_of(&name) == Some(&installed.hash) {
            names.push(name);
        }
    }
    Ok(names)
}

/// What ends a function's name, if it has the form of [`Layout::function_name`]. Others may have
/// functions of their own in a schema of this name.
fn hash_of(function: &str) -> Option<&str> {
    let (rest, hash) = function.rsplit_once('_')?;
    let is_capture = |capture: Capture| {
        rest.strip_suffix(capture.name()).is_some_and(|readable| readable.ends_with('_'))
    };
    (is_hash(hash) && Capture::ALL.into_iter().any(is_capture)).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn only_names_of_ours_are_known_by_their_form() {
        for collection in ["tasks", "", &"é".repeat(60)] {
            let layout = Layout::of_names(&Table::new("t").collection(collection));
            for capture in Capture::ALL {
                assert_eq!(hash_of(&layout.function_name(capture)), Some(&*layout.hash));
            }
        }
        let others = ["tasks_insert", "log_insert_0123456789ABCDEF", "a_b_0123456789abcdef", ""];
        assert!(others.into_iter().all(|name| hash_of(name).is_none()));
    }
}
