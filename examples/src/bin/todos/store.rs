//! Where the tasks and the users are: in PostgreSQL, or in memory if there is none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ddp_cluster::{Cluster, ClusterOptions};
use ddp_postgres::accounts::AccountsTables;
use ddp_postgres::{Db, Table};
use ddp_server::accounts::{Accounts, MemoryAccounts};
use ddp_server::{Cursor, Error, MemoryCollection, WriteFence};

use crate::AnyError;
use crate::methods::{TASKS, Task};

/// The table, with ids as Meteor makes them so that a plain INSERT works.
const SETUP: &str = include_str!("setup.sql");

#[derive(Clone)]
pub(crate) enum Store {
    Database { db: Db, psql: String, cluster: Option<Arc<Mutex<Cluster>>> },
    Memory(MemoryCollection<Task>),
}

impl Store {
    /// Opens the database at `DATABASE_URL`, or a private one, or collections in memory.
    pub(crate) async fn open() -> Result<Self, AnyError> {
        if let Ok(url) = std::env::var("DATABASE_URL") {
            let db = connect(&url).await?;
            return Ok(Self::Database {
                db,
                psql: "psql \"$DATABASE_URL\"".to_owned(),
                cluster: None,
            });
        }
        if Cluster::find_binaries().is_none() {
            return Ok(Self::Memory(MemoryCollection::new(&TASKS)));
        }
        let folder = data_folder();
        println!("private PostgreSQL in {}", folder.display());
        let options = ClusterOptions::persistent(folder);
        let cluster = tokio::task::spawn_blocking(move || Cluster::start(options)).await??;
        let db = connect(&cluster.url()).await?;
        let psql = cluster.psql_command();
        Ok(Self::Database { db, psql, cluster: Some(Arc::new(Mutex::new(cluster))) })
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Memory(_) => {
                "no DATABASE_URL and no PostgreSQL binaries found: tasks live in memory only"
                    .to_owned()
            }
            Self::Database { psql, .. } => format!(
                "look into the database:  {psql}\n\
                 and try:                 UPDATE tasks SET checked = NOT checked;"
            ),
        }
    }

    /// Disconnects, and stops the private cluster if this program started it.
    pub(crate) async fn close(&self) -> Result<(), AnyError> {
        let Self::Database { db, cluster, .. } = self else { return Ok(()) };
        db.close().await;
        if let Some(cluster) = cluster {
            let cluster = Arc::clone(cluster);
            let stop = move || cluster.lock().unwrap_or_else(PoisonError::into_inner).stop();
            tokio::task::spawn_blocking(stop).await??;
        }
        Ok(())
    }

    /// The users, who are where the tasks are.
    pub(crate) fn accounts(&self) -> Accounts {
        match self {
            Self::Database { db, .. } => Accounts::new(db.accounts()),
            Self::Memory(_) => Accounts::new(MemoryAccounts::new()),
        }
    }

    pub(crate) fn find(&self) -> Cursor<Task> {
        match self {
            Self::Database { db, .. } => db.find(&TASKS),
            Self::Memory(tasks) => tasks.find(),
        }
    }

    pub(crate) async fn insert(
        &self,
        fence: &WriteFence,
        id: &str,
        task: &Task,
    ) -> Result<(), Error> {
        match self {
            Self::Database { db, .. } => {
                let transaction = db.begin(fence).await?;
                let Task { list_id, text, owner, .. } = task;
                let sql = "INSERT INTO tasks (id, list_id, text, owner) VALUES ($1, $2, $3, $4)";
                transaction.execute(sql, &[&id, list_id, text, owner]).await?;
                Ok(transaction.commit().await?)
            }
            Self::Memory(tasks) => tasks.insert_with_id(id, task),
        }
    }

    pub(crate) async fn set_checked(
        &self,
        fence: &WriteFence,
        id: &str,
        owner: Option<&str>,
        checked: bool,
    ) -> Result<bool, Error> {
        match self {
            Self::Database { db, .. } => {
                let transaction = db.begin(fence).await?;
                let sql =
                    "UPDATE tasks SET checked = $3 WHERE id = $1 AND owner IS NOT DISTINCT FROM $2";
                let rows = transaction.execute(sql, &[&id, &owner, &checked]).await?;
                transaction.commit().await?;
                Ok(rows > 0)
            }
            Self::Memory(tasks) if is_owned(tasks, id, owner)? => {
                tasks.update(id, |task| task.checked = checked)
            }
            Self::Memory(_) => Ok(false),
        }
    }

    pub(crate) async fn remove(
        &self,
        fence: &WriteFence,
        id: &str,
        owner: Option<&str>,
    ) -> Result<bool, Error> {
        match self {
            Self::Database { db, .. } => {
                let transaction = db.begin(fence).await?;
                let sql = "DELETE FROM tasks WHERE id = $1 AND owner IS NOT DISTINCT FROM $2";
                let rows = transaction.execute(sql, &[&id, &owner]).await?;
                transaction.commit().await?;
                Ok(rows > 0)
            }
            Self::Memory(tasks) => Ok(is_owned(tasks, id, owner)? && tasks.remove(id)),
        }
    }
}

async fn connect(url: &str) -> Result<Db, AnyError> {
    Db::run_script(url, SETUP).await?;
    let tasks = Table::new("tasks").columns(["list_id", "text", "checked", "created_at", "owner"]);
    let db = Db::builder(url).table(tasks.camel_case()).accounts(AccountsTables::new());
    Ok(db.connect().await?)
}

/// `TODOS_DATA`, or a folder that every user of the machine can reach the cluster's account from.
fn data_folder() -> PathBuf {
    if let Ok(folder) = std::env::var("TODOS_DATA") {
        return folder.into();
    }
    let var = PathBuf::from("/var/tmp");
    let parent = if var.is_dir() { var } else { std::env::temp_dir() };
    let user = std::env::var("USER").unwrap_or_else(|_| "anyone".to_owned());
    parent.join(format!("ddp-todos-{user}"))
}

/// Whether a task is this user's, or everybody's. That never changes.
fn is_owned(tasks: &MemoryCollection<Task>, id: &str, owner: Option<&str>) -> Result<bool, Error> {
    Ok(tasks.get(id)?.is_some_and(|task| task.owner.as_deref() == owner))
}
