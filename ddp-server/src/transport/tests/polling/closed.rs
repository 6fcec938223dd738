//! How sessions end, and what clients are told about it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_session_without_a_receiver_ends_after_the_delay() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    let left = Instant::now();
    assert!(matches!(recv(&mut transport).await, Ok(None)));
    assert_passed(left, DISCONNECT_DELAY);
    assert_eq!(clients.send("a", "[\"late\"]").await, 404);
    assert_eq!(clients.poll("a").await, "o\n", "another session of that name");
    assert!(transports.recv().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_says_so_until_nobody_has_asked_for_the_delay() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    sleep(DISCONNECT_DELAY / 2).await;
    queue(&mut transport, &["last words"]);
    transport.close(3000, "Go away!");
    transport.close(1000, "only the first counts");
    queue(&mut transport, &["too late"]);
    assert!(matches!(recv(&mut transport).await, Ok(None)));
    assert!(closed(&mut transport).await.is_ok());
    drop(transport);
    sleep(DISCONNECT_DELAY - SECOND).await;
    assert_eq!(clients.poll("a").await, "a[\"last words\"]\n");
    for _ in 0..3 {
        sleep(DISCONNECT_DELAY - SECOND).await;
        assert_eq!(clients.poll("a").await, "c[3000,\"Go away!\"]\n");
        sleep(DISCONNECT_DELAY - SECOND).await;
        let stream = clients.stream("a").await;
        assert_eq!(stream.rest().await, "c[3000,\"Go away!\"]\n");
    }
    // As with an open session, sending does not show that the client is there to receive.
    sleep(DISCONNECT_DELAY - SECOND).await;
    assert_eq!(clients.send("a", "[\"late\"]").await, 204);
    sleep(2 * SECOND).await;
    assert_eq!(clients.send("a", "[\"later\"]").await, 404);
    assert_eq!(clients.poll("a").await, "o\n", "another session of that name");
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_counts_for_as_long_as_it_is_kept() {
    let sockjs = SockJsConfig { sessions_max: 1, ..SockJsConfig::default() };
    let (clients, mut transports) =
        endpoint(TransportConfig { sockjs, ..TransportConfig::default() });
    assert_eq!(clients.poll("a").await, "o\n");
    transports.recv().await.expect("a session").close(3000, "Go away!");
    for _ in 0..3 {
        sleep(DISCONNECT_DELAY - SECOND).await;
        assert_eq!(clients.poll("a").await, "c[3000,\"Go away!\"]\n");
        assert_eq!(clients.post("b/xhr", "").await.status, 503);
    }
    sleep(DISCONNECT_DELAY - SECOND).await;
    assert_eq!(clients.post("b/xhr", "").await.status, 503, "the last poll began the delay anew");
    sleep(2 * SECOND).await;
    assert_eq!(clients.poll("b").await, "o\n");
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_to_a_closed_session_is_dropped() {
    let config = TransportConfig { message_bytes_max: 1000, ..TransportConfig::default() };
    let (clients, mut transports) = endpoint(config);
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    transport.close(3000, "Go away!");
    let start = Instant::now();
    // Nor does it wait for room, which together it would have to.
    for _ in 0..5 {
        let body = format!("[\"{}\"]", "x".repeat(800));
        assert_eq!(clients.send("a", &body).await, 204);
        let answer = clients.post("a/jsonp_send", &body).await;
        assert_eq!((answer.status, answer.rest().await.as_str()), (200, "ok"));
    }
    assert_passed(start, Duration::ZERO);
    assert!(matches!(recv(&mut transport).await, Ok(None)));
    // Invalid messages are refused as always.
    for body in ["", "{}", "[\"x"] {
        assert_eq!(clients.send("a", body).await, 500, "{body}");
        assert_eq!(clients.post("a/jsonp_send", body).await.status, 500, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_receivers_response() {
    for streaming in [false, true] {
        let (clients, mut transports) = endpoint(TransportConfig::default());
        assert_eq!(clients.poll("a").await, "o\n");
        let mut transport = transports.recv().await.expect("a session");
        let waiting = match streaming {
            true => clients.stream("a").await,
            false => clients.post("a/xhr", "").await,
        };
        let waiting = tokio::spawn(waiting.rest());
        sleep(SECOND).await;
        transport.close(3000, "Go away!");
        let start = Instant::now();
        assert_eq!(waiting.await.expect("no panic"), "c[3000,\"Go away!\"]\n");
        assert_passed(start, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_ends_the_session() {
    for streaming in [false, true] {
        let (clients, mut transports) = endpoint(TransportConfig::default());
        assert_eq!(clients.poll("a").await, "o\n");
        let mut transport = transports.recv().await.expect("a session");
        let receiver = match streaming {
            true => clients.stream("a").await,
            false => clients.post("a/xhr", "").await,
        };
        let start = Instant::now();
        sleep(SECOND).await;
        queue(&mut transport, &["perhaps lost"]);
        drop(receiver);
        assert!(matches!(recv(&mut transport).await, Ok(None)));
        assert_passed(start, SECOND);
        assert_eq!(transport.queued_bytes(), 0, "nothing is kept for nobody");
        assert_eq!(clients.poll("a").await, INTERRUPTED);
        assert_eq!(clients.stream("a").await.rest().await, INTERRUPTED);
        assert_eq!(clients.send("a", "[\"late\"]").await, 404);
        sleep(DISCONNECT_DELAY + SECOND).await;
        assert_eq!(clients.poll("a").await, "o\n", "another session of that name");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_just_before_the_last_response_is_seen_to_break_off_is_told_so() {
    const MOMENT: Duration = Duration::from_millis(50);
    let (clients, _transports) = endpoint(TransportConfig::default());
    let mut stream = clients.stream("a").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    let start = Instant::now();
    assert_eq!(clients.poll("a").await, BUSY, "the first stays");
    assert_passed(start, 2 * MOMENT);
    let second = tokio::spawn(async move { clients.poll("a").await });
    sleep(MOMENT).await;
    drop(stream);
    assert_eq!(second.await.expect("no panic"), INTERRUPTED);
    assert_passed(start, 3 * MOMENT);
}

#[tokio::test(start_paused = true)]
async fn an_application_that_drops_its_end_interrupts() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    let mut stream = clients.stream("a").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    drop(transports.recv().await.expect("a session"));
    assert_eq!(stream.rest().await, INTERRUPTED);
}

#[tokio::test(start_paused = true)]
async fn senders_that_wait_for_room_are_answered_at_the_end() {
    for is_lost in [false, true] {
        let config = TransportConfig { message_bytes_max: 1000, ..TransportConfig::default() };
        let (clients, mut transports) = endpoint(config);
        assert_eq!(clients.poll("a").await, "o\n");
        let mut transport = transports.recv().await.expect("a session");
        let body = format!("[\"{}\"]", "x".repeat(800));
        assert_eq!(clients.send("a", &body).await, 204);
        let waiting = clients.clone();
        let waiting = tokio::spawn(async move { waiting.send("a", &body).await });
        sleep(SECOND).await;
        assert!(!waiting.is_finished());
        let start = Instant::now();
        if is_lost {
            drop(transport);
        } else {
            transport.close(3000, "Go away!");
        }
        assert_eq!(waiting.await.expect("no panic"), if is_lost { 404 } else { 204 });
        assert_passed(start, Duration::ZERO);
    }
}
