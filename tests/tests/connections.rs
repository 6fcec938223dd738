//! Connections that are slow, silent, full, or about to end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ddp_server::extract::{Connection, Invocation, Subscription};
use ddp_server::{Collection, Error, MemoryCollection, Server, ServerConfig, State};
use ddp_tests::Client;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const NOTES: Collection<Value> = Collection::new("notes");
const CONNECT: &str = r#"{"msg":"connect","version":"1","support":["1"]}"#;
const SUBSCRIBE: &str = r#"{"msg":"sub","id":"1","name":"notes"}"#;

type Notes = State<MemoryCollection<Value>>;

async fn serve(server: &Server) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.clone();
    tokio::spawn(async move { server.serve(listener).await });
    address
}

/// A server with this many notes of 10 KB.
fn notes_server(config: ServerConfig, count: usize) -> (Server, MemoryCollection<Value>) {
    let notes = MemoryCollection::new(&NOTES);
    for number in 0..count {
        let note = json!({"text": "x".repeat(10_000)});
        notes.insert_with_id(&format!("n{number}"), &note).unwrap();
    }
    let server = Server::builder()
        .config(config)
        .publish("notes", async |State(notes): Notes| notes.find())
        .method("nothing", async || Ok::<(), Error>(()))
        .method("forever", async || -> Result<(), Error> { std::future::pending().await })
        .with_state(notes.clone());
    (server, notes)
}

async fn open(
    address: SocketAddr,
    messages: &[&str],
) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let (mut socket, _) = connect_async(format!("ws://{address}/websocket")).await.unwrap();
    for message in messages {
        socket.send(Message::text(*message)).await.unwrap();
    }
    socket
}

/// Every text until the end of the connection.
async fn texts(mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            texts.push(text.to_string());
        }
    }
    texts
}

fn quick_heartbeats() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.session.heartbeat_interval = Duration::from_millis(500);
    config.session.heartbeat_timeout = Duration::from_millis(500);
    config
}

/// Reads a client's socket a little at a time while it sends, and returns how the connection ended,
/// or that it did not within `time`. Its receive buffer is small, so that the server feels it.
async fn read_slowly(address: SocketAddr, bytes_per_second: usize, time: Duration) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let url = format!("ws://{address}/websocket");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    socket.send(Message::text(CONNECT)).await.unwrap();
    socket.send(Message::text(SUBSCRIBE)).await.unwrap();
    // From here on bytes count, not messages.
    let (mut read, mut write) = socket.into_inner().into_split();
    let talk = tokio::spawn(async move {
        // A masked frame with a key of zeros.
        let mut frame = vec![0x81, 0x80 | 14, 0, 0, 0, 0];
        frame.extend_from_slice(br#"{"msg":"ping"}"#);
        while write.write_all(&frame).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let begun = Instant::now();
    let mut buffer = vec![0; bytes_per_second / 50];
    let end = loop {
        if begun.elapsed() > time {
            break "still open".to_owned();
        }
        match read.read(&mut buffer).await {
            Ok(0) => break format!("closed after {:?}", begun.elapsed()),
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => break format!("{error} after {:?}", begun.elapsed()),
        }
    };
    talk.abort();
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_slowly_and_talks_lives() {
    // 30 MB at 300 KB/s take long; in the meantime several heartbeats pass.
    let (server, _) = notes_server(quick_heartbeats(), 3_000);
    let address = serve(&server).await;
    assert_eq!(read_slowly(address, 300_000, Duration::from_secs(6)).await, "still open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_a_little_now_and_then_is_not_stalled() {
    let mut config = ServerConfig::default();
    config.write_timeout = Duration::from_secs(2);
    let (server, _) = notes_server(config, 3_000);
    let address = serve(&server).await;
    assert_eq!(read_slowly(address, 100_000, Duration::from_secs(6)).await, "still open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_disconnected() {
    let mut config = ServerConfig::default();
    config.write_timeout = Duration::from_millis(500);
    let (server, _) = notes_server(config, 3_000);
    let address = serve(&server).await;
    let socket = open(address, &[CONNECT, SUBSCRIBE]).await;
    let gone = async {
        // The first check may come before the server has seen the connection.
        let mut was_there = false;
        while !was_there || server.connection_count() != 0 {
            was_there |= server.connection_count() != 0;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the server gives up");
    assert_eq!(server.stats().disconnected_stalled, 1);
    // Never read from, but open all the while.
    drop(socket);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_is_bounded_though_a_client_takes_nothing() {
    let mut config = ServerConfig::default();
    config.close_timeout = Duration::from_millis(500);
    let (server, _) = notes_server(config, 3_000);
    let address = serve(&server).await;
    let mut stalled = open(address, &[CONNECT, SUBSCRIBE]).await;
    // The first document shows that the server is about to send the rest.
    while !matches!(stalled.next().await, Some(Ok(Message::Text(text))) if text.contains("added")) {
    }
    let closing = tokio::time::timeout(Duration::from_secs(10), server.close());
    closing.await.expect("the stalled client does not hold it up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_does_not_keep_the_server_from_ending() {
    let mut config = ServerConfig::default();
    config.close_timeout = Duration::from_millis(500);
    let (server, _) = notes_server(config, 0);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = {
        let server = server.clone();
        tokio::spawn(async move { server.serve(listener).await })
    };
    // The answer to a complete request shows that the connection was accepted.
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET /sockjs/info HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n")
        .await
        .unwrap();
    socket.read_u8().await.unwrap();
    server.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(10), serving).await;
    ended.expect("serve ends").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_left_behind_a_full_queue_is_noticed() {
    let mut config = quick_heartbeats();
    config.session.inbox_messages_max = 10;
    let (server, _) = notes_server(config, 0);
    let address = serve(&server).await;
    let mut client = Client::connect(address).await;
    for id in 0..50 {
        client.send(&json!({"msg": "method", "id": id.to_string(), "method": "forever"})).await;
    }
    client.close().await;
    let gone = async {
        while server.connection_count() != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the connection ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_deadlines_sleeps() {
    let mut config = ServerConfig::default();
    config.session.connect_timeout = Duration::from_millis(100);
    let (server, _) = notes_server(config, 0);
    let address = serve(&server).await;
    let connect = r#"{"msg":"connect","version":"pre1","support":["pre1"]}"#;
    let mut socket = open(address, &[connect]).await;
    socket.next().await.unwrap().unwrap();
    socket.next().await.unwrap().unwrap();
    // Past the only deadline that the connection ever had.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = busy();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = busy() - before;
    assert!(busy < Duration::from_millis(500), "busy for {busy:?} of a second of silence");
    drop(socket);
}

/// How long the runtime's workers have been busy.
fn busy() -> Duration {
    let metrics = tokio::runtime::Handle::current().metrics();
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_slower_than_the_changes_is_heard() {
    let (server, notes) = notes_server(ServerConfig::default(), 1);
    let address = serve(&server).await;
    let mut client = Client::connect(address).await;
    client.subscribe("notes", json!([])).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writer = tokio::task::spawn_blocking(move || {
        while stopped.try_recv().is_err() {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let text = format!("{number}{}", "x".repeat(40_000));
            notes.update("n0", |note| *note = json!({"text": text})).unwrap();
        }
    });
    let mut calls = 0;
    while calls < 10 || written.load(Ordering::SeqCst) < 100 || server.stats().lags == 0 {
        client.call("nothing", json!([])).await;
        calls += 1;
    }
    stop.send(()).unwrap();
    writer.await.unwrap();
    let stats = server.stats();
    assert!(stats.steps_left_out >= stats.lags, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_answers_no_ping_is_disconnected() {
    let (server, _) = notes_server(quick_heartbeats(), 0);
    let address = serve(&server).await;
    let socket = open(address, &[CONNECT]).await;
    let texts = tokio::time::timeout(Duration::from_secs(20), texts(socket)).await;
    let texts = texts.expect("the server gives up");
    assert_eq!(texts.last().map(String::as_str), Some(r#"{"msg":"ping"}"#), "{texts:?}");
    let stats = server.stats();
    assert_eq!((stats.disconnected_silent, stats.connections_opened), (1, 1), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_precedes_the_end_is_sent() {
    let server = Server::builder()
        .publish("bye", async |subscription: Subscription, connection: Connection| {
            subscription.added(&NOTES, "a", &json!({"text": "last"})).unwrap();
            subscription.ready();
            connection.close();
        })
        .build();
    let address = serve(&server).await;
    let subscribe = r#"{"msg":"sub","id":"1","name":"bye"}"#;
    let texts = texts(open(address, &[CONNECT, subscribe]).await).await;
    assert!(texts[2].contains(r#""msg":"added""#), "{texts:?}");
    assert!(texts[3].contains(r#""msg":"ready""#), "{texts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_by_hand_and_by_a_cursor_of_one_collection() {
    let notes = MemoryCollection::new(&NOTES);
    notes.insert_with_id("cursor", &json!({"text": "a"})).unwrap();
    let server = Server::builder()
        .publish("notes", async |subscription: Subscription, State(notes): Notes| {
            for id in ["hand1", "hand2"] {
                subscription.added(&NOTES, id, &json!({"text": "b"})).unwrap();
            }
            subscription.ready();
            notes.find()
        })
        .with_state(notes);
    let mut client = Client::connect(serve(&server).await).await;
    let id = client.subscribe("notes", json!([])).await;
    client.until("all", |client| client.documents("notes").len() == 3).await;
    client.unsubscribe(&id).await;
    assert!(client.documents("notes").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stubs_ids_are_the_methods_ids() {
    let server = Server::builder()
        .method("ids", async |invocation: Invocation| {
            let id = |collection| invocation.random_id(collection);
            Ok::<_, Error>([id("notes"), id("notes"), id("tasks")])
        })
        .build();
    let mut client = Client::connect(serve(&server).await).await;
    let call = json!({"msg": "method", "id": "a", "method": "ids", "randomSeed": "seed"});
    client.send(&call).await;
    client.until("the result", |client| client.results.contains_key("a")).await;
    let mut stub = ddp_core::random::RandomStream::from_seed("seed");
    let mut id = |collection| stub.document_id(collection);
    assert_eq!(client.results["a"]["result"], json!([id("notes"), id("notes"), id("tasks")]));
    // Without a seed nobody can predict them.
    let first = client.call("ids", json!([])).await;
    let second = client.call("ids", json!([])).await;
    assert_ne!(first["result"], second["result"]);
    assert_eq!(first["result"][0].as_str().unwrap().len(), 17);
}
