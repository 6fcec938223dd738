//! The server for load measurements. It prints its address.
//!
//! - `note`: one document, whose text the method `change` replaces;
//! - `notes`: a thousand documents that nobody changes;
//! - `tasks`: a table of the database at `DATABASE_URL`, if there is one;
//! - `tasks.different`: its rows but for one that does not exist, another one for each number;
//! - `tasks.list`: its rows with a given `list`, if it has that column;
//! - the method `echo` returns its parameter, and `wait` does so after so many milliseconds; `export`
//!   returns so many bytes after so many milliseconds.
//!
//! `THREADS` sets the number of threads; with `FEED=wal` changes come through the `wal` feed; `LOG`
//! installs a subscriber for logs, at the level `info`.

use std::time::Duration;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Cursor, Error, MemoryCollection, Server, ServerConfig, field};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOTE: Collection<Value> = Collection::new("note");
const NOTES: Collection<Value> = Collection::new("notes");
const TASKS: Collection<Value> = Collection::new("tasks");

/// Makes messages of about 200 bytes.
const TEXT: &str = "The quick brown fox jumps over the lazy dog, while sphinx of black quartz judges \
    my vow at half past seven";

#[derive(Clone)]
struct Data {
    note: MemoryCollection<Value>,
    notes: MemoryCollection<Value>,
    db: Option<Db>,
}

async fn change(
    State(data): State<Data>,
    Params((text,)): Params<(String,)>,
) -> Result<bool, Error> {
    data.note.update("note", |note| note["text"] = format!("{text} {TEXT}").into())
}

async fn echo(Params((value,)): Params<(Value,)>) -> Result<Value, Error> {
    Ok(value)
}

async fn wait(Params((millis,)): Params<(u32,)>) -> Result<u32, Error> {
    tokio::time::sleep(Duration::from_millis(millis.into())).await;
    Ok(millis)
}

async fn export(Params((bytes, millis)): Params<(u32, u32)>) -> Result<String, Error> {
    tokio::time::sleep(Duration::from_millis(millis.into())).await;
    let bytes = bytes as usize;
    let mut text = TEXT.repeat(bytes / TEXT.len() + 1);
    text.truncate(bytes);
    Ok(text)
}

async fn tasks(State(data): State<Data>) -> Result<Cursor<Value>, Error> {
    match data.db {
        Some(db) => Ok(db.find(&TASKS)),
        None => Err(Error::client(503, "There is no DATABASE_URL")),
    }
}

async fn list(
    state: State<Data>,
    Params((list,)): Params<(String,)>,
) -> Result<Cursor<Value>, Error> {
    Ok(tasks(state).await?.filter(field("list").eq(list)))
}

async fn different(
    state: State<Data>,
    Params((number,)): Params<(u32,)>,
) -> Result<Cursor<Value>, Error> {
    Ok(tasks(state).await?.filter(field("text").ne(format!("nothing {number}"))))
}

/// How changes arrive.
fn feed() -> Feed {
    if std::env::var("FEED").is_ok_and(|feed| feed == "wal") { Feed::Wal } else { Feed::Notify }
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    if std::env::var_os("LOG").is_some() {
        // As an application has it: the spans of connections, methods and publications are kept.
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    }
    let threads = std::env::var("THREADS").map_or(Ok(2), |text| text.parse())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(threads).enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<(), Failure> {
    let (note, notes) = (MemoryCollection::new(&NOTE), MemoryCollection::new(&NOTES));
    note.insert_with_id("note", &json!({"text": TEXT})).expect("a new id");
    for number in 0..1000 {
        let note = json!({"number": number, "text": TEXT, "isDone": number % 3 == 0});
        notes.insert_with_id(&format!("note{number}"), &note).expect("a new id");
    }
    let db = match std::env::var("DATABASE_URL") {
        Ok(url) => Some(
            Db::builder(&url)
                .feed(feed())
                .table(Table::new("tasks").all_columns())
                .connect()
                .await?,
        ),
        Err(_) => None,
    };
    let mut config = ServerConfig::default();
    // For clients that come all at once.
    config.serve.backlog = 8192;
    let server = Server::builder()
        .config(config)
        .publish("note", async |State(data): State<Data>| data.note.find())
        .publish("notes", async |State(data): State<Data>| data.notes.find())
        .publish("tasks", tasks)
        .publish("tasks.different", different)
        .publish("tasks.list", list)
        .method("change", change)
        .method("echo", echo)
        .method("export", export)
        .method("wait", wait)
        .with_state(Data { note, notes, db });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    server.close_on_signals()?;
    server.serve(listener).await?;
    Ok(())
}
