//! Senders whose application takes nothing.

use std::future::poll_fn;

use super::*;

/// How many may wait.
const WAITING_MAX: usize = 8;

const MINUTE: Duration = Duration::from_secs(60);

/// A session with a receiver whose inbox is full, and its application's end, which reads nothing.
async fn full() -> (Clients, Answer, AnyTransport) {
    let config = TransportConfig { message_bytes_max: 1000, ..TransportConfig::default() };
    let (clients, mut transports) = endpoint(config);
    assert_eq!(clients.poll("a").await, "o\n");
    let transport = transports.recv().await.expect("a session");
    let receiving = clients.stream("a").await;
    for _ in 0..2 {
        assert_eq!(clients.send("a", &body()).await, 204);
    }
    (clients, receiving, transport)
}

/// Two of these fill an inbox.
fn body() -> String {
    format!("[\"{}\"]", "x".repeat(400))
}

/// A sender in a task of its own, which waits.
async fn waiting(clients: &Clients) -> tokio::task::JoinHandle<u16> {
    let clients = clients.clone();
    let sender = tokio::spawn(async move { clients.send("a", &body()).await });
    // Everything that could be done is done before the clock moves.
    sleep(Duration::from_millis(1)).await;
    assert!(!sender.is_finished());
    sender
}

#[tokio::test(start_paused = true)]
async fn a_sender_waits_a_minute() {
    let (clients, _receiving, mut transport) = full().await;
    let start = Instant::now();
    assert_eq!(clients.send("a", &body()).await, 408);
    assert_passed(start, MINUTE);
    for _ in 0..2 {
        assert!(matches!(recv(&mut transport).await, Ok(Some(_))));
    }
    assert!(timeout(SECOND, recv(&mut transport)).await.is_err(), "the third is dropped");
}

#[tokio::test(start_paused = true)]
async fn what_has_found_room_is_not_late() {
    let (clients, _receiving, mut transport) = full().await;
    let sender = waiting(&clients).await;
    sleep(MINUTE - SECOND / 2).await;
    // The application takes one, and then nothing for longer than the minute lasts.
    for _ in 0..2 {
        assert!(matches!(recv(&mut transport).await, Ok(Some(_))));
    }
    assert_eq!(sender.await.expect("no panic"), 204);
}

#[tokio::test(start_paused = true)]
async fn few_senders_wait_for_a_session() {
    let (clients, _receiving, mut transport) = full().await;
    let mut senders = Vec::new();
    for _ in 0..WAITING_MAX {
        senders.push(waiting(&clients).await);
    }
    let start = Instant::now();
    assert_eq!(clients.send("a", &body()).await, 503);
    assert_passed(start, Duration::ZERO);
    // Whoever leaves makes room for another one.
    let leaver = senders.pop().expect("a sender");
    leaver.abort();
    assert!(leaver.await.is_err());
    senders.push(waiting(&clients).await);
    assert_eq!(clients.send("a", &body()).await, 503);

    for _ in 0..2 + WAITING_MAX {
        assert!(matches!(recv(&mut transport).await, Ok(Some(_))));
    }
    let more = timeout(SECOND / 2, recv(&mut transport)).await;
    assert!(more.is_err(), "those that were answered with 503 are not delivered");
    for sender in senders {
        assert_eq!(sender.await.expect("no panic"), 204);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_sees_no_status_is_told_by_the_end() {
    let (clients, receiving, _transport) = full().await;
    let start = Instant::now();
    assert_eq!(clients.post("a/jsonp_send", &body()).await.status, 408);
    assert_passed(start, MINUTE);
    assert!(receiving.rest().await.ends_with(INTERRUPTED));
}

#[tokio::test(start_paused = true)]
async fn senders_that_wait_have_no_more_than_a_large_message() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    let _receiving = clients.stream("a").await;
    let body = format!("[\"{}\"]", "x".repeat(10_000));
    assert_eq!(clients.send("a", &body).await, 204);
    let sender = tokio::spawn({
        let (clients, body) = (clients.clone(), body.clone());
        async move { clients.send("a", &body).await }
    });
    sleep(Duration::from_millis(1)).await;
    assert!(!sender.is_finished());
    let start = Instant::now();
    assert_eq!(clients.send("a", &body).await, 503, "two wait with more than 16 KiB");
    assert_passed(start, Duration::ZERO);
    for _ in 0..2 {
        assert!(matches!(recv(&mut transport).await, Ok(Some(_))));
    }
    assert!(timeout(SECOND / 2, recv(&mut transport)).await.is_err());
    assert_eq!(sender.await.expect("no panic"), 204);
}

#[tokio::test(start_paused = true)]
async fn what_a_closed_session_still_has_to_say_counts_or_is_forgotten() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    for is_polled in [true, false] {
        let id = if is_polled { "polled" } else { "left" };
        assert_eq!(clients.poll(id).await, "o\n");
        let mut transport = transports.recv().await.expect("a session");
        queue(&mut transport, &[&"x".repeat(100_000)]);
        let mut closed = Box::pin(poll_fn(|cx| transport.poll_closed(cx)));
        assert!(timeout(SECOND, &mut closed).await.is_err(), "it counts until it is taken");
        if is_polled {
            let (text, closed) = tokio::join!(clients.poll(id), closed);
            assert!(text.len() > 100_000 && closed.is_ok());
        } else {
            drop(closed);
        }
        drop(transport);
        assert!(clients.poll(id).await.starts_with("c[1000"), "{id}");
    }
}
