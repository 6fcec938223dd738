//! Committed rows on their way to clients: their cost, and their order.

mod cost;
mod feed;
mod methods;

use std::net::SocketAddr;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Invocation, Params, State, UserId};
use ddp_server::{Collection, Cursor, Error, Server, WriteFence, field};
use ddp_tests::database;
use serde_json::Value;

const TASKS: Collection<Value> = Collection::new("tasks");

/// A database with a table, and a role for the server so that its statements can be counted.
const SETUP: &str = "
    CREATE EXTENSION pg_stat_statements;
    CREATE TABLE tasks (id text PRIMARY KEY, list_id text, rank int, text text);
    INSERT INTO tasks SELECT 't' || n, 'l' || n % 3, n, 'task ' || n FROM generate_series(1, 10) AS n;
";

/// A server on a database of this name.
struct Fixture {
    database: String,
    role: String,
    address: SocketAddr,
    _db: Db,
}

impl Fixture {
    async fn start(name: &str, feed: Feed) -> Self {
        let name = database::name(name, feed);
        let (database, role) = (format!("live_{name}"), format!("server_{name}"));
        let setup = format!("{SETUP} CREATE ROLE {role} LOGIN SUPERUSER;");
        let url = database::create_database(&database, &setup);
        let url = url.replace("postgres://postgres@", &format!("postgres://{role}@"));
        let (address, db) = serve(&url, feed).await;
        Self { database, role, address, _db: db }
    }

    fn psql(&self, sql: &str) -> String {
        database::psql(&self.database, sql)
    }

    /// The statements that the server ran since the last reset, and how often. Without its checks
    /// for altered tables, which no change causes.
    fn statements(&self) -> Vec<(String, u64)> {
        let sql = format!(
            "SELECT calls || '|' || regexp_replace(query, E'\\\\s+', ' ', 'g') FROM pg_stat_statements \
             WHERE userid = '{}'::regrole AND query NOT LIKE '%ddp_wanted%' AND dbid = \
             (SELECT oid FROM pg_database WHERE datname = current_database())",
            self.role
        );
        let count = |line: &str| {
            let (calls, query) = line.split_once('|').unwrap();
            (query.to_owned(), calls.parse().unwrap())
        };
        self.psql(&sql).lines().map(count).collect()
    }

    fn reset(&self) {
        database::forget_statements(&self.database);
    }
}

async fn serve(url: &str, feed: Feed) -> (SocketAddr, Db) {
    let table = Table::new("tasks").all_columns().camel_case();
    let db = Db::builder(url).feed(feed).table(table).connect().await.unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .publish("tasks.byList", by_list)
        .publish("tasks.byText", by_text)
        .publish("tasks.wrong", async |State(db): State<Db>| {
            db.find(&TASKS).filter(field("rank").eq("one"))
        })
        .publish("tasks.nowhere", async |State(db): State<Db>| {
            db.find(&TASKS).filter(field("nowhere").is_null())
        })
        .publish("tasks.ofUser", async |State(db): State<Db>, user: Option<UserId>| {
            db.find(&TASKS).filter(field("listId").eq(user.as_deref().unwrap_or("l0")))
        })
        .method("login", async |invocation: Invocation, Params((user,)): Params<(String,)>| {
            invocation.set_user_id(Some(&user)).await
        })
        .publish("tasks.twice", async |State(db): State<Db>| (db.find(&TASKS), db.find(&TASKS)))
        .publish("unregistered", async |State(db): State<Db>| {
            db.find(&Collection::<Value>::new("unregistered"))
        })
        .method("insert", insert)
        .method("insert.slowly", insert_slowly)
        .method("insert.fail", insert_and_fail)
        .method("insert.deaf", insert_while_the_feed_is_down)
        .with_state(db.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    (address, db)
}

async fn by_list(State(db): State<Db>, Params((list,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("listId").eq(list))
}

/// Decided by the database, since only its collation knows the order of text.
async fn by_text(State(db): State<Db>, Params((from,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("text").gte(from))
}

const INSERT: &str = "INSERT INTO tasks (id, list_id, text) VALUES ($1, 'l0', 'zebra')";

async fn insert(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<u64, Error> {
    let transaction = db.begin(&fence).await?;
    let rows = transaction.execute(INSERT, &[&id]).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// Writes many rows in one transaction, whose broadcast comes in many parts.
async fn insert_slowly(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    for part in 0..5 {
        let sql = "INSERT INTO tasks (id, list_id, text) \
                   SELECT 'slow ' || $1::int || ' ' || n, 'l0', repeat('zebra ', 50) \
                   FROM generate_series(1, 200) AS n";
        transaction.execute(sql, &[&part]).await?;
    }
    Ok(transaction.commit().await?)
}

async fn insert_and_fail(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute(INSERT, &[&"ghost"]).await?;
    Err(Error::client("changed-my-mind", "Never mind"))
}

/// Ends the listening connection of this database only. It is gone some milliseconds later, and
/// replaced after 50 at the earliest.
const KILL_LISTENER: &str = "SELECT pg_terminate_backend(pid), pg_sleep(0.015) FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'ddp feed'";

/// Commits when nobody is listening, so that the token of its fence is lost.
async fn insert_while_the_feed_is_down(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute(INSERT, &[&id]).await?;
    transaction.execute(KILL_LISTENER, &[]).await?;
    Ok(transaction.commit().await?)
}
