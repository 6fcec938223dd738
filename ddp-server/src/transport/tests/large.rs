//! Large messages share memory, and wait for each other.

use std::sync::Arc;

use futures::FutureExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

use super::*;
use crate::transport::large::{LARGE_MESSAGE_BYTES, TURN_BYTES};
use crate::transport::{Address, LargeMessages, Turn};

/// Room for one message of the largest size.
fn config() -> TransportConfig {
    let message_bytes_max = 1 << 20;
    let large = Arc::new(LargeMessages::new(0, message_bytes_max));
    TransportConfig { message_bytes_max, large, ..TransportConfig::default() }
}

/// A part of a message.
fn part(data: Data, text: &str, is_final: bool) -> Message {
    Message::Frame(Frame::message(text.to_owned().into_bytes(), OpCode::Data(data), is_final))
}

/// An echo that tells how many bytes came before it echoes, and keeps their memory until told.
async fn serve_keeping() -> (SocketAddr, mpsc::UnboundedReceiver<(usize, mpsc::Sender<()>)>) {
    let (arrivals, arrived) = mpsc::unbounded_channel();
    let addr = serve(config(), move |mut transport, _| {
        let arrivals = arrivals.clone();
        async move {
            while let Ok(Some(text)) = recv(&mut transport).await {
                let share = transport.take_share(text.len());
                assert_eq!(share.is_some(), text.len() > LARGE_MESSAGE_BYTES);
                let (release, mut released) = mpsc::channel(1);
                arrivals.send((text.len(), release)).expect("the test waits");
                released.recv().await;
                drop(share);
                transport.queue(RAW.encode(["done"]));
                flush(&mut transport).await.expect("an open connection");
            }
        }
    })
    .await;
    (addr, arrived)
}

#[tokio::test]
async fn one_waits_unread_until_the_memory_of_others_is_free() {
    let (addr, mut arrived) = serve_keeping().await;
    let mut first = connect(addr, "/websocket").await;
    let mut second = connect(addr, "/websocket").await;
    let mut third = connect(addr, "/websocket").await;
    // How long a message in parts becomes is not known, so it needs all that there is to be read.
    let text = "x".repeat(70_000);
    send(&mut first, part(Data::Text, &text, false)).await;
    send(&mut first, part(Data::Continue, &text, true)).await;
    let (bytes, release) = arrived.recv().await.expect("the first message");
    assert_eq!(bytes, 140_000);

    let text = "x".repeat(1 << 20);
    send(&mut second, Message::text(&text)).await;
    // Small ones need none.
    send(&mut third, Message::text("x".repeat(LARGE_MESSAGE_BYTES))).await;
    let (bytes, third_release) = arrived.recv().await.expect("the small one");
    assert_eq!(bytes, LARGE_MESSAGE_BYTES);
    third_release.send(()).await.expect("it waits");
    assert_eq!(next_text(&mut third).await, "done");
    assert!(arrived.try_recv().is_err(), "the second waits");

    release.send(()).await.expect("it waits");
    assert_eq!(next_text(&mut first).await, "done");
    let (bytes, release) = arrived.recv().await.expect("the second message");
    assert_eq!(bytes, 1 << 20);
    release.send(()).await.expect("it waits");
    assert_eq!(next_text(&mut second).await, "done");
}

#[tokio::test]
async fn several_fit_if_there_is_room() {
    let (addr, mut arrived) = serve_keeping().await;
    let mut clients = Vec::new();
    let mut releases = Vec::new();
    for _ in 0..3 {
        let mut client = connect(addr, "/websocket").await;
        send(&mut client, Message::text("x".repeat(300_000))).await;
        releases.push(arrived.recv().await.expect("a message").1);
        clients.push(client);
    }
    let mut fourth = connect(addr, "/websocket").await;
    send(&mut fourth, Message::text("x".repeat(300_000))).await;
    // A client that leaves gives back what it has.
    drop(clients.pop());
    drop(releases.pop());
    assert!(arrived.recv().await.is_some(), "the fourth message");
}

#[tokio::test]
async fn memory_that_nobody_takes_is_free_with_the_next_read() {
    let (addr, _) = serve_echo(config()).await;
    let mut clients = [connect(addr, "/websocket").await, connect(addr, "/websocket").await];
    let text = "x".repeat(1 << 20);
    for _ in 0..3 {
        for client in &mut clients {
            send(client, Message::text(&text)).await;
            assert_eq!(next_text(client).await, text);
        }
    }
}

#[cfg(feature = "compression")]
#[tokio::test]
async fn what_inflates_to_a_large_message_waits_as_well() {
    use super::compression::{Wire, deflate};

    let (addr, mut arrived) = serve_keeping().await;
    let mut first = connect(addr, "/websocket").await;
    send(&mut first, Message::text("x".repeat(1 << 20))).await;
    let (_, release) = arrived.recv().await.expect("the first message");

    let bomb = deflate(9, &vec![b'x'; 1 << 20]);
    assert!(bomb.len() < 10_000);
    let (mut wire, _) = Wire::open(addr, "/websocket", "permessage-deflate").await;
    wire.send(0xc1, &bomb).await;
    let (mut small, _) = Wire::open(addr, "/websocket", "permessage-deflate").await;
    small.send(0xc1, &deflate(9, &[b'x'; LARGE_MESSAGE_BYTES])).await;
    let (bytes, small_release) = arrived.recv().await.expect("what inflates to little");
    assert_eq!(bytes, LARGE_MESSAGE_BYTES);
    small_release.send(()).await.expect("it waits");
    assert_eq!(small.message().await.1, "done");
    assert!(arrived.try_recv().is_err(), "the bomb waits");

    release.send(()).await.expect("it waits");
    let (bytes, release) = arrived.recv().await.expect("the bomb");
    assert_eq!(bytes, 1 << 20);
    release.send(()).await.expect("it waits");
    assert_eq!(wire.message().await.1, "done");
}

#[cfg(feature = "sockjs")]
#[tokio::test]
async fn bodies_and_frames_of_sockjs_count() {
    let (addr, mut arrived) = serve_keeping().await;
    let mut first = connect(addr, "/sockjs/000/first/websocket").await;
    assert_eq!(next_text(&mut first).await, "o");
    // Two messages in a frame: the memory is split among them.
    let half = "x".repeat(70_000);
    send(&mut first, Message::text(format!("[{half:?},{half:?}]"))).await;
    let (bytes, release) = arrived.recv().await.expect("the first message");
    assert_eq!(bytes, 70_000);
    release.send(()).await.expect("it waits");
    let (bytes, release) = arrived.recv().await.expect("the second message of the frame");
    assert_eq!(bytes, 70_000);

    let mut second = connect(addr, "/websocket").await;
    send(&mut second, Message::text("x".repeat(1 << 20))).await;
    assert!(arrived.try_recv().is_err(), "it needs all there is");
    release.send(()).await.expect("it waits");
    let (_, release) = arrived.recv().await.expect("the message of the other client");
    release.send(()).await.expect("it waits");
}

#[tokio::test]
async fn who_is_not_polled_keeps_nothing_from_others() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let all = large.memory().ask(None, usize::MAX).await;
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    send(&mut client, Message::text("x".repeat(70_000))).await;
    assert!(futures::poll!(std::pin::pin!(recv(&mut socket))).is_pending());
    assert!(socket.is_held_back());
    // Without this, what is given back goes to the socket, whose task may not ask for long.
    assert!(futures::poll!(std::future::poll_fn(|cx| socket.poll_paused(cx))).is_pending());
    drop(all);
    let again = tokio::time::timeout(PATIENCE, large.memory().ask(None, usize::MAX))
        .await
        .expect("all of it");
    drop(again);
    assert!(!socket.is_held_back());
    let received = recv(&mut socket).await.expect("a sound message");
    assert_eq!(received.map(|text| text.len()), Some(70_000));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_drips_gives_its_memory_back() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    send(&mut client, part(Data::Text, &"x".repeat(LARGE_MESSAGE_BYTES + 4), false)).await;
    let begun = tokio::time::Instant::now();
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            send(&mut client, part(Data::Continue, "x", false)).await;
        }
    };
    let error = tokio::select! {
        received = recv(&mut socket) => received.unwrap_err(),
        () = dripping => unreachable!("it drips for ever"),
    };
    assert!(matches!(error, TransportError::TooSlow), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 10);
    let free =
        tokio::time::timeout(Duration::from_secs(1), large.memory().ask(None, usize::MAX)).await;
    assert!(free.is_ok(), "all of the memory");
}

/// Whether all of the memory is free within a second.
async fn is_free(large: &LargeMessages) -> bool {
    tokio::time::timeout(Duration::from_secs(1), large.memory().ask(None, usize::MAX)).await.is_ok()
}

/// Not polled for messages for as long as it is not given up.
async fn paused(transport: &mut impl Transport) -> TransportError {
    let paused = poll_fn(|cx| transport.poll_paused(cx));
    tokio::time::timeout(3 * PATIENCE + SECOND, paused).await.expect("it is given up")
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn who_announces_a_message_and_is_silent_gives_its_memory_back() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    send(&mut client, part(Data::Text, &"x".repeat(LARGE_MESSAGE_BYTES + 4), false)).await;
    let begun = tokio::time::Instant::now();
    let received = tokio::time::timeout(3 * PATIENCE + SECOND, recv(&mut socket)).await;
    let error = received.expect("it is given up").unwrap_err();
    assert!(matches!(error, TransportError::TooSlow), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert!(is_free(&large).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_read_on_gives_its_memory_back() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    send(&mut client, part(Data::Text, &"x".repeat(70_000), false)).await;
    assert!(futures::poll!(std::pin::pin!(recv(&mut socket))).is_pending());
    assert!(!is_free(&large).await);
    assert!(matches!(paused(&mut socket).await, TransportError::TooSlow));
    assert!(is_free(&large).await);
    let end = async { closed(&mut socket).await.expect("it closes") };
    let ((), (code, _)) = tokio::join!(end, async {
        let close = next_close(&mut client).await;
        drop(client);
        close
    });
    assert_eq!(code, 1008);
}

#[tokio::test]
async fn a_message_that_has_been_given_keeps_no_more_than_it_has() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    send(&mut client, part(Data::Text, &"x".repeat(70_000), false)).await;
    send(&mut client, part(Data::Continue, &"x".repeat(30_000), true)).await;
    assert!(recv(&mut socket).await.expect("a sound message").is_some());
    let rest = large.memory().ask(None, (1 << 20) - 100_000);
    let rest = tokio::time::timeout(PATIENCE, rest).await.expect("the rest is free");
    drop((rest, socket.take_share(usize::MAX).expect("its memory")));
    // In parts that turn out to be a small one, it needs none.
    send(&mut client, part(Data::Text, "x", false)).await;
    send(&mut client, part(Data::Continue, "x", true)).await;
    assert!(recv(&mut socket).await.expect("a sound message").is_some());
    assert!(is_free(&large).await && socket.take_share(1).is_none());
}

#[cfg(feature = "sockjs")]
#[tokio::test(start_paused = true)]
async fn a_frame_whose_messages_are_not_taken_gives_its_memory_back() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let (socket, mut client) = pipe(1 << 21).await;
    let socket = socket.with_large(Arc::clone(&large), None);
    let mut socket = crate::transport::sockjs::SockJs::new(socket, Duration::from_secs(45));
    let half = "x".repeat(50_000);
    send(&mut client, Message::text(format!("[{half:?},{half:?}]"))).await;
    assert!(recv(&mut socket).await.expect("a sound message").is_some());
    assert!(!is_free(&large).await, "the other half is there");
    assert!(matches!(paused(&mut socket).await, TransportError::TooSlow));
    assert!(is_free(&large).await);
}

#[tokio::test]
async fn nobody_has_memory_for_a_mere_header() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    let mut wire = vec![0x81, 0xff];
    wire.extend((1_u64 << 20).to_be_bytes());
    wire.extend([0; 4]);
    wire.extend([b'x'; LARGE_MESSAGE_BYTES]);
    client.get_mut().write_all(&wire).await.expect("an open connection");
    assert!(futures::poll!(std::pin::pin!(recv(&mut socket))).is_pending());
    assert_eq!(large.memory().taken(), 0, "it may still become a small one");
    client.get_mut().write_all(b"x").await.expect("an open connection");
    assert!(futures::poll!(std::pin::pin!(recv(&mut socket))).is_pending());
    assert_eq!(large.memory().taken(), 1 << 20, "as much as it announced");
    client
        .get_mut()
        .write_all(&vec![b'x'; (1 << 20) - LARGE_MESSAGE_BYTES - 1])
        .await
        .expect("an open connection");
    let text = recv(&mut socket).await.expect("a sound message").expect("a message");
    assert_eq!(text.len(), 1 << 20);
}

/// All the turns that there are.
fn all_turns(large: &LargeMessages) -> Vec<Turn> {
    std::iter::from_fn(|| large.turn(None).now_or_never()).collect()
}

#[tokio::test(start_paused = true)]
async fn who_has_sent_everything_is_not_too_slow_while_it_waits_for_its_turn() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let turns = all_turns(&large);
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    send(&mut client, Message::text("x".repeat(66_000))).await;
    let received = tokio::spawn(async move { recv(&mut socket).await });
    tokio::time::sleep(100 * SECOND).await;
    drop(turns);
    let received = received.await.expect("no panic").expect("in time");
    assert_eq!(received.map(|text| text.len()), Some(66_000));
}

#[tokio::test]
async fn up_to_64_kib_need_memory_and_no_turn() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let turns = all_turns(&large);
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    send(&mut client, Message::text("x".repeat(TURN_BYTES))).await;
    let received = tokio::time::timeout(PATIENCE, recv(&mut socket)).await.expect("no turn");
    assert_eq!(received.expect("a sound message").map(|text| text.len()), Some(TURN_BYTES));
    assert_eq!(large.memory().taken(), TURN_BYTES);
    send(&mut client, Message::text("x".repeat(TURN_BYTES + 1))).await;
    assert!(recv(&mut socket).now_or_never().is_none());
    drop(turns);
    let received = tokio::time::timeout(PATIENCE, recv(&mut socket)).await.expect("its turn");
    assert_eq!(received.expect("a sound message").map(|text| text.len()), Some(TURN_BYTES + 1));
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_address_are_read_between_those_of_another() {
    let large = Arc::new(LargeMessages::new(0, 32 << 20));
    let mut turns = all_turns(&large);
    let (read, mut messages) = mpsc::unbounded_channel();
    let mut clients = Vec::new();
    for last in [1; 20].into_iter().chain([2]) {
        let (socket, mut client) = pipe(1 << 17).await;
        let address = Some(Address::V4([192, 0, 2, last]));
        let mut socket = socket.with_large(Arc::clone(&large), address);
        send(&mut client, Message::text("x".repeat(66_000))).await;
        let read = read.clone();
        tokio::spawn(async move {
            recv(&mut socket).await.expect("a sound message").expect("a message");
            read.send(last).expect("the test waits");
        });
        clients.push(client);
        tokio::time::sleep(SECOND).await;
    }
    assert!(messages.try_recv().is_err(), "all wait for a turn");
    turns.pop();
    let mut order = Vec::new();
    for _ in 0..21 {
        order.push(messages.recv().await.expect("a message"));
    }
    assert_eq!(order[..2], [1, 2], "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_whole_message_that_is_not_taken_gives_its_memory_back_after_a_minute() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let _turns = all_turns(&large);
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    send(&mut client, Message::text("x".repeat(66_000))).await;
    let begun = tokio::time::Instant::now();
    let error = loop {
        // Asked for again and again, it has no more time.
        assert!(recv(&mut socket).now_or_never().is_none());
        if let Ok(error) = tokio::time::timeout(7 * SECOND, paused(&mut socket)).await {
            break error;
        }
    };
    assert!(matches!(error, TransportError::TooSlow), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert!(is_free(&large).await);
}

#[tokio::test(start_paused = true)]
async fn what_came_while_a_message_waited_for_memory_counts_as_come() {
    let large = Arc::new(LargeMessages::new(0, 1 << 20));
    let all = large.memory().ask(None, usize::MAX).await;
    let (socket, mut client) = pipe(1 << 21).await;
    let mut socket = socket.with_large(Arc::clone(&large), None);
    // Of the rest, which is 9 s.
    let text = "x".repeat(LARGE_MESSAGE_BYTES + 4464);
    send(&mut client, part(Data::Text, &text, false)).await;
    let received = tokio::spawn(async move { recv(&mut socket).await });
    tokio::time::sleep(100 * SECOND).await;
    drop(all);
    let begun = tokio::time::Instant::now();
    let error = received.await.expect("no panic").unwrap_err();
    assert!(matches!(error, TransportError::TooSlow), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 18);
}
