//! Large results: their turns to be encoded, and calls of methods that have returned nothing yet.
//!
//! Where the clock stands still, clients speak `pre1`; see [`shares`](super).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{HONEST, HOSTILE, SECOND, Wire, all_is_free, ready, server, server_with, taken};
use crate::config::ServerConfig;
use crate::extract::{Invocation, Params, State};
use crate::log::tests::Written;
use crate::{Collection, Error, MemoryCollection, Server};

/// What is refused at once, whatever else waits. (Not all versions have pings.)
const NONSENSE: &str = "{}";

fn method(name: &str, params: &str) -> String {
    format!(r#"{{"msg":"method","id":"1","method":"{name}","params":[{params}]}}"#)
}

/// Whether what was sent before has been handled. Results need not have come for that.
async fn is_handled(wire: &mut Wire) {
    wire.say(NONSENSE).await;
    while !wire.hear().await.contains("Bad request") {}
}

/// Lets all tasks do what they can do.
async fn others_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_large_result_is_encoded_between_those_of_another_address() {
    let server = server(|_| ());
    let large = Arc::clone(&server.registry().large);
    let mut turns: Vec<_> = std::iter::from_fn(|| large.turn(None).now_or_never()).collect();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut readers = Vec::new();
    for (address, who) in [(HOSTILE, "hostile"); 20].into_iter().chain([(HONEST, "honest")]) {
        let mut wire = Wire::connect(&server, address, "1").await;
        wire.want(100_000).await;
        is_handled(&mut wire).await;
        let order = Arc::clone(&order);
        readers.push(tokio::spawn(async move {
            wire.result().await;
            order.lock().push(who);
        }));
    }
    assert!(taken(&server) > 2_000_000, "the results are there");
    let mut small = Wire::connect(&server, HONEST, "1").await;
    small.want(60_000).await;
    assert!(small.result().await > 60_000, "it needs no turn");
    assert!(order.lock().is_empty(), "the others do");
    turns.pop();
    for reader in readers {
        reader.await.expect("a result");
    }
    let before = order.lock().iter().position(|who| *who == "honest").expect("it has its result");
    assert!(before <= 3, "{before} were before it");
    drop(turns);
    all_is_free(&server).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_behind_a_large_result_waits_with_it_and_is_not_looked_at_meanwhile() {
    let notes = MemoryCollection::<Value>::new(&Collection::new("notes"));
    let server = server_with(notes.clone(), |_| ());
    let large = Arc::clone(&server.registry().large);
    let mut wire = Wire::connect(&server, HONEST, "pre1").await;
    wire.say(r#"{"msg":"sub","id":"1","name":"notes"}"#).await;
    assert_eq!(wire.hear().await, ready("1"));
    let turns: Vec<_> = std::iter::from_fn(|| large.turn(None).now_or_never()).collect();
    wire.want(100_000).await;
    is_handled(&mut wire).await;
    for number in 0..3 {
        notes.insert(&json!({ "number": number })).expect("a new document");
        // The clock goes on when everything rests.
        tokio::time::sleep(SECOND).await;
    }
    wire.say(NONSENSE).await;
    assert!(wire.hear().await.contains("Bad request"), "no document before the result");
    drop(turns);
    assert!(wire.result().await > 100_000);
    for number in 0..3 {
        let added = wire.hear().await;
        assert!(added.contains(&format!(r#""number":{number}"#)), "{added}");
    }
}

#[tokio::test]
async fn a_large_result_has_no_turn_while_its_client_takes_nothing() {
    let server = server(|config| config.outbox_bytes_max = 1000);
    let large = Arc::clone(&server.registry().large);
    let all = || std::iter::from_fn(|| large.turn(None).now_or_never()).collect::<Vec<_>>();
    let turns = all();
    let mut wire = Wire::connect(&server, HOSTILE, "1").await;
    wire.want(100_000).await;
    is_handled(&mut wire).await;
    // Their answers are more than fits between the two.
    let long = "x".repeat(60_000);
    for _ in 0..4 {
        wire.say(&format!(r#"{{"msg":"ping","id":"{long}"}}"#)).await;
    }
    others_run().await;
    let count = turns.len();
    drop(turns);
    others_run().await;
    assert_eq!(all().len(), count, "others can have all");
    assert!(wire.result().await > 100_000);
}

/// What the method `export` of a server does.
#[derive(Clone)]
struct Exports {
    began: Arc<AtomicUsize>,
    /// Each needs one to end.
    ends: Arc<Semaphore>,
}

impl Exports {
    fn new() -> (Server, Self) {
        let exports = Self { began: Arc::default(), ends: Arc::new(Semaphore::new(0)) };
        let export = async |State(exports): State<Self>,
                            invocation: Invocation,
                            Params((bytes,)): Params<(i64,)>| {
            exports.began.fetch_add(1, Ordering::Relaxed);
            invocation.unblock();
            exports.ends.acquire().await.expect("it is never closed").forget();
            let bytes = usize::try_from(bytes).map_err(|_| Error::client(400, "less than none"))?;
            Ok::<_, Error>("x".repeat(bytes))
        };
        let config = ServerConfig { large_messages_bytes_max: 8 << 20, ..ServerConfig::default() };
        let server = Server::builder().config(config).method("export", export);
        (server.with_state(exports.clone()), exports)
    }

    fn began(&self) -> usize {
        self.began.load(Ordering::Relaxed)
    }
}

/// So many clients that call `export` for so many bytes.
async fn crowd(server: &Server, address: [u8; 4], count: usize, bytes: i64) -> Vec<Wire> {
    let mut wires = Vec::new();
    for _ in 0..count {
        let mut wire = Wire::connect(server, address, "pre1").await;
        wire.say(&method("export", &bytes.to_string())).await;
        is_handled(&mut wire).await;
        wires.push(wire);
    }
    wires
}

/// A client that has called `export` for so many bytes, and has the answer.
async fn serve(server: &Server, address: [u8; 4], bytes: i64) {
    let mut wire = Wire::connect(server, address, "pre1").await;
    wire.say(&method("export", &bytes.to_string())).await;
    wire.result().await;
}

async fn results(wires: &mut [Wire]) {
    futures::future::join_all(wires.iter_mut().map(Wire::result)).await;
}

#[tokio::test]
async fn each_large_result_has_a_turn_and_messages_are_handled_between_them() {
    let (server, exports) = Exports::new();
    let large = Arc::clone(&server.registry().large);
    let turns: Vec<_> = std::iter::from_fn(|| large.turn(None).now_or_never()).collect();
    let mut wire = Wire::connect(&server, HONEST, "pre1").await;
    for _ in 0..3 {
        wire.say(&method("export", "80000")).await;
    }
    while exports.began() < 3 {
        tokio::task::yield_now().await;
    }
    exports.ends.add_permits(3);
    while taken(&server) < 3 * 80_000 {
        tokio::task::yield_now().await;
    }
    // They are there; now the session learns of them.
    others_run().await;
    wire.say(NONSENSE).await;
    wire.say(NONSENSE).await;
    drop(turns);
    let mut heard = String::new();
    while heard.len() < 5 {
        let text = wire.hear().await;
        heard.extend(text.contains("Bad request").then_some('!'));
        heard.extend(text.contains(r#""msg":"result""#).then_some('R'));
    }
    assert_eq!(heard, "R!R!R");
}

#[tokio::test(start_paused = true)]
async fn few_calls_begin_of_a_method_that_has_returned_nothing() {
    let (server, exports) = Exports::new();
    let mut wires = crowd(&server, HOSTILE, 60, 1_500_000).await;
    assert_eq!(exports.began(), 16);
    let mut others = crowd(&server, HONEST, 1, 1_500_000).await;
    assert_eq!(exports.began(), 17, "another address has its own part");
    assert_eq!(server.stats().calls_waited, 44);
    exports.ends.add_permits(1000);
    results(&mut others).await;
    // What is known now leaves room for two of an address.
    let read = async {
        for wire in &mut wires {
            wire.result().await;
        }
    };
    let watch = async {
        while taken(&server) < 18 * 1_600_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = read => {}
        () = watch => panic!("{} bytes at once", taken(&server)),
    }
    assert_eq!(exports.began(), 61);
    all_is_free(&server).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_small_result_lets_all_calls_begin() {
    let (server, exports) = Exports::new();
    let mut wires = crowd(&server, HOSTILE, 200, 10).await;
    assert_eq!(exports.began(), 16);
    exports.ends.add_permits(1);
    while exports.began() < 200 {
        tokio::task::yield_now().await;
    }
    exports.ends.add_permits(1000);
    results(&mut wires).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_says_nothing_about_results() {
    let (server, exports) = Exports::new();
    exports.ends.add_permits(1);
    serve(&server, HOSTILE, -1).await;
    crowd(&server, HOSTILE, 20, 10).await;
    assert_eq!(exports.began(), 17);
}

#[tokio::test(start_paused = true)]
async fn calls_that_take_long_leave_their_places_to_others() {
    let (server, exports) = Exports::new();
    let mut wires = crowd(&server, HOSTILE, 40, 10).await;
    assert_eq!(exports.began(), 16);
    for began in [32, 40] {
        tokio::time::sleep(SECOND * 11 / 10).await;
        assert_eq!(exports.began(), began);
    }
    exports.ends.add_permits(1000);
    results(&mut wires).await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_are_logged_once_and_then_counted() {
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(written.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let (server, exports) = Exports::new();
    exports.ends.add_permits(1);
    serve(&server, HONEST, 3_000_000).await;
    let _wires = crowd(&server, HOSTILE, 6, 10).await;
    assert_eq!(server.stats().calls_waited, 5);
    tokio::time::sleep(2 * SECOND).await;
    let mut lines = written.lines();
    lines.retain(|line| line.contains("for memory of"));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains(r#"method="export""#), "{lines:?}");
    assert!(lines[0].contains("large_messages_bytes_max"), "the remedy: {lines:?}");
    assert!(lines[1].contains("count=4"), "{lines:?}");
}
