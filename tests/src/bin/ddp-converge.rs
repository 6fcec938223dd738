//! A server of the convergence test, where several share a database: `DATABASE_URL`, followed
//! with `FEED` (`notify` or `wal`), with `KEYS_ONLY` by broadcasts of keys only. It prints its
//! address.

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Invocation, Params, State, UserId};
use ddp_server::query::{ascending, descending};
use ddp_server::{Collection, Cursor, Error, Server, WriteFence, field};
use serde_json::Value;

const TASKS: Collection<Value> = Collection::new("tasks");
const LISTS: Collection<Value> = Collection::new("lists");
const NOTES: Collection<Value> = Collection::new("notes");
const PARTS: Collection<Value> = Collection::new("parts");

fn server(db: Db) -> Server {
    Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .publish("tasks.byList", by_list)
        .publish("tasks.open", open)
        .publish("tasks.ranks", ranks)
        .publish("tasks.titles", async |State(db): State<Db>| db.find(&TASKS).fields(["text"]))
        .publish("tasks.between", between)
        .publish("tasks.top", top)
        .publish("tasks.oldest", oldest)
        .publish("tasks.alphabet", alphabet)
        .publish("lists", async |State(db): State<Db>| db.find(&LISTS))
        .publish("both", async |State(db): State<Db>| (db.find(&TASKS), db.find(&LISTS)))
        .publish("tasks.mine", mine)
        .publish("notes", async |State(db): State<Db>| db.find(&NOTES))
        .publish("parts", async |State(db): State<Db>| db.find(&PARTS))
        .method("login", login)
        .method("put", put)
        .method("barrier", barrier)
        .with_state(db)
}

async fn by_list(State(db): State<Db>, Params((list,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("listId").eq(list))
}

async fn open(State(db): State<Db>, Params((rank,)): Params<(i64,)>) -> Cursor<Value> {
    let is_open = field("checked").eq(false).and(field("rank").gte(rank));
    db.find(&TASKS).filter(is_open.and(field("text").is_null().not()))
}

async fn ranks(State(db): State<Db>, Params((ranks,)): Params<(Vec<i64>,)>) -> Cursor<Value> {
    let is_one = field("rank").is_in(ranks).or(field("text").is_null());
    db.find(&TASKS).filter(is_one.and(field("listId").ne("b")))
}

/// The order of text depends on the collation, which only the database knows.
async fn between(
    State(db): State<Db>,
    Params((from, to)): Params<(String, String)>,
) -> Cursor<Value> {
    db.find(&TASKS).filter(field("text").gte(from).and(field("text").lt(to)))
}

async fn top(State(db): State<Db>, Params((limit,)): Params<(u32,)>) -> Cursor<Value> {
    db.find(&TASKS).sort([descending("rank"), ascending("checked")]).limit(limit)
}

async fn oldest(
    State(db): State<Db>,
    Params((list, skip, limit)): Params<(String, u32, u32)>,
) -> Cursor<Value> {
    let cursor = db.find(&TASKS).filter(field("listId").eq(list));
    cursor.sort([ascending("createdAt")]).skip(skip).limit(limit).fields(["text", "createdAt"])
}

/// Only the database knows this order, too.
async fn alphabet(State(db): State<Db>, Params((limit,)): Params<(u32,)>) -> Cursor<Value> {
    db.find(&TASKS).sort([ascending("text").nulls_first()]).limit(limit)
}

/// The tasks of the list that has the user's name.
async fn mine(State(db): State<Db>, user: Option<UserId>) -> Option<Cursor<Value>> {
    user.map(|user| db.find(&TASKS).filter(field("listId").eq(user.as_str())))
}

async fn login(
    invocation: Invocation,
    Params((user,)): Params<(Option<String>,)>,
) -> Result<(), Error> {
    invocation.set_user_id(user.as_deref()).await
}

/// A row that nobody else writes.
async fn put(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id, list, rank)): Params<(String, String, i32)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    let sql = "INSERT INTO tasks (id, list_id, text, rank) VALUES ($1, $2, 'mine', $3) \
               ON CONFLICT (id) DO UPDATE SET rank = EXCLUDED.rank";
    transaction.execute(sql, &[&id, &list, &rank]).await?;
    Ok(transaction.commit().await?)
}

/// Its `updated` means that everything committed before has been sent to the caller.
async fn barrier(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    db.check().await?;
    Ok(db.begin(&fence).await?.commit().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let level = tracing::Level::ERROR;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).init();
    let url = std::env::var("DATABASE_URL")?;
    let feed = match std::env::var("FEED").as_deref() {
        Ok("wal") => Feed::Wal,
        _ => Feed::Notify,
    };
    let mut tasks = Table::new("tasks").all_columns().camel_case();
    if std::env::var_os("KEYS_ONLY").is_some() {
        tasks = tasks.keys_only();
    }
    let lists = Table::new("lists").all_columns();
    let notes = Table::new("notes").all_columns();
    let parts = Table::new("parts").all_columns();
    let builder = Db::builder(url).feed(feed).table(tasks).table(lists).table(notes).table(parts);
    let db = builder.connect().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    server(db).serve(listener).await?;
    Ok(())
}
