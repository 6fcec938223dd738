//! Changes that go to many sessions at once.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use ddp_server::extract::Params;
use ddp_server::{Collection, Config, Error, MemoryCollection, Server, State};
use ddp_tests::Client;
use serde_json::{Value, json};

const NOTES: Collection<Value> = Collection::new("notes");
const CLIENTS: usize = 150;

type Notes = MemoryCollection<Value>;

fn count(notes: &Notes) -> Result<(), Error> {
    notes.update("a", |note| {
        note["revision"] = (note["revision"].as_i64().unwrap_or(0) + 1).into()
    })?;
    Ok(())
}

/// A server with a note that all of its clients see.
async fn start() -> (Notes, Vec<Client>) {
    let notes = MemoryCollection::new(&NOTES);
    notes.insert_with_id("a", &json!({"revision": 0})).unwrap();
    let mut config = Config::default();
    // A heartbeat would make up for a session that nobody wakes.
    config.session.heartbeat_interval = Duration::from_secs(3600);
    let server = Server::builder()
        .config(config)
        .publish("notes", async |State(notes): State<Notes>| notes.find())
        .method("count", async |State(notes): State<Notes>| count(&notes))
        .method("rename", async |State(notes): State<Notes>, Params((name,)): Params<(String,)>| {
            notes.update("a", |note| note["name"] = name.into())
        })
        .with_state(notes.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    let mut clients = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let mut client = Client::connect(address).await;
        client.revisions_rise = true;
        client.subscribe("notes", json!([])).await;
        clients.push(client);
    }
    (notes, clients)
}

async fn all_see(clients: &mut [Client], revision: i64) {
    for client in clients {
        let sees = |client: &Client| client.documents("notes")["a"]["revision"] == revision;
        client.until(&format!("revision {revision}"), sees).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_a_runtime_that_ends_at_once_reaches_all() {
    let (notes, mut clients) = start().await;
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // It has no time to run what the change spawns.
        runtime.block_on(async { count(&notes).unwrap() });
    })
    .join()
    .unwrap();
    all_see(&mut clients, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_a_thread_without_a_runtime_reaches_all() {
    let (notes, mut clients) = start().await;
    thread::spawn(move || count(&notes).unwrap()).join().unwrap();
    all_see(&mut clients, 1).await;
}

/// Writers inside and outside of the sessions, while sessions are busy with calls of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_by_many_writers_reach_all_in_order() {
    let (notes, mut clients) = start().await;
    let mut callers = clients.split_off(CLIENTS - 4);
    let calls = callers.iter_mut().enumerate().map(async |(number, caller)| {
        for round in 0..50 {
            caller.call("count", json!([])).await;
            let name = format!("{number} {round}");
            caller.call("rename", json!([name])).await;
        }
    });
    let threads = (0..2).map(|_| {
        let notes = notes.clone();
        thread::spawn(move || (0..200).for_each(|_| count(&notes).unwrap()))
    });
    let threads: Vec<_> = threads.collect();
    futures::future::join_all(calls).await;
    for writer in threads {
        writer.join().unwrap();
    }
    all_see(&mut clients, 600).await;
    all_see(&mut callers, 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_method_changes_precedes_its_updated_though_many_others_watch() {
    let (_, mut clients) = start().await;
    for (round, client) in clients.iter_mut().enumerate().take(20) {
        client.call("rename", json!([format!("name {round}")])).await;
        assert_eq!(client.documents("notes")["a"]["name"], format!("name {round}"));
    }
}
