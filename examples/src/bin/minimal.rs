//! The smallest server over PostgreSQL: one table, one publication, one method.

use ddp_postgres::{Db, Table};
use ddp_server::extract::Params;
use ddp_server::{Collection, Cursor, Error, Server, State, WriteFence, field};

#[derive(serde::Serialize, serde::Deserialize)]
struct Task {
    text: String,
    checked: bool,
}
const TASKS: Collection<Task> = Collection::new("tasks");

async fn open_tasks(State(db): State<Db>) -> Cursor<Task> {
    db.find(&TASKS).filter(field("checked").eq(false))
}

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
    let url = std::env::var("DATABASE_URL")?;
    let db = Db::builder(url).table(Table::new("tasks").camel_case()).connect().await?;
    let server = Server::builder()
        .publish("tasks.open", open_tasks)
        .method("tasks.check", check)
        .with_state(db);
    server.serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?).await?;
    Ok(())
}
