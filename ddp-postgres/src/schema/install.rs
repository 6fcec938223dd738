//! Installation of triggers, which leaves a table alone that has the right ones already.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use super::name::{hash, literal};
use super::{Error, Layout};
use crate::feed::Feed;

/// All servers take this lock before they change anything: the first 63 bits of a hash.
const ADVISORY_LOCK: i64 = 0x6464_7020_696e_7374;
/// How long to wait for another server's installation.
const INSTALLATION_TIMEOUT: &str = "60s";
/// How long writers may have to queue behind us. Less than PostgreSQL's `deadlock_timeout`, so
/// that a deadlock ends with our retreat and not with the failure of a writer.
const TABLE_LOCK_TIMEOUT: &str = "800ms";
const ATTEMPTS: u32 = 6;
/// Writers that queued up get their turn before the next attempt.
const PAUSE: Duration = Duration::from_millis(250);

/// Gives tables their triggers, so that changes to them are told.
///
/// A table whose triggers are the right ones already is neither changed nor locked. Any number of
/// servers may do this at the same time. Otherwise the table is locked against writers for a few
/// milliseconds, each table in a transaction of its own: a deadlock would take two.
///
/// The database role must own the tables, or have the `TRIGGER` privilege on them, and be allowed
/// to create the schema `ddp` or objects in it.
///
/// # Errors
///
/// If the database refuses, or a long transaction keeps a table locked. Tables before that one
/// have their triggers then.
pub async fn install(client: &mut Client, layouts: &[Layout]) -> Result<(), Error> {
    for layout in layouts {
        if !is_installed(client, layout).await? {
            with_retries(client, layout, Action::Install).await?;
        }
    }
    Ok(())
}

/// Checks that triggers which another role has installed send by the feed of the layouts, since
/// otherwise nothing would ever be heard.
///
/// # Errors
///
/// If a table has no triggers, or they send by another feed, or the database does not answer.
pub async fn check_feed(
    client: &Client,
    layouts: impl IntoIterator<Item = &Layout>,
) -> Result<(), Error> {
    for layout in layouts {
        let relation = || layout.relation().to_owned();
        match installed_feed(client, layout).await? {
            None => return Err(Error::NotInstalled { relation: relation() }),
            Some(feed) if feed == layout.feed => {}
            Some(installed) => {
                let (relation, configured) = (relation(), layout.feed);
                return Err(Error::OtherFeed { relation, installed, configured });
            }
        }
    }
    Ok(())
}

/// The feed by which a table's triggers send, as the comment of their functions tells.
async fn installed_feed(client: &Client, layout: &Layout) -> Result<Option<Feed>, Error> {
    let names: Vec<String> =
        layout.captures().iter().map(|capture| layout.trigger_name(*capture)).collect();
    let row = client
        .query_opt(
            "SELECT pg_catalog.obj_description(t.tgfoid, 'pg_proc')
            FROM pg_catalog.pg_trigger t
                JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1 AND c.relname = $2 AND t.tgname = ANY ($3) LIMIT 1",
            &[&layout.schema, &layout.table, &names],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let comment: Option<String> = row.try_get(0)?;
    let is_wal = comment.is_some_and(|comment| comment.contains(&by(Feed::Wal)));
    Ok(Some(if is_wal { Feed::Wal } else { Feed::Notify }))
}

/// How a function's comment tells its feed.
fn by(feed: Feed) -> String {
    format!(" by the {} feed", feed.name())
}

/// Takes the triggers away again. Does nothing for tables that have none.
///
/// # Errors
///
/// As with [`install`].
pub async fn uninstall(client: &mut Client, layouts: &[Layout]) -> Result<(), Error> {
    for layout in layouts {
        with_retries(client, layout, Action::Uninstall).await?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Install,
    Uninstall,
}

async fn with_retries(client: &mut Client, layout: &Layout, action: Action) -> Result<(), Error> {
    for _ in 1..ATTEMPTS {
        match attempt(client, layout, action).await {
            Err(error) if is_busy(&error) => tokio::time::sleep(PAUSE).await,
            outcome => return Ok(outcome?),
        }
    }
    attempt(client, layout, action).await.map_err(|error| {
        if is_busy(&error) {
            Error::Busy { relation: layout.relation().to_owned() }
        } else {
            error.into()
        }
    })
}

fn is_busy(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&(SqlState::LOCK_NOT_AVAILABLE | SqlState::T_R_DEADLOCK_DETECTED)))
}

async fn attempt(
    client: &mut Client,
    layout: &Layout,
    action: Action,
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    // Operators in a trigger's condition are looked up now, for good.
    let prepare = format!(
        "SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = '{INSTALLATION_TIMEOUT}';
         SET LOCAL client_min_messages = warning;
         SELECT pg_catalog.pg_advisory_xact_lock({ADVISORY_LOCK});
         SET LOCAL lock_timeout = '{TABLE_LOCK_TIMEOUT}'"
    );
    transaction.batch_execute(&prepare).await?;
    match action {
        // Another server may have been first.
        Action::Install if is_installed(&transaction, layout).await? => {}
        Action::Install => {
            let fingerprint = literal(&layout.fingerprint());
            let comments: String = layout
                .functions()
                .map(|function| format!("COMMENT ON FUNCTION ddp.{function}() IS {fingerprint};\n"))
                .collect();
            transaction.batch_execute(&(layout.install_sql() + &comments)).await?;
            transaction.batch_execute(&layout.tell_installation_sql()).await?;
        }
        Action::Uninstall => transaction.batch_execute(&layout.uninstall_sql()).await?,
    }
    transaction.commit().await
}

/// Whether the table has exactly these triggers, enabled, by these functions.
async fn is_installed(
    client: &impl GenericClient,
    layout: &Layout,
) -> Result<bool, tokio_postgres::Error> {
    let names: Vec<String> =
        layout.captures().iter().map(|capture| layout.trigger_name(*capture)).collect();
    let row = client
        .query_one(
            "SELECT pg_catalog.count(*)
            FROM pg_catalog.pg_trigger t
                JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1 AND c.relname = $2 AND t.tgname = ANY ($3) AND t.tgenabled <> 'D'
                AND pg_catalog.obj_description(t.tgfoid, 'pg_proc') = $4",
            &[&layout.schema, &layout.table, &names, &layout.fingerprint()],
        )
        .await?;
    let installed: i64 = row.try_get(0)?;
    Ok(usize::try_from(installed) == Ok(names.len()))
}

impl Layout {
    /// The comment of the functions, which tells whether they are what would be installed.
    fn fingerprint(&self) -> String {
        let table = format!("{} as {}", self.relation(), self.collection());
        let (by, hash) = (by(self.feed), hash(&[&self.install_sql()]));
        format!("Tells the changes of {table}{by} ({hash})")
    }
}
