//! Large frames, which a client takes piece by piece.

use std::task::Poll;

use super::*;

const LARGE: usize = 1_000_000;

/// A session to which a large message is on its way.
async fn large_message(path: &str) -> (Clients, AnyTransport, Answer) {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    assert_eq!(clients.poll("s").await, "o\n");
    let mut transport = transports.recv().await.expect("a transport");
    let answer = clients.post(path, "").await;
    queue(&mut transport, &[&"x".repeat(LARGE)]);
    (clients, transport, answer)
}

#[tokio::test(start_paused = true)]
async fn what_a_response_has_not_handed_over_still_waits() {
    for path in ["s/xhr", "s/xhr_streaming"] {
        let (clients, mut transport, mut answer) = large_message(path).await;
        let (mut left, mut taken) = (transport.queued_bytes(), 0);
        assert!(left >= LARGE);
        while transport.queued_bytes() > 0 {
            let chunk = answer.chunk().await.expect("more of it");
            taken += chunk.matches('x').count();
            assert!(chunk.len() <= 17_000, "{path}: {} bytes at once", chunk.len());
            assert!(transport.queued_bytes() <= left, "{path}");
            left = transport.queued_bytes();
            assert!(left + taken + 17_000 >= LARGE, "{path}: {left} left after {taken}");
            let flushed = poll_fn(|cx| Poll::Ready(transport.poll_flush(cx))).await;
            assert_eq!(flushed.is_pending(), left > 0, "{path}");
        }
        assert_eq!(taken, LARGE, "{path}");
        // It was more than a response may have, and the next frame is whole again.
        assert_eq!(answer.rest().await, "", "{path}");
        queue(&mut transport, &["next"]);
        assert_eq!(clients.poll("s").await, "a[\"next\"]\n", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_within_a_frame_interrupts_its_session() {
    for path in ["s/xhr", "s/xhr_streaming"] {
        let (clients, transport, mut answer) = large_message(path).await;
        while transport.queued_bytes() == LARGE || transport.queued_bytes() > LARGE / 2 {
            answer.chunk().await.expect("more of it");
        }
        drop(answer);
        assert_eq!(transport.queued_bytes(), 0, "{path}: it is there for nobody");
        assert_eq!(clients.poll("s").await, INTERRUPTED, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_has_ended_when_its_last_frame_is_handed_over() {
    let (clients, mut transport, mut answer) = large_message("s/xhr_streaming").await;
    // The prelude, and one piece.
    answer.chunk().await.expect("a chunk");
    answer.chunk().await.expect("a chunk");
    let mut closed = Box::pin(poll_fn(move |cx| transport.poll_closed(cx)));
    assert!(timeout(SECOND, closed.as_mut()).await.is_err(), "some of it is still there");
    assert!(answer.rest().await.ends_with("x\"]\n"));
    closed.await.expect("it has ended");
    assert_eq!(clients.poll("s").await, "c[1000,\"Normal closure\"]\n");
}
