//! The smallest server over PostgreSQL: one table, one publication, one method.
//!
//! ```sh
//! DATABASE_URL=postgres://me@127.0.0.1/mine cargo run --bin minimal
//! ```

use ddp_postgres::{Db, Table};
use ddp_server::extract::Params;
use ddp_server::{Collection, Cursor, Error, Server, State, WriteFence, field};
use tracing_subscriber::EnvFilter;

#[derive(serde::Serialize, serde::Deserialize)]
struct Task {
    text: String,
    checked: bool,
}
const TASKS: Collection<Task> = Collection::new("tasks");

/// A live query: clients see every writer's commits.
async fn open_tasks(State(db): State<Db>) -> Cursor<Task> {
    db.find(&TASKS).filter(field("checked").eq(false))
}

/// Through the fence the client learns when it has seen all of the method's writes.
async fn check(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<u64, Error> {
    let transaction = db.begin(&fence).await?;
    let sql = "UPDATE tasks SET checked = true WHERE id = $1";
    let rows = transaction.execute(sql, &[&id]).await?;
    transaction.commit().await?;
    Ok(rows)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong: handlers that failed, arguments that did not fit, a lost database.
    // RUST_LOG=info also logs altered tables, and RUST_LOG=debug each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let url = ddp_examples::database_url()?;
    let table = "CREATE TABLE IF NOT EXISTS tasks \
                 (id text PRIMARY KEY, text text NOT NULL, checked boolean NOT NULL DEFAULT false)";
    Db::run_script(&url, table).await?;
    let db =
        Db::builder(url).table(Table::new("tasks").columns(["text", "checked"])).connect().await?;
    let server = Server::builder()
        .publish("tasks.open", open_tasks)
        .method("tasks.check", check)
        .with_state(db);
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
