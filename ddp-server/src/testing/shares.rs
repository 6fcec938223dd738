//! What clients share, and that nobody takes more than their part of it.
//!
//! Where the clock jumps, clients speak `pre1`: sessions read the system's clock for heartbeats, which
//! that version does not have.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::Request;
use futures::{FutureExt, SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::config::ServerConfig;
use crate::connection;
use crate::extract::{Invocation, Params, State, Subscription};
use crate::testing::Client;
use crate::transport::in_process;
use crate::{Collection, Error, MemoryCollection, Server};

pub(super) const HOSTILE: [u8; 4] = [192, 0, 2, 1];
pub(super) const HONEST: [u8; 4] = [192, 0, 2, 2];
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn server(change: impl FnOnce(&mut ServerConfig)) -> Server {
    server_with(MemoryCollection::new(&Collection::new("notes")), change)
}

pub(super) fn server_with(
    notes: MemoryCollection<Value>,
    change: impl FnOnce(&mut ServerConfig),
) -> Server {
    let mut config = ServerConfig::default();
    change(&mut config);
    Server::builder()
        .config(config)
        .publish("notes", async |State(notes): State<MemoryCollection<Value>>| notes.find())
        .method("echo", async |Params((value,)): Params<(Value,)>| Ok::<_, Error>(value))
        .method("text", async |Params((bytes,)): Params<(usize,)>| {
            Ok::<_, Error>("x".repeat(bytes))
        })
        .with_state(notes)
}

/// A client that says what a test says.
pub(super) struct Wire(WebSocketStream<DuplexStream>);

impl Wire {
    pub(super) async fn connect(server: &Server, address: [u8; 4], version: &str) -> Self {
        let (io, client) = duplex(1 << 17);
        let registry = Arc::clone(server.registry());
        let config = registry.config.transport(Arc::clone(&registry.large));
        let mut request = Request::new(());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 40_000))));
        let (transport, info) = in_process::open(io, &request.into_parts().0, &config);
        tokio::spawn(connection::run(registry, transport, info));
        let mut wire = Self(WebSocketStream::from_raw_socket(client, Role::Client, None).await);
        let connect = r#"{"msg":"connect","version":"V","support":["V"]}"#;
        wire.say(&connect.replace('V', version)).await;
        assert!(wire.hear().await.contains("server_id"));
        assert!(wire.hear().await.contains("connected"));
        wire
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("an open connection");
    }

    /// The beginning of a message, and no more of it.
    async fn begin(&mut self, bytes: usize) {
        let text = "x".repeat(bytes).into_bytes();
        let frame = Frame::message(text, OpCode::Data(Data::Text), false);
        self.0.send(Message::Frame(frame)).await.expect("an open connection");
    }

    async fn sub(&mut self, id: &str, bytes: usize) {
        let params = "x".repeat(bytes);
        let sub = format!(r#"{{"msg":"sub","id":"{id}","name":"notes","params":["{params}"]}}"#);
        self.say(&sub).await;
    }

    /// A call of `echo`; returns how many bytes its result has.
    async fn echo(&mut self, bytes: usize) -> usize {
        let text = "x".repeat(bytes);
        self.say(&format!(r#"{{"msg":"method","id":"1","method":"echo","params":["{text}"]}}"#))
            .await;
        self.result().await
    }

    /// Reads up to a result; returns how many bytes it has.
    pub(super) async fn result(&mut self) -> usize {
        loop {
            let text = self.hear().await;
            if text.contains(r#""msg":"result""#) {
                return text.len();
            }
        }
    }

    /// A call of a method that returns so many bytes.
    pub(super) async fn want(&mut self, bytes: usize) {
        self.say(&format!(r#"{{"msg":"method","id":"1","method":"text","params":[{bytes}]}}"#))
            .await;
    }

    /// Takes some bytes of what the server sends, whatever they mean.
    pub(super) async fn take(&mut self, bytes: usize) {
        let mut taken = vec![0; bytes];
        self.0.get_mut().read_exact(&mut taken).await.expect("an open connection");
    }

    pub(super) async fn hear(&mut self) -> String {
        let next = timeout(120 * SECOND, self.0.next()).await.expect("a message in time");
        match next.expect("an open connection").expect("a sound frame") {
            Message::Text(text) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }
}

pub(super) fn ready(id: &str) -> String {
    format!(r#"{{"msg":"ready","subs":["{id}"]}}"#)
}

#[tokio::test(start_paused = true)]
async fn who_begins_a_message_and_is_silent_holds_up_nobody_for_long() {
    // For one message.
    let server = server(|config| config.large_messages_bytes_max = 0);
    let mut silent = Wire::connect(&server, HOSTILE, "pre1").await;
    silent.begin(65_600).await;
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    let mut other = Wire::connect(&server, HONEST, "pre1").await;
    assert!(other.echo(100_000).await > 100_000);
    assert_eq!(begun.elapsed().as_secs(), 9, "10 seconds after it began");
}

#[tokio::test(start_paused = true)]
async fn an_address_leaves_memory_for_large_messages_of_others() {
    // For two messages.
    let server = server(|config| config.large_messages_bytes_max = 8 << 20);
    let mut wires = Vec::new();
    for _ in 0..20 {
        let mut wire = Wire::connect(&server, HOSTILE, "pre1").await;
        wire.begin(70_000).await;
        wires.push(wire);
    }
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    let mut other = Wire::connect(&server, HONEST, "pre1").await;
    assert!(other.echo(100_000).await > 100_000);
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}

/// Of 400,000 bytes subscriptions have 300,000, and an address half of these; each session has 64 KiB.
#[tokio::test]
async fn a_subscription_waits_until_others_of_its_address_give_memory_back() {
    let server = server(|config| config.sessions_bytes_max = 400_000);
    let mut first = Wire::connect(&server, HOSTILE, "1").await;
    for id in ["1", "2", "3", "4"] {
        first.sub(id, 50_000).await;
        assert_eq!(first.hear().await, ready(id));
    }
    let mut second = Wire::connect(&server, HOSTILE, "1").await;
    second.sub("1", 60_000).await;
    assert_eq!(second.hear().await, ready("1"), "what each has");
    second.sub("2", 60_000).await;
    second.say(r#"{"msg":"ping"}"#).await;
    assert_eq!(second.hear().await, r#"{"msg":"pong"}"#, "not refused, and not ready");

    let mut other = Wire::connect(&server, HONEST, "1").await;
    for id in ["1", "2", "3", "4"] {
        other.sub(id, 50_000).await;
        assert_eq!(other.hear().await, ready(id), "another address has its own part");
    }
    other.sub("5", 215_000).await;
    let nosub = other.hear().await;
    assert!(nosub.contains("nosub") && nosub.contains("too-many-subscriptions"), "{nosub}");

    first.say(r#"{"msg":"unsub","id":"1"}"#).await;
    assert!(first.hear().await.contains("nosub"));
    assert_eq!(second.hear().await, ready("2"));
    // And so does who leaves.
    second.sub("3", 60_000).await;
    second.say(r#"{"msg":"ping"}"#).await;
    assert_eq!(second.hear().await, r#"{"msg":"pong"}"#);
    drop(first);
    assert_eq!(second.hear().await, ready("3"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_memory_for_a_minute_is_disconnected_and_holds_none() {
    let server = server(|config| config.sessions_bytes_max = 400_000);
    let mut first = Wire::connect(&server, HOSTILE, "pre1").await;
    first.sub("1", 200_000).await;
    assert_eq!(first.hear().await, ready("1"));
    let mut second = Wire::connect(&server, HOSTILE, "pre1").await;
    second.sub("1", 150_000).await;
    // What is behind it has memory, too.
    second.sub("2", 100_000).await;
    tokio::time::sleep(30 * SECOND).await;
    assert!(taken(&server) > 250_000, "{}", taken(&server));
    // Another gets what it waits for within the minute, and stays.
    let mut third = Wire::connect(&server, HONEST, "pre1").await;
    third.sub("1", 200_000).await;
    assert_eq!(third.hear().await, ready("1"));
    let begun = Instant::now();
    let end = timeout(120 * SECOND, second.0.next()).await.expect("it does not wait for ever");
    let Some(Ok(Message::Close(Some(frame)))) = end else { panic!("no close but {end:?}") };
    assert_eq!(u16::from(frame.code), 1013);
    assert!((29..=31).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let stats = server.stats();
    assert_eq!((stats.subscriptions_waited, stats.disconnected_waiting), (1, 1), "{stats:?}");
    drop(second);
    tokio::time::sleep(SECOND).await;
    assert_eq!(taken(&server), 0);
    first.sub("2", 10).await;
    assert_eq!(first.hear().await, ready("2"));
}

#[tokio::test]
async fn who_is_not_read_while_it_waits_for_memory_does_not_count_as_silent() {
    let server = server(|config| {
        config.sessions_bytes_max = 400_000;
        config.session.inbox_messages_max = 1;
        config.session.heartbeat_interval = Duration::from_millis(50);
        config.session.heartbeat_timeout = Duration::from_millis(50);
    });
    let mut first = Wire::connect(&server, HOSTILE, "pre1").await;
    first.sub("1", 200_000).await;
    assert_eq!(first.hear().await, ready("1"));
    let mut second = Wire::connect(&server, HOSTILE, "1").await;
    second.sub("1", 150_000).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(server.stats().disconnected_silent, 0);
    drop(first);
    while second.hear().await != ready("1") {}
    assert_eq!(server.stats().subscriptions_waited, 1);
}

/// What large messages and results have taken of their memory.
pub(super) fn taken(server: &Server) -> usize {
    server.registry().large.memory().taken() + server.registry().results.taken()
}

/// Waits until nobody has anything of it.
pub(super) async fn all_is_free(server: &Server) {
    let free = async {
        while taken(server) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(60 * SECOND, free).await.expect("the memory is given back");
}

#[tokio::test]
async fn a_result_that_nobody_reads_counts_until_its_client_is_given_up() {
    // For two messages, one for each address.
    let server = server(|config| {
        config.large_messages_bytes_max = 8 << 20;
        config.write_timeout = 2 * SECOND;
    });
    let mut unread = Wire::connect(&server, HOSTILE, "1").await;
    unread.want(4_150_000).await;
    unread.take(1000).await;
    assert!(taken(&server) > 4_000_000, "the call has ended, and its result is there");
    let mut other = Wire::connect(&server, HONEST, "1").await;
    other.want(300_000).await;
    assert!(other.result().await > 300_000, "another address has its own part");
    let mut same = Wire::connect(&server, HOSTILE, "1").await;
    assert!(same.echo(300_000).await > 300_000, "this method is not known for it");
    assert_eq!(server.stats().disconnected_stalled, 0);
    same.want(300_000).await;
    assert!(same.result().await > 300_000);
    assert_eq!(server.stats().disconnected_stalled, 1, "it had to wait for that");
    all_is_free(&server).await;
}

#[tokio::test]
async fn a_result_counts_while_its_connection_ends() {
    let connections = Arc::new(Mutex::new(Vec::new()));
    let opened = Arc::clone(&connections);
    let config = ServerConfig { close_timeout: 2 * SECOND, ..ServerConfig::default() };
    let server = Server::builder()
        .config(config)
        .method("text", async |Params((bytes,)): Params<(usize,)>| {
            Ok::<_, Error>("x".repeat(bytes))
        })
        .on_connection(move |connection| opened.lock().push(connection.clone()))
        .build();
    let mut wire = Wire::connect(&server, HOSTILE, "1").await;
    wire.want(3_000_000).await;
    wire.take(1000).await;
    connections.lock()[0].close();
    tokio::time::sleep(SECOND).await;
    assert!(taken(&server) > 2_500_000, "{}", taken(&server));
    all_is_free(&server).await;
}

#[tokio::test]
async fn a_result_counts_whatever_its_call_had_and_no_longer_than_it_waits() {
    let server = server(|_| ());
    let mut wire = Wire::connect(&server, HOSTILE, "1").await;
    wire.want(3_000_000).await;
    wire.take(1000).await;
    assert!(taken(&server) > 2_500_000, "{}", taken(&server));
    // With what the client has taken, all is given back, though it says nothing more.
    wire.take(2_999_000).await;
    all_is_free(&server).await;
    drop(wire);
}

#[tokio::test]
async fn results_that_are_taken_slowly_leave_memory_for_others() {
    // Two addresses can have all of it.
    let server = server(|config| config.large_messages_bytes_max = 16 << 20);
    let mut slow = Vec::new();
    for address in [HOSTILE, [192, 0, 2, 3]] {
        for _ in 0..2 {
            let mut wire = Wire::connect(&server, address, "1").await;
            wire.want(4_000_000).await;
            wire.take(1000).await;
            slow.push(wire);
        }
    }
    assert!(taken(&server) > 15_000_000, "{}", taken(&server));
    let mut other = Wire::connect(&server, HONEST, "1").await;
    other.want(300_000).await;
    assert!(other.result().await > 300_000);
    assert_eq!(server.stats().disconnected_stalled, 0, "it did not wait for these");
    drop(slow);
    all_is_free(&server).await;
}

/// A server with a method that lets the client's next calls begin, waits, and returns 1,500,000 bytes;
/// and how often it has run. There is memory for five such results, and two of an address.
fn export() -> (Server, Arc<AtomicUsize>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let export = async |State(ran): State<Arc<AtomicUsize>>, invocation: Invocation| {
        ran.fetch_add(1, Ordering::Relaxed);
        invocation.unblock();
        tokio::task::yield_now().await;
        Ok::<_, Error>("x".repeat(1_500_000))
    };
    let config = ServerConfig { large_messages_bytes_max: 8 << 20, ..ServerConfig::default() };
    let server = Server::builder().config(config).method("export", export);
    (server.with_state(Arc::clone(&ran)), ran)
}

#[tokio::test]
async fn calls_of_a_method_with_large_results_wait_for_room() {
    let (server, ran) = export();
    let export = |id| format!(r#"{{"msg":"method","id":"{id}","method":"export"}}"#);
    let mut first = Wire::connect(&server, HONEST, "pre1").await;
    first.say(&export(0)).await;
    assert!(first.result().await > 1_500_000);
    // Many calls of one client, and one call each of many.
    let mut wires = Vec::new();
    for wire in 0..11 {
        wires.push(Wire::connect(&server, HOSTILE, "pre1").await);
        for call in 0..if wire == 0 { 10 } else { 1 } {
            wires[wire].say(&export(call)).await;
        }
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(ran.load(Ordering::Relaxed), 3, "nobody takes any of them");
    // At most one of each client: its others wait behind that, as always.
    let waited = server.stats().calls_waited;
    assert!((10..=11).contains(&waited), "{waited}");
    assert!(taken(&server) < 4 << 20, "{}", taken(&server));
    first.say(&export(1)).await;
    assert!(first.result().await > 1_500_000, "another address has its own part");
    let all = wires.iter_mut().enumerate().map(async |(index, wire)| {
        for _ in 0..if index == 0 { 10 } else { 1 } {
            assert!(wire.result().await > 1_500_000);
        }
    });
    futures::future::join_all(all).await;
    assert_eq!(ran.load(Ordering::Relaxed), 22);
    all_is_free(&server).await;
}

#[tokio::test]
async fn calls_that_wait_for_room_go_with_their_client() {
    let (server, ran) = export();
    let export = r#"{"msg":"method","id":"1","method":"export"}"#;
    let mut unread = Vec::new();
    for count in 1..=2 {
        let mut wire = Wire::connect(&server, HOSTILE, "pre1").await;
        wire.say(export).await;
        wire.take(1000).await;
        unread.push(wire);
        assert_eq!(ran.load(Ordering::Relaxed), count);
    }
    for _ in 0..20 {
        let mut wire = Wire::connect(&server, HOSTILE, "pre1").await;
        wire.say(export).await;
    }
    let mut last = Wire::connect(&server, HOSTILE, "pre1").await;
    last.say(export).await;
    let open = &server.registry().open;
    let only_last_waits = async {
        while (open.count(), open.methods()) != (3, 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(20 * SECOND, only_last_waits).await.expect("those who left wait for nothing");
    drop(unread);
    assert!(last.result().await > 1_500_000);
    assert_eq!(ran.load(Ordering::Relaxed), 3);
    all_is_free(&server).await;
}

#[tokio::test]
async fn a_large_message_has_its_memory_while_it_waits_for_its_turn() {
    let notes = MemoryCollection::<Value>::new(&Collection::new("notes"));
    let server = server_with(notes.clone(), |_| ());
    let large = Arc::clone(&server.registry().large);
    let mut wire = Wire::connect(&server, HOSTILE, "1").await;
    wire.sub("1", 1).await;
    assert_eq!(wire.hear().await, ready("1"));
    let mut turns = Vec::new();
    while let Some(turn) = large.turn(None).now_or_never() {
        turns.push(turn);
    }
    let text = "x".repeat(100_000);
    wire.say(&format!(r#"{{"msg":"method","id":"1","method":"echo","params":["{text}"]}}"#)).await;
    while taken(&server) == 0 {
        tokio::task::yield_now().await;
    }
    // It needs one turn to be made, and another to be handled, which comes after this one.
    let next = large.turn(None);
    let next = tokio::spawn(next);
    tokio::task::yield_now().await;
    drop(turns.pop());
    let next = next.await.expect("a turn");
    // Its task has other things to do meanwhile.
    for number in 0..3 {
        notes.insert(&serde_json::json!({ "number": number })).expect("a new document");
        assert!(wire.hear().await.contains("added"));
        assert!(taken(&server) > 100_000, "{}", taken(&server));
    }
    drop((next, turns));
    assert!(wire.result().await > 100_000);
}

#[tokio::test]
async fn a_large_message_is_handled_between_those_of_another_address() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let handled = Arc::clone(&order);
    let server =
        Server::builder().method("note", move |Params((_, who)): Params<(String, String)>| {
            handled.lock().push(who);
            async { Ok::<_, Error>(()) }
        });
    let server = server.build();
    let large = Arc::clone(&server.registry().large);
    let mut turns: Vec<_> = std::iter::from_fn(|| large.turn(None).now_or_never()).collect();
    let mut wires = Vec::new();
    for (address, who) in [(HOSTILE, "hostile"); 20].into_iter().chain([(HONEST, "honest")]) {
        let mut wire = Wire::connect(&server, address, "1").await;
        let text = "x".repeat(100_000);
        let before = taken(&server);
        wire.say(&format!(
            r#"{{"msg":"method","id":"1","method":"note","params":["{text}","{who}"]}}"#
        ))
        .await;
        while taken(&server) == before {
            tokio::task::yield_now().await;
        }
        wires.push(wire);
    }
    // Each needs one turn to be made, and another to be handled.
    turns.pop();
    for wire in &mut wires {
        wire.result().await;
    }
    let before = order.lock().iter().position(|who| who == "honest").expect("it was handled");
    assert!(before <= 3, "{before} were before it");
}

/// A turn, and a user.
type Run = (usize, Option<String>);

/// When publications began: in which turn of somebody else, and for whom.
#[derive(Clone, Default)]
struct Begun {
    turns: Arc<AtomicUsize>,
    all: Arc<Mutex<Vec<Run>>>,
}

#[tokio::test]
async fn others_have_turns_while_publications_run_again() {
    const COUNT: usize = 20;
    let begun = Begun::default();
    let slow = async |State(begun): State<Begun>, subscription: Subscription| {
        let turn = begun.turns.load(Ordering::Relaxed);
        begun.all.lock().push((turn, subscription.user_id().map(ToString::to_string)));
        // Longer than a session's task runs in one go.
        std::thread::sleep(Duration::from_millis(2));
        subscription.ready();
    };
    let server = Server::builder()
        .publish("slow", slow)
        .method("login", async |invocation: Invocation| invocation.set_user_id(Some("ada")).await)
        .method("twice", async |invocation: Invocation| {
            let (bob, cay) =
                (invocation.set_user_id(Some("bob")), invocation.set_user_id(Some("cay")));
            let (bob, cay) = futures::join!(bob, cay);
            bob.and(cay)
        })
        .with_state(begun.clone());
    let client = Client::connect(&server).await;
    let mut subscriptions = Vec::new();
    for number in 0..COUNT {
        subscriptions.push(client.subscribe("slow", (number,)).await.expect("it is ready"));
    }
    let turns = Arc::clone(&begun.turns);
    // It stands in line behind whatever is ready, and what is ready next behind it.
    tokio::spawn(poll_fn(move |cx| {
        turns.fetch_add(1, Ordering::Relaxed);
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    }));
    begun.all.lock().clear();
    client.call::<()>("login", ()).await.expect("a user");
    let ran = std::mem::take(&mut *begun.all.lock());
    assert_eq!(ran.len(), COUNT);
    assert!(ran.windows(2).all(|two| two[0].0 < two[1].0), "one in each turn: {ran:?}");

    // The user changes again before all have run.
    client.call::<()>("twice", ()).await.expect("a user");
    let ran = std::mem::take(&mut *begun.all.lock());
    assert!((COUNT + 1..2 * COUNT).contains(&ran.len()), "{ran:?}");
    let of_cay = ran.iter().filter(|(_, user)| user.as_deref() == Some("cay"));
    assert_eq!(of_cay.count(), COUNT);
}
