//! Publications that manage their documents by hand, and a server inside an application's own.

use std::net::SocketAddr;
use std::time::Duration;

use ddp_postgres::{Db, Table};
use ddp_server::extract::{Connection, Params, Subscription, UserId};
use ddp_server::query::ascending;
use ddp_server::{Collection, Cursor, Error, MemoryCollection, Server, State, field};
use ddp_tests::Client;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Clock {
    ticks: u32,
    zone: Option<String>,
}

const CLOCKS: Collection<Clock> = Collection::new("clocks");

async fn listen(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// What the publication does next, on the test's command.
#[derive(Debug)]
enum Step {
    Tick,
    ForgetZone,
    Remove,
    Ready,
    Stop,
    Error,
}

#[derive(Clone)]
struct Remote {
    steps: std::sync::Arc<tokio::sync::Mutex<mpsc::Receiver<Step>>>,
    dropped: mpsc::UnboundedSender<()>,
}

/// Tells the test that a publication's future has been dropped.
struct OnDrop(mpsc::UnboundedSender<()>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        // The test may not be interested.
        let _ = self.0.send(());
    }
}

async fn clock(
    State(remote): State<Remote>,
    connection: Connection,
    Params((zone,)): Params<(String,)>,
    subscription: Subscription,
) -> Result<(), Error> {
    assert!(connection.remote_addr().is_some());
    let _on_drop = OnDrop(remote.dropped.clone());
    let mut clock = Clock { ticks: 0, zone: Some(zone) };
    subscription.added(&CLOCKS, "a", &clock)?;
    subscription.unblock();
    while let Some(step) = remote.steps.lock().await.recv().await {
        match step {
            Step::Tick => {
                clock.ticks += 1;
                subscription.changed(&CLOCKS, "a", [("ticks", Some(clock.ticks))])?;
            }
            Step::ForgetZone => subscription.changed(&CLOCKS, "a", [("zone", None::<String>)])?,
            Step::Remove => subscription.removed(&CLOCKS, "a"),
            Step::Ready => subscription.ready(),
            Step::Stop => subscription.stop(),
            Step::Error => subscription.error(Error::client("broken", "The clock is broken")),
        }
    }
    Ok(())
}

struct Fixture {
    client: Client,
    steps: mpsc::Sender<Step>,
    dropped: mpsc::UnboundedReceiver<()>,
}

impl Fixture {
    async fn start() -> Self {
        let (steps, receiver) = mpsc::channel(8);
        let (sender, dropped) = mpsc::unbounded_channel();
        let remote = Remote {
            steps: std::sync::Arc::new(tokio::sync::Mutex::new(receiver)),
            dropped: sender,
        };
        let server = Server::builder().publish("clock", clock).with_state(remote);
        let address = listen(server.router()).await;
        drop(server);
        Self { client: Client::connect(address).await, steps, dropped }
    }

    async fn step(&mut self, step: Step) -> Value {
        self.steps.send(step).await.unwrap();
        let text = self.client.next().await;
        self.client.handle(&text).await;
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test]
async fn added_changed_removed_ready_and_stop() {
    let mut fixture = Fixture::start().await;
    let id = fixture.client.send_sub("clock", json!(["UTC"])).await;
    fixture.client.until("the clock", |client| !client.collections.is_empty()).await;
    assert_eq!(fixture.client.collections["clocks"]["a"]["zone"], "UTC");
    assert_eq!(fixture.step(Step::Ready).await, json!({"msg": "ready", "subs": [id]}));
    assert_eq!(
        fixture.step(Step::Tick).await,
        json!({"msg": "changed", "collection": "clocks", "id": "a", "fields": {"ticks": 1}})
    );
    assert_eq!(
        fixture.step(Step::ForgetZone).await,
        json!({"msg": "changed", "collection": "clocks", "id": "a", "cleared": ["zone"]})
    );
    assert_eq!(
        fixture.step(Step::Remove).await,
        json!({"msg": "removed", "collection": "clocks", "id": "a"})
    );
    assert_eq!(fixture.step(Step::Stop).await, json!({"msg": "nosub", "id": id}));
}

#[tokio::test]
async fn an_error_takes_the_documents_away() {
    let mut fixture = Fixture::start().await;
    let id = fixture.client.send_sub("clock", json!(["UTC"])).await;
    fixture.client.until("the clock", |client| !client.collections.is_empty()).await;
    let removed = fixture.step(Step::Error).await;
    assert_eq!(removed, json!({"msg": "removed", "collection": "clocks", "id": "a"}));
    fixture.client.until("nosub", |client| client.nosub.contains_key(&id)).await;
    assert_eq!(fixture.client.nosub[&id]["error"], "broken");
}

#[tokio::test]
async fn unsub_and_disconnection_drop_the_publication() {
    for disconnect in [false, true] {
        let mut fixture = Fixture::start().await;
        let id = fixture.client.send_sub("clock", json!(["UTC"])).await;
        fixture.client.until("the clock", |client| !client.collections.is_empty()).await;
        if disconnect {
            fixture.client.close().await;
        } else {
            fixture.client.unsubscribe(&id).await;
            assert!(fixture.client.documents("clocks").is_empty());
        }
        let dropped = tokio::time::timeout(Duration::from_secs(20), fixture.dropped.recv());
        assert_eq!(dropped.await, Ok(Some(())));
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    text: String,
    rank: i32,
}

const NOTES: Collection<Note> = Collection::new("notes");

#[tokio::test]
async fn a_memory_collection_is_live() {
    let notes = MemoryCollection::new(&NOTES);
    let server = Server::builder()
        .publish("high", async |State(notes): State<MemoryCollection<Note>>| {
            notes.find().filter(field("rank").gt(5)).fields(["text"])
        })
        .with_state(notes.clone());
    let mut client = Client::connect(listen(server.router()).await).await;
    let id = notes.insert(&Note { text: "a".to_owned(), rank: 9 }).unwrap();
    notes.insert_with_id("low", &Note { text: "b".to_owned(), rank: 1 }).unwrap();
    client.subscribe("high", json!([])).await;
    assert_eq!(json!(client.documents("notes")), json!({&id: {"text": "a"}}));
    assert!(notes.update("low", |note| note.rank = 6).unwrap());
    assert!(notes.update(&id, |note| note.text = "c".to_owned()).unwrap());
    assert!(notes.insert_with_id("low", &Note { text: "x".to_owned(), rank: 1 }).is_err());
    let expected = json!({"low": {"text": "b"}, &id: {"text": "c"}});
    client.until("both", |client| json!(client.documents("notes")) == expected).await;
    assert!(notes.update("low", |note| note.rank = 0).unwrap());
    assert!(notes.remove(&id) && !notes.remove(&id));
    client.until("none", |client| client.documents("notes").is_empty()).await;
}

#[tokio::test]
async fn a_server_is_mounted_in_an_existing_router() {
    let notes = MemoryCollection::new(&NOTES);
    notes.insert_with_id("x", &Note { text: "a".to_owned(), rank: 1 }).unwrap();
    let server = Server::builder()
        .publish("notes", async |State(notes): State<MemoryCollection<Note>>| notes.find())
        .with_state(notes);
    let router = axum::Router::new()
        .route("/health", axum::routing::get(|| async { "fine" }))
        .merge(server.router());
    let address = listen(router).await;
    let mut client = Client::connect(address).await;
    client.subscribe("notes", json!([])).await;
    assert_eq!(client.documents("notes").len(), 1);

    // The application's own routes are still there.
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut socket, request).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine"), "{answer}");

    // Closing the server disconnects its clients with a code, and no others are accepted.
    assert_eq!(server.connection_count(), 1);
    let closing = tokio::spawn(async move { server.close().await });
    let mut raw =
        tokio_tungstenite::connect_async(format!("ws://{address}/websocket")).await.unwrap().0;
    while let Some(message) = raw.next().await {
        if let Ok(tokio_tungstenite::tungstenite::Message::Close(Some(frame))) = message {
            assert_eq!(u16::from(frame.code), 1001);
        }
    }
    drop(client);
    closing.await.unwrap();
}

/// A client that stops reading costs the server a limited number of messages, and nobody else
/// anything. When it reads again, it ends up in the right state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_skips_states_and_ends_on_the_last() {
    const CHANGES: usize = 5_000;
    let notes = MemoryCollection::new(&NOTES);
    notes.insert_with_id("x", &Note { text: String::new(), rank: 0 }).unwrap();
    let server = Server::builder()
        .publish("notes", async |State(notes): State<MemoryCollection<Note>>| notes.find())
        .method("nothing", async || Ok::<(), Error>(()))
        .with_state(notes.clone());
    let address = listen(server.router()).await;
    let mut slow = Client::connect(address).await;
    let mut quick = Client::connect(address).await;
    slow.subscribe("notes", json!([])).await;
    quick.subscribe("notes", json!([])).await;
    // Each change is 20 KB, so that all of them together are 100 MB.
    for number in 0..CHANGES {
        let text = format!("{number:0>20000}");
        notes.update("x", |note| note.text = text).unwrap();
        if number % 10 == 0 {
            quick.call("nothing", json!([])).await;
        }
    }
    let last = format!("{:0>20000}", CHANGES - 1);
    for client in [&mut quick, &mut slow] {
        client.until("the last", |client| client.collections["notes"]["x"]["text"] == *last).await;
    }
    assert!(quick.messages > CHANGES / 10, "{}", quick.messages);
    assert!(slow.messages < CHANGES / 2, "{} messages came after all", slow.messages);
}

#[tokio::test]
async fn panics_and_missing_handlers_cost_one_call() {
    let server = Server::builder()
        .method("panic", async || -> Result<(), Error> { panic!("on purpose") })
        .method("late", async || -> Result<(), Error> {
            tokio::task::yield_now().await;
            panic!("on purpose")
        })
        .method("nothing", async || Ok::<(), Error>(()))
        .method("null", async || Ok::<Option<u8>, Error>(None))
        .publish("panic", async || -> () { panic!("on purpose") })
        .build();
    let mut client = Client::connect(listen(server.router()).await).await;
    for method in ["panic", "late"] {
        let result = client.call(method, json!([])).await;
        assert_eq!(result["error"]["reason"], "Internal server error", "{result}");
    }
    let id = client.send_sub("panic", json!([])).await;
    client.until("nosub", |client| client.nosub.contains_key(&id)).await;
    assert_eq!(client.nosub[&id]["error"], 500);
    let result = client.call("nothing", json!([])).await;
    assert_eq!(result.get("result"), None, "undefined");
    assert_eq!(client.call("null", json!([])).await["result"], Value::Null);
    let result = client.call("missing", json!([])).await;
    assert_eq!(result["error"]["reason"], "Method 'missing' not found");
}

const TASKS: Collection<Value> = Collection::new("tasks");

async fn tasks(database: &str) -> Db {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, list_id int, text text)";
    let url = ddp_tests::database::create_database(database, setup);
    let table = Table::new("tasks").columns(["list_id", "text"]).camel_case();
    Db::builder(&url).table(table).connect().await.unwrap()
}

/// A publication is run once, and its queries are compared with the tables.
#[tokio::test]
async fn a_check_names_the_publication_and_the_field() {
    let db = tasks("publications_check").await;
    let (stopped, mut has_stopped) = mpsc::unbounded_channel();
    let server = Server::builder()
        .publish("all", async |State(db): State<Db>| db.find(&TASKS))
        .publish("mine", async |State(db): State<Db>, _: UserId| db.find(&TASKS))
        .publish("panics", async || -> Cursor<Value> { panic!("at once") })
        .publish("hand", move |subscription: Subscription| {
            let stopped = stopped.clone();
            async move {
                subscription.ready();
                subscription.on_stop(move || stopped.send(()).expect("the test waits"));
            }
        })
        .publish("byList", async |State(db): State<Db>, Params((list,)): Params<(i64,)>| {
            db.find(&TASKS).filter(field("listId").eq(list).and(field("txet").eq("a")))
        })
        .publish_universal(async |State(db): State<Db>| db.find(&TASKS).fields(["text"]))
        .with_state(db.clone());
    let checked = server.check().await.unwrap();
    assert!(checked.publications.contains(&"all".to_owned()), "{checked:?}");
    assert!(checked.publications.contains(&"universal publication 1".to_owned()), "{checked:?}");
    let why = |name: &str| {
        let unchecked = checked.unchecked.iter().find(|(unchecked, _)| unchecked == name);
        unchecked.map(|(_, why)| why.as_str())
    };
    assert_eq!(why("byList"), Some("takes parameters"));
    assert_eq!(why("hand"), Some("returns no cursors, but publishes by hand"));
    assert_eq!(why("panics"), Some("returned an error: handler panicked: at once"));
    assert!(why("mine").unwrap().starts_with("returned an error: "), "{checked:?}");
    assert_eq!(has_stopped.recv().await, Some(()), "what runs for nobody ends");

    let meant = "has no published field \"txet\"; did you mean \"text\"?";
    let error = server.check_publication("byList", (7,)).await.unwrap_err().to_string();
    assert!(error.starts_with("byList: ") && error.contains(meant), "{error}");
    let error = server.check_publication("byList", ("x",)).await.unwrap_err().to_string();
    assert!(error.starts_with("byList was not checked: it returned an error: Match"), "{error}");
    assert_eq!(server.check_publication("none", ()).await.unwrap_err().code(), Some(&404.into()));
    server.check_publication("all", ()).await.unwrap();
    assert_eq!(db.stats().loads, 0, "the table has not been read");
}

#[tokio::test]
async fn a_check_has_a_line_for_each_mistake() {
    const GONE: Collection<Value> = Collection::new("gone");
    let db = tasks("publications_mistakes").await;
    let server = Server::builder()
        .publish("all", async |State(db): State<Db>| db.find(&TASKS))
        .publish("sorted", async |State(db): State<Db>| db.find(&TASKS).sort([ascending("texd")]))
        .publish("fields", async |State(db): State<Db>| db.find(&TASKS).fields(["listID"]))
        .publish("matched", async |State(db): State<Db>| {
            db.find(&TASKS).filter(field("listId").like("1%"))
        })
        .publish("constant", async |State(db): State<Db>| {
            db.find(&TASKS).filter(field("listId").eq("x"))
        })
        .publish("gone", async |State(db): State<Db>| db.find(&GONE))
        .publish("twice", async |State(db): State<Db>| (db.find(&TASKS), db.find(&TASKS)))
        .with_state(db.clone());
    let error = server.check().await.unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    for (line, (name, text)) in lines.iter().zip([
        ("constant", "listId"),
        ("fields", "did you mean \"listId\"?"),
        ("gone", "\"gone\""),
        ("matched", "is matched with a pattern"),
        ("sorted", "did you mean \"text\"?"),
        ("twice", "multiple cursors for collection tasks"),
    ]) {
        assert!(line.starts_with(&format!("{name}: ")) && line.contains(text), "{error}");
    }
    assert_eq!(lines.len(), 6, "{error}");
    assert_eq!(db.stats().loads, 0);
}
