//! SockJS heartbeats, on a clock that jumps.

use tokio::time::Instant;

use super::*;
use crate::transport::{framing::text_frame, sockjs::SockJs};

const PERIOD: Duration = Duration::from_secs(45);

#[tokio::test(start_paused = true)]
async fn heartbeats_come_each_period() {
    let (socket, mut client) = pipe(1024).await;
    let start = Instant::now();
    let mut transport = SockJs::new(socket, &TransportConfig::default());
    let server = tokio::spawn(async move { recv(&mut transport).await });
    assert_eq!(next_text(&mut client).await, "o");
    assert_eq!(start.elapsed(), Duration::ZERO);
    for beat in 1..=3 {
        let message = client.next().await.expect("open").expect("sound");
        assert_eq!(message, Message::text("h"));
        assert!(start.elapsed() >= PERIOD * beat && start.elapsed() < PERIOD * beat + PERIOD / 9);
    }
    drop(client);
    assert!(matches!(server.await, Ok(Ok(None))));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_do_not_pile_up_before_a_client_that_does_not_read() {
    let (socket, client) = pipe(16).await;
    let mut transport = SockJs::new(socket, &TransportConfig::default());
    transport.queue(text_frame(&"x".repeat(100)));
    let waiting = tokio::time::timeout(PERIOD * 100, recv(&mut transport));
    assert!(waiting.await.is_err(), "nothing was sent");
    // `o` is three bytes, the message 102, and the pipe has taken sixteen.
    assert_eq!(transport.queued_bytes(), 3 + 102 - 16);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn messages_flow_between_heartbeats() {
    let (socket, mut client) = pipe(1024).await;
    let mut transport = SockJs::new(socket, &TransportConfig::default());
    let server = tokio::spawn(async move { echo(&mut transport).await });
    assert_eq!(next_text(&mut client).await, "o");
    for number in 0..5 {
        let message = client.next().await.expect("open").expect("sound");
        assert_eq!(message, Message::text("h"));
        send(&mut client, Message::text(format!("[\"{number}\"]"))).await;
        assert_eq!(next_text(&mut client).await, format!("a[\"{number}\"]"));
    }
    client.close(None).await.expect("an open connection");
    assert!(matches!(server.await, Ok(Ok(()))));
}
