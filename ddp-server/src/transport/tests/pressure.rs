//! Clients that read slowly, or not at all.

use std::{sync::Arc, task::Poll};

use futures::poll;
use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn a_slow_reader_leaves_bytes_queued_until_it_reads() {
    const COPIES: usize = 64;
    let text: Arc<str> = "x".repeat(1 << 20).into();
    let frames = RAW.encode([&*text]);
    let total = COPIES * frames.len();
    let (reports, mut reported) = mpsc::unbounded_channel();
    let addr = serve(TransportConfig::default(), move |mut transport, _| {
        let (frames, reports) = (frames.clone(), reports.clone());
        async move {
            for _ in 0..COPIES {
                transport.queue(frames.clone());
            }
            assert_eq!(transport.queued_bytes(), COPIES * frames.len());
            let stuck = poll!(std::pin::pin!(flush(&mut transport)));
            reports.send((stuck.is_pending(), transport.queued_bytes())).expect("the test waits");
            flush(&mut transport).await.expect("an open connection");
            reports.send((false, transport.queued_bytes())).expect("the test waits");
            assert!(echo(&mut transport).await.is_ok());
        }
    })
    .await;

    let mut client = connect(addr, "/websocket").await;
    let (pending, queued) = reported.recv().await.expect("a report");
    assert!(pending, "no socket buffer holds it all");
    assert!(queued > 0 && queued < total, "{queued} of {total}");
    for _ in 0..COPIES {
        assert_eq!(next_text(&mut client).await, *text);
    }
    assert_eq!(reported.recv().await, Some((false, 0)));
    send(&mut client, Message::text("still in step")).await;
    assert_eq!(next_text(&mut client).await, "still in step");
}

#[tokio::test]
async fn queued_bytes_are_shared() {
    let frames = RAW.encode(["shared"]);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let (mut socket, _client) = pipe(1024).await;
        socket.queue(frames.clone());
        sockets.push(socket);
    }
    assert!(!frames.is_unique());
    drop(sockets);
    assert!(frames.is_unique(), "the queues held the same allocation");
}

#[tokio::test]
async fn a_flood_of_pings_queues_few_pongs() {
    let (mut socket, mut client) = pipe(256).await;
    let (done, mut flooded) = oneshot::channel();
    let flood = tokio::spawn(async move {
        for number in 0..10_000_u32 {
            let ping = Message::Ping(number.to_be_bytes().to_vec().into());
            send(&mut client, ping).await;
        }
        send(&mut client, Message::text("end")).await;
        done.send(client).expect("the test waits");
    });
    let received = poll_fn(|cx| {
        let received = socket.poll_recv(cx);
        // A kibibyte of pongs may be partly written while as many are waiting.
        assert!(socket.queued_bytes() <= 2048, "{} bytes", socket.queued_bytes());
        received
    })
    .await;
    assert!(matches!(received, Ok(Some(text)) if text == "end"));
    flood.await.expect("no panic");

    let mut client = flooded.try_recv().expect("the client back");
    let reading = async {
        let mut last = None;
        while last != Some(9_999) {
            let Message::Pong(payload) = next(&mut client).await else {
                panic!("only pongs were queued");
            };
            let number = u32::from_be_bytes(payload[..].try_into().expect("four bytes"));
            assert!(last < Some(number), "pongs keep their order");
            last = Some(number);
        }
    };
    let (flushed, ()) = tokio::join!(flush(&mut socket), reading);
    assert!(flushed.is_ok());
    assert_eq!(socket.queued_bytes(), 0);
}

#[tokio::test]
async fn a_pong_overtakes_what_is_queued() {
    let (mut socket, mut client) = pipe(64).await;
    let text = "x".repeat(1000);
    for _ in 0..3 {
        socket.queue(RAW.encode([text.as_str()]));
    }
    assert!(matches!(poll!(std::pin::pin!(flush(&mut socket))), Poll::Pending));
    send(&mut client, Message::Ping("now".into())).await;
    let server = tokio::spawn(async move { echo(&mut socket).await });
    assert_eq!(next_text(&mut client).await, text, "it had begun");
    assert_eq!(next(&mut client).await, Message::Pong("now".into()));
    assert_eq!(next_text(&mut client).await, text);
    assert_eq!(next_text(&mut client).await, text);
    drop(client);
    assert!(matches!(server.await, Ok(Ok(()))));
}

#[tokio::test]
async fn waiting_for_messages_writes_what_is_queued() {
    let (mut socket, mut client) = pipe(64).await;
    let text = "x".repeat(1000);
    socket.queue(RAW.encode([text.as_str()]));
    let server = tokio::spawn(async move { recv(&mut socket).await });
    assert_eq!(next_text(&mut client).await, text);
    drop(client);
    assert!(matches!(server.await, Ok(Ok(None))));
}
