//! Two servers on one database. They do not know each other: clients of the second see changes by
//! clients of the first, because PostgreSQL notifies both.
//!
//! In production they would be two processes on two machines; here they are one program with two
//! ports, `PORT` and `SECOND_PORT` (3001).
//!
//! ```sh
//! DATABASE_URL=postgres://me@127.0.0.1/mine cargo run --bin two_servers
//! ```

use ddp_postgres::{Db, Table};
use ddp_server::extract::{Invocation, Params};
use ddp_server::{Collection, Cursor, Error, Server, State};
use tracing_subscriber::EnvFilter;

#[derive(serde::Serialize, serde::Deserialize)]
struct Task {
    text: String,
}
const TASKS: Collection<Task> = Collection::new("tasks");

async fn all(State(db): State<Db>) -> Cursor<Task> {
    db.find(&TASKS)
}

/// The id is the one that the client's stub drew, if it has a stub.
async fn insert(
    State(db): State<Db>,
    invocation: Invocation,
    Params((text,)): Params<(String,)>,
) -> Result<String, Error> {
    let id = invocation.random_id("tasks");
    let transaction = db.begin(invocation.fence()).await?;
    transaction.execute("INSERT INTO tasks (id, text) VALUES ($1, $2)", &[&id, &text]).await?;
    transaction.commit().await?;
    Ok(id)
}

async fn server(url: &str) -> Result<Server, ddp_postgres::Error> {
    let db = Db::builder(url).table(Table::new("tasks").columns(["text"])).connect().await?;
    Ok(Server::builder().publish("tasks", all).method("tasks.insert", insert).with_state(db))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong: handlers that failed, arguments that did not fit, a lost database.
    // RUST_LOG=info also logs altered tables, and RUST_LOG=debug each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let url = ddp_examples::database_url()?;
    let table = "CREATE TABLE IF NOT EXISTS tasks (id text PRIMARY KEY, text text NOT NULL)";
    Db::run_script(&url, table).await?;
    let (one, two) = (server(&url).await?, server(&url).await?);
    let first = ddp_examples::listen().await?;
    let second = ddp_examples::listen_on("SECOND_PORT", 3001).await?;
    tokio::try_join!(one.serve(first), two.serve(second))?;
    Ok(())
}
