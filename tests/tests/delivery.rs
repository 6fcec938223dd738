//! Changes that go to many sessions at once.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use ddp_server::extract::Params;
use ddp_server::{Collection, Error, MemoryCollection, Server, ServerConfig, State};
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
    let mut config = ServerConfig::default();
    // A heartbeat would wake a session that nobody else wakes.
    config.session.heartbeat_interval = Duration::from_secs(3600);
    // Some read nothing for as long as a test takes.
    config.write_timeout = Duration::from_secs(3600);
    let server = Server::builder()
        .config(config)
        .publish("notes", async |State(notes): State<Notes>| notes.find())
        .method("count", async |State(notes): State<Notes>| count(&notes))
        .method("rename", async |State(notes): State<Notes>, Params((name,)): Params<(String,)>| {
            // From here on it has its own task.
            tokio::task::yield_now().await;
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
        // It gets no chance to run the tasks that the change spawns.
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
        let (id, name) = (format!("c{round}"), format!("name {round}"));
        let call = json!({"msg": "method", "id": id, "method": "rename", "params": [name]});
        client.send(&call).await;
        // Some of the others' changes may still arrive.
        client.until("`updated`", |client| client.updated.contains(&id)).await;
        assert_eq!(client.documents("notes")["a"]["name"], name);
    }
}

/// Changes on a runtime that is alive but idle hold nobody up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_a_runtime_that_rests_reaches_all() {
    let (notes, mut clients) = start().await;
    let (over, rest) = std::sync::mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { count(&notes).unwrap() });
        // Until the sender is gone.
        let _ = rest.recv();
    });
    all_see(&mut clients, 1).await;
    drop(over);
    writer.join().unwrap();
}

/// Among many others a client reads nothing until much has changed, and another one never.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_do_not_keep_up_hold_up_nobody_and_see_the_newest() {
    let (notes, mut clients) = start().await;
    let mut late = clients.pop().unwrap();
    let never = clients.pop().unwrap();
    let text = "x".repeat(100_000);
    let steps = 300;
    for step in 1..=steps {
        let change =
            |note: &mut Value| *note = json!({"revision": step, "text": format!("{step}{text}")});
        notes.update("a", change).unwrap();
        if step % 10 == 0 {
            all_see(&mut clients[..20], step).await;
        }
    }
    all_see(&mut clients, steps).await;
    all_see(std::slice::from_mut(&mut late), steps).await;
    assert!(late.messages < 300, "{} messages", late.messages);
    drop(never);
}
