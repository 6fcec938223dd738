//! How a server ends: its methods, its clients and its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ddp_server::{Error, Server};
use ddp_tests::Peer;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// A server with a method that ends when the test wants, and how many have begun.
struct Held {
    server: Server,
    may_end: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
}

fn held(change: impl FnOnce(&mut ServerConfig)) -> Held {
    let mut config = ServerConfig::default();
    change(&mut config);
    let (may_end, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (Arc::clone(&may_end), Arc::clone(&begun));
    let server = Server::builder()
        .config(config)
        .method("held", move || {
            let (wait, count) = (Arc::clone(&wait), Arc::clone(&count));
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                // Never closed.
                let _ = wait.acquire().await;
                Ok::<_, Error>("done")
            }
        })
        .build();
    Held { server, may_end, begun }
}

impl Held {
    async fn begins(&self, count: usize) {
        let begun = Instant::now();
        while self.begun.load(Ordering::SeqCst) < count {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn call(id: &str) -> Value {
    json!({"msg": "method", "id": id, "method": "held"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_under_way_end_and_their_clients_have_the_results() {
    let held = held(|_| {});
    let address = serve(&held.server).await;
    let mut busy = Peer::connect(address).await;
    busy.send(call("1")).await;
    held.begins(1).await;
    let idle = Peer::connect(address).await;

    let closing = {
        let server = held.server.clone();
        tokio::spawn(async move { server.close().await })
    };
    assert_eq!(idle.end().await, (Vec::new(), 1001), "it goes at once");
    // Nobody new is let in, and nothing new begins.
    assert!(TcpStream::connect(address).await.is_err(), "still listening");
    busy.send(call("2")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!closing.is_finished());
    held.may_end.add_permits(10);
    let (messages, code) = busy.end().await;
    let kinds: Vec<&str> =
        messages.iter().map(|message| message["msg"].as_str().unwrap()).collect();
    assert_eq!((kinds, code), (vec!["updated", "result"], 1001), "{messages:?}");
    assert_eq!(messages[1]["result"], "done");
    tokio::time::timeout(PATIENCE, closing).await.expect("it has closed").unwrap();
    assert_eq!(held.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_does_not_end_is_not_waited_for_longer() {
    let held = held(|config| config.drain_timeout = Duration::from_millis(300));
    let address = serve(&held.server).await;
    let mut busy = Peer::connect(address).await;
    busy.send(call("1")).await;
    held.begins(1).await;
    let begun = Instant::now();
    let (_, end) = tokio::join!(held.server.close(), busy.end());
    assert_eq!(end, (Vec::new(), 1001));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_whose_client_has_left_is_waited_for() {
    let held = held(|_| {});
    let address = serve(&held.server).await;
    let mut busy = Peer::connect(address).await;
    busy.send(call("1")).await;
    held.begins(1).await;
    busy.leave();
    let closing = {
        let server = held.server.clone();
        tokio::spawn(async move { server.close().await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!closing.is_finished());
    held.may_end.add_permits(1);
    tokio::time::timeout(PATIENCE, closing).await.expect("it has closed").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_one_after_the_other() {
    const CLIENTS: usize = 400;
    let server = server(|_| {});
    let address = serve(&server).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let mut socket = connect_async(format!("ws://{address}/websocket")).await.unwrap().0;
        clients.spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(Some(frame)) = message {
                    assert_eq!(u16::from(frame.code), 1001);
                    // Answered by whoever reads on.
                    let _ = socket.flush().await;
                    return Instant::now();
                }
            }
            panic!("closed without a code");
        });
    }
    while server.connection_count() < CLIENTS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let (ends, ()) = tokio::join!(clients.join_all(), server.close());
    let mut ends: Vec<Duration> = ends.into_iter().map(|end| end - begun).collect();
    ends.sort();
    // One each millisecond; a busy machine may only be later.
    for (number, end) in ends.iter().enumerate().skip(100) {
        let due = Duration::from_millis(number as u64 / 2);
        assert!(*end >= due, "client {number} went after {end:?}");
    }
    assert!(ends[CLIENTS - 1] < Duration::from_secs(15), "{:?}", ends[CLIENTS - 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_now_ends_what_close_waits_for() {
    let held = held(|_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = {
        let server = held.server.clone();
        tokio::spawn(async move { server.serve(listener).await })
    };
    let mut busy = Peer::connect(address).await;
    busy.send(call("1")).await;
    held.begins(1).await;
    // Half a request that would be waited for as well.
    let mut half = TcpStream::connect(address).await.unwrap();
    ask(&mut half, "/sockjs/info", "").await;
    half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let closing = {
        let server = held.server.clone();
        tokio::spawn(async move { server.close().await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!closing.is_finished());
    let begun = Instant::now();
    let (_, end) = tokio::join!(held.server.close_now(), busy.end());
    assert_eq!(end, (Vec::new(), 1001));
    closing.await.unwrap();
    serving.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_asked_for_nothing_is_not_waited_for() {
    let server = server(|_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = {
        let server = server.clone();
        tokio::spawn(async move { server.serve(listener).await })
    };
    let silent = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut idle, "/sockjs/info", "").await.starts_with("HTTP/1.1 200"));
    let begun = Instant::now();
    server.close().await;
    serving.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(rest(silent).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_returns_when_everybody_is_gone() {
    let held = held(|_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = {
        let server = held.server.clone();
        tokio::spawn(async move { server.serve(listener).await })
    };
    let mut busy = Peer::connect(address).await;
    busy.send(call("1")).await;
    held.begins(1).await;
    // Nobody waits for this one.
    let impatient = tokio::time::timeout(Duration::from_millis(50), held.server.close()).await;
    assert!(impatient.is_err() && !serving.is_finished());
    held.may_end.add_permits(1);
    assert_eq!(busy.end().await.1, 1001);
    tokio::time::timeout(PATIENCE, serving).await.expect("the end").unwrap().unwrap();
    assert_eq!(held.server.connection_count(), 0);
    // It stays closed.
    tokio::time::timeout(PATIENCE, held.server.close()).await.expect("nothing to wait for");
}
