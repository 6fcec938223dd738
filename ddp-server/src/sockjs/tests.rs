//! Connections without DDP, on a clock that jumps.

use std::future::ready;
use std::pin::pin;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::*;
use crate::transport::tests::polling::{Clients, DISCONNECT_DELAY, assert_passed};

/// Clients may be silent for as long as they may be away.
fn patient() -> SockJsConfig {
    SockJsConfig { silent_delay: DISCONNECT_DELAY, ..SockJsConfig::default() }
}

/// An endpoint without DDP, and the connections that it has opened.
fn connections() -> (Clients, mpsc::UnboundedReceiver<Connection>) {
    let (opened, connections) = mpsc::unbounded_channel();
    let app = router("/sockjs", patient(), move |connection| {
        opened.send(connection).expect("the test waits");
        ready(())
    });
    (Clients(app), connections)
}

#[tokio::test(start_paused = true)]
async fn who_sends_is_told_that_the_client_broke_off() {
    let (clients, mut connections) = connections();
    let mut stream = clients.stream("a").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    let mut connection = connections.recv().await.expect("a connection");
    assert!(connection.send("one").await);
    assert_eq!(stream.chunk().await.as_deref(), Some("a[\"one\"]\n"));
    assert_eq!(clients.send("a", "[\"last words\"]").await, 204);
    assert!(connection.send("two").await);
    drop(stream);
    for _ in 0..3 {
        assert!(!connection.send("three").await);
    }
    // It yields, or a loop that ignores the result would keep the scheduler to itself.
    assert!(futures::poll!(pin!(connection.send("four"))).is_pending());
    assert_eq!(connection.recv().await.as_deref(), Some("last words"));
    assert_eq!(connection.recv().await, None);
    assert!(!connection.send("five").await);
}

#[tokio::test(start_paused = true)]
async fn who_waits_to_send_is_told_that_the_client_stays_away() {
    let (clients, mut connections) = connections();
    assert_eq!(clients.poll("a").await, "o\n");
    let start = Instant::now();
    let mut connection = connections.recv().await.expect("a connection");
    let text = "x".repeat(10_000);
    let mut sent = 0;
    while connection.send(&text).await {
        sent += text.len();
    }
    assert_passed(start, DISCONNECT_DELAY);
    let max = ServerConfig::default().outbox_bytes_max;
    assert!((max - text.len()..max + text.len()).contains(&sent), "{sent} bytes");
    assert_eq!(clients.poll("a").await, "o\n", "another session of that name");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_client_is_bounded() {
    const BYTES: usize = 10_000;
    let (progress, mut progressed) = mpsc::unbounded_channel();
    let app = router("/sockjs", patient(), move |mut connection: Connection| {
        let progress = progress.clone();
        async move {
            for number in 0..1000 {
                connection.send(&"x".repeat(BYTES)).await;
                progress.send(number).expect("the test waits");
            }
        }
    });
    let clients = Clients(app);
    assert_eq!(clients.poll("a").await, "o\n");
    // The clock jumps when nothing moves any more.
    let mut sent = 0;
    for _ in 0..5 {
        sleep(DISCONNECT_DELAY / 2).await;
        let mut last = sent;
        while let Ok(number) = progressed.try_recv() {
            last = number + 1;
        }
        let waiting = (last - sent) * BYTES;
        let max = ServerConfig::default().outbox_bytes_max;
        assert!((max - BYTES..max + BYTES).contains(&waiting), "{waiting} bytes");
        sent = last;
        assert!(clients.poll("a").await.len() >= waiting);
    }
}
