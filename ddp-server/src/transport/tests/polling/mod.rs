//! SockJS sessions over HTTP, on a clock that jumps: no sockets, only requests and bodies.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    extract::ConnectInfo,
    http::Request,
};
use futures::FutureExt;
use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use super::*;
use crate::transport::{LargeMessages, sockjs::SockJsConfig};

mod closed;
mod crowd;
mod pieces;
mod silent;

/// Meteor's.
const HEARTBEAT: Duration = Duration::from_secs(45);
pub(crate) const DISCONNECT_DELAY: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const PRELUDE_BYTES: usize = 2049;
const INTERRUPTED: &str = "c[1002,\"Connection interrupted\"]\n";
const BUSY: &str = "c[2010,\"Another connection still open\"]\n";

/// The clients' side of an endpoint.
#[derive(Clone)]
pub(crate) struct Clients(pub(crate) Router);

/// An endpoint, and the transports that it has opened. Its clients may be silent for as long as they
/// may be away.
fn endpoint(mut config: TransportConfig) -> (Clients, mpsc::UnboundedReceiver<AnyTransport>) {
    config.sockjs.silent_delay = DISCONNECT_DELAY;
    let (opened, transports) = mpsc::unbounded_channel();
    let app = router(config, move |transport, _| {
        // A test that checks only the client has dropped the receiver.
        let _ = opened.send(transport);
        async {}
    });
    (Clients(app), transports)
}

/// An answer whose body is read chunk by chunk. Dropped before its end, it breaks off.
pub(crate) struct Answer {
    status: u16,
    body: BodyDataStream,
}

impl Answer {
    pub(crate) async fn chunk(&mut self) -> Option<String> {
        let chunk = timeout(2 * DAY, self.body.next()).await.expect("a chunk or the end");
        let chunk = chunk?.expect("bodies do not fail");
        Some(String::from_utf8(chunk.to_vec()).expect("text"))
    }

    async fn rest(mut self) -> String {
        let mut text = String::new();
        while let Some(chunk) = self.chunk().await {
            text.push_str(&chunk);
        }
        text
    }
}

impl Clients {
    async fn post(&self, path: &str, body: &str) -> Answer {
        let request = Request::post(format!("/sockjs/000/{path}"));
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let answer = timeout(2 * DAY, self.0.clone().oneshot(request)).await;
        let answer = answer.expect("an answer some day").expect("an answer");
        Answer { status: answer.status().as_u16(), body: answer.into_body().into_data_stream() }
    }

    /// The frame returned by one poll.
    pub(crate) async fn poll(&self, session: &str) -> String {
        self.post(&format!("{session}/xhr"), "").await.rest().await
    }

    /// A response with frames, after its prelude.
    pub(crate) async fn stream(&self, session: &str) -> Answer {
        let mut answer = self.post(&format!("{session}/xhr_streaming"), "").await;
        assert_eq!(answer.chunk().await.map(|prelude| prelude.len()), Some(PRELUDE_BYTES));
        answer
    }

    pub(crate) async fn send(&self, session: &str, body: &str) -> u16 {
        self.post(&format!("{session}/xhr_send"), body).await.status
    }
}

fn queue(transport: &mut AnyTransport, messages: &[&str]) {
    let frames = transport.framing().encode(messages.iter().copied());
    transport.queue(frames);
    // What waits for a receiver that is there is shown to it.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = transport.poll_flush(&mut cx);
}

/// Checks that this much time has passed, to the clock's millisecond.
#[track_caller]
pub(crate) fn assert_passed(since: Instant, expected: Duration) {
    let passed = since.elapsed();
    let late = passed.checked_sub(expected);
    assert!(late.is_some_and(|late| late < Duration::from_millis(10)), "{passed:?}");
}

#[test]
fn meteors_periods_are_the_default() {
    let options = SockJsConfig::default();
    assert_eq!((options.heartbeat, options.disconnect_delay), (HEARTBEAT, DISCONNECT_DELAY));
}

#[tokio::test(start_paused = true)]
async fn a_stream_beats_after_each_period_without_a_frame() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    let mut stream = clients.stream("a").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    let mut transport = transports.recv().await.expect("a session");
    let start = Instant::now();
    for beat in 1..=3 {
        assert_eq!(stream.chunk().await.as_deref(), Some("h\n"));
        assert_passed(start, HEARTBEAT * beat);
    }
    // Each frame is a sign of life, so the next heartbeat comes a period later.
    for number in 0..5 {
        sleep(HEARTBEAT - SECOND).await;
        let text = number.to_string();
        queue(&mut transport, &[&text]);
        assert_eq!(stream.chunk().await, Some(format!("a[\"{text}\"]\n")));
    }
    let last = Instant::now();
    assert_eq!(stream.chunk().await.as_deref(), Some("h\n"));
    assert_passed(last, HEARTBEAT);
}

#[tokio::test(start_paused = true)]
async fn a_beat_answers_a_poll() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(clients.poll("a").await, "h\n");
        assert_passed(start, HEARTBEAT);
        // There are no heartbeats between two polls.
        sleep(DISCONNECT_DELAY - SECOND).await;
    }
    queue(&mut transport, &["at once"]);
    let start = Instant::now();
    assert_eq!(clients.poll("a").await, "a[\"at once\"]\n");
    assert_passed(start, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_delay_begins_when_the_last_receiver_leaves() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    for _ in 0..3 {
        sleep(DISCONNECT_DELAY - SECOND).await;
        let frame = clients.poll("a").await;
        assert_eq!(frame, "h\n", "a poll a second before the end is in time");
    }
    // Sending does not show that the client is there to receive, as in sockjs-node.
    let left = Instant::now();
    for _ in 0..5 {
        sleep(10 * SECOND).await;
        let (sent, received) = tokio::join!(clients.send("a", "[\"x\"]"), recv(&mut transport));
        assert!(matches!((sent, received), (204, Ok(Some(text))) if text == "x"));
    }
    assert!(matches!(recv(&mut transport).await, Ok(None)));
    assert_passed(left, DISCONNECT_DELAY);
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_receiver_lives_on() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    let mut stream = clients.stream("a").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    let mut transport = transports.recv().await.expect("a session");
    assert!(timeout(DAY, recv(&mut transport)).await.is_err(), "it has not ended");
    assert_eq!(stream.chunk().await.as_deref(), Some("h\n"));
    queue(&mut transport, &["still"]);
    assert_eq!(stream.chunk().await.as_deref(), Some("a[\"still\"]\n"));
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_end_of_a_frame_is_for_the_next_one() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    let mut stream = clients.stream("a").await;
    let mut streaming = transports.recv().await.expect("a session");
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    assert_eq!(clients.poll("b").await, "o\n");
    let mut polling = transports.recv().await.expect("a session");
    for transport in [&mut streaming, &mut polling] {
        transport.end_frame();
        for messages in [&["1"][..], &["2", "3"], &["|"], &["4"], &["|"], &["|"], &["5"]] {
            match messages {
                ["|"] => transport.end_frame(),
                messages => queue(transport, messages),
            }
        }
        transport.close(1000, "done");
    }
    for frame in ["a[\"1\",\"2\",\"3\"]\n", "a[\"4\"]\n", "a[\"5\"]\n", "c[1000,\"done\"]\n"] {
        assert_eq!(clients.poll("b").await, frame);
        assert_eq!(stream.chunk().await.as_deref(), Some(frame));
    }
    assert_eq!(polling.queued_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_receiver_is_turned_away_and_the_first_goes_on() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    for streaming in [false, true] {
        let session = if streaming { "streaming" } else { "polling" };
        assert_eq!(clients.poll(session).await, "o\n");
        let mut transport = transports.recv().await.expect("a session");
        let mut first = match streaming {
            true => clients.stream(session).await,
            false => clients.post(&format!("{session}/xhr"), "").await,
        };
        for _ in 0..3 {
            assert_eq!(clients.poll(session).await, BUSY);
            assert_eq!(clients.stream(session).await.rest().await, BUSY);
            sleep(SECOND).await;
        }
        queue(&mut transport, &["for the first"]);
        assert_eq!(first.chunk().await.as_deref(), Some("a[\"for the first\"]\n"));
        if !streaming {
            // Its response is complete, so there is room for the next, whenever it is dropped.
            queue(&mut transport, &["for the next"]);
            assert_eq!(clients.poll(session).await, "a[\"for the next\"]\n");
            drop(first);
            queue(&mut transport, &["and the next"]);
            assert_eq!(clients.poll(session).await, "a[\"and the next\"]\n");
        }
    }
}

/// Memory for one large message.
fn for_one() -> TransportConfig {
    let config = TransportConfig::default();
    let large = Arc::new(LargeMessages::new(0, config.message_bytes_max));
    TransportConfig { large, ..config }
}

#[tokio::test(start_paused = true)]
async fn a_large_body_waits_for_memory_and_a_small_one_does_not() {
    let config = for_one();
    let all = config.large.memory().ask(None, usize::MAX).await;
    let (clients, mut transports) = endpoint(config);
    assert_eq!(clients.poll("session").await, "o\n");
    let mut transport = transports.recv().await.expect("a transport");

    let large = format!("[{:?}]", "x".repeat(70_000));
    let mut sending = std::pin::pin!(clients.send("session", &large));
    // Everything that could be done is done before the clock moves.
    assert!(timeout(Duration::from_secs(1), &mut sending).await.is_err());
    let small = format!("[{:?}]", "x".repeat(16_000));
    let (status, text) = tokio::join!(clients.send("session", &small), recv(&mut transport));
    assert_eq!(status, 204);
    assert_eq!(text.expect("a message").map(|text| text.len()), Some(16_000));
    assert!(transport.take_share(16_000).is_none());

    drop(all);
    let (status, text) = tokio::join!(sending, recv(&mut transport));
    assert_eq!(status, 204);
    assert_eq!(text.expect("a message").map(|text| text.len()), Some(70_000));
    assert!(transport.take_share(70_000).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_large_body_that_drips_gives_its_memory_back() {
    let config = for_one();
    let large = Arc::clone(&config.large);
    let (clients, mut transports) = endpoint(config);
    assert_eq!(clients.poll("session").await, "o\n");
    let _transport = transports.recv().await.expect("a transport");

    let begun = Instant::now();
    let first =
        futures::stream::iter([Ok::<_, Infallible>("[\"".to_owned() + &"x".repeat(70_000))]);
    let drops = futures::stream::unfold((), |()| async {
        sleep(Duration::from_secs(1)).await;
        Some((Ok("x".repeat(500)), ()))
    });
    let body = Body::from_stream(first.chain(drops));
    let request = Request::post("/sockjs/000/session/xhr_send").body(body).expect("a request");
    let answer = clients.0.clone().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 408);
    assert_passed(begun, Duration::from_secs(60));
    let free = timeout(Duration::from_secs(1), large.memory().ask(None, usize::MAX)).await;
    assert!(free.is_ok(), "all of the memory");
}

#[tokio::test(start_paused = true)]
async fn large_bodies_of_one_address_are_read_between_those_of_another() {
    let config = TransportConfig::default();
    let large = Arc::clone(&config.large);
    let mut turns: Vec<_> = std::iter::from_fn(|| large.turn(None).now_or_never()).collect();
    let (clients, mut transports) = endpoint(config);
    assert_eq!(clients.poll("session").await, "o\n");
    let mut transport = transports.recv().await.expect("a transport");
    for last in [1; 5].into_iter().chain([2]) {
        let peer = ConnectInfo(SocketAddr::from(([192, 0, 2, last], 40_000)));
        let body = format!("[{:?}]", last.to_string().repeat(70_000));
        let request = Request::post("/sockjs/000/session/xhr_send").extension(peer);
        let request = request.body(Body::from(body)).expect("a request");
        tokio::spawn(clients.0.clone().oneshot(request));
        sleep(SECOND).await;
    }
    turns.pop();
    for first in ["1", "2", "1"] {
        let text = recv(&mut transport).await.expect("a sound message").expect("a message");
        assert!(text.starts_with(first), "one of {first} and not of {}", &text[..1]);
    }
}

/// All of the memory, if it is free within a second.
async fn is_free(large: &LargeMessages) -> bool {
    timeout(SECOND, large.memory().ask(None, usize::MAX)).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_that_nobody_takes_gives_its_memory_back() {
    let config = for_one();
    let large = Arc::clone(&config.large);
    let (clients, mut transports) = endpoint(config);
    assert_eq!(clients.poll("session").await, "o\n");
    let mut transport = transports.recv().await.expect("a transport");
    let receiving = clients.stream("session").await;
    let half = "x".repeat(50_000);
    assert_eq!(clients.send("session", &format!("[{half:?},{half:?}]")).await, 204);
    assert!(recv(&mut transport).await.expect("a sound message").is_some());
    assert!(!is_free(&large).await, "the other half is there");
    let begun = Instant::now();
    let error = timeout(DAY, poll_fn(|cx| transport.poll_paused(cx))).await.expect("an end");
    assert!(matches!(error, TransportError::TooSlow), "{error}");
    assert_passed(begun, Duration::from_secs(60));
    // The session itself is kept for a while.
    drop(transport);
    assert!(is_free(&large).await);
    assert!(receiving.rest().await.ends_with(INTERRUPTED));
}

fn limited(response_bytes_max: usize) -> TransportConfig {
    let sockjs = SockJsConfig { response_bytes_max, ..SockJsConfig::default() };
    TransportConfig { sockjs, ..TransportConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn a_response_ends_with_the_frame_that_reaches_the_limit() {
    let (clients, mut transports) = endpoint(limited(100));
    let mut stream = clients.stream("a").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    let mut transport = transports.recv().await.expect("a session");
    // Two of the hundred bytes are spent, and a frame has six besides its text.
    queue(&mut transport, &[&"x".repeat(91)]);
    assert_eq!(stream.chunk().await.map(|frame| frame.len()), Some(97));
    queue(&mut transport, &["over"]);
    assert_eq!(stream.chunk().await.as_deref(), Some("a[\"over\"]\n"));
    assert_eq!(stream.chunk().await, None);
    for text in ["x".repeat(94), "x".repeat(1000)] {
        let mut stream = clients.stream("a").await;
        queue(&mut transport, &[&text]);
        assert_eq!(stream.chunk().await, Some(format!("a[\"{text}\"]\n")));
        assert_eq!(stream.chunk().await, None);
    }
}

/// Sends numbered messages of some lengths while a client streams, one response after another, and
/// returns what the client has seen.
async fn stream_all(response_bytes_max: usize, lengths: &[usize]) -> Vec<String> {
    let (clients, mut transports) = endpoint(limited(response_bytes_max));
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    let texts = lengths.iter().enumerate().map(|(number, length)| {
        let padding = "x".repeat(*length);
        format!("{number} {padding}")
    });
    let texts: Vec<String> = texts.collect();
    let sending = tokio::spawn(async move {
        for (number, text) in texts.iter().enumerate() {
            queue(&mut transport, &[text]);
            // Some are sent together, before the client sees any.
            if number % 4 == 3 {
                tokio::task::yield_now().await;
            }
        }
        transport.close(3000, "all");
    });
    let mut seen = Vec::new();
    loop {
        let response = clients.stream("a").await.rest().await;
        for frame in response.lines() {
            if let Some(messages) = frame.strip_prefix('a') {
                let messages: Vec<String> = serde_json::from_str(messages).expect("JSON");
                seen.extend(messages);
            } else {
                assert_eq!(frame, "c[3000,\"all\"]");
                sending.await.expect("no panic");
                return seen;
            }
        }
    }
}

proptest! {
    #[test]
    fn responses_one_after_another_bring_each_message_once(
        response_bytes_max in 1..2000_usize,
        lengths in prop::collection::vec(0..300_usize, 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().expect("a runtime");
        let seen = runtime.block_on(stream_all(response_bytes_max, &lengths));
        let seen: Vec<(usize, usize)> = seen.iter().map(|text| {
            let (number, padding) = text.split_once(' ').expect("a number");
            (number.parse().expect("a number"), padding.len())
        }).collect();
        prop_assert_eq!(seen, lengths.into_iter().enumerate().collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_between_two_polls_comes_with_the_next() {
    let (clients, mut transports) = endpoint(TransportConfig::default());
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    for _ in 0..3 {
        queue(&mut transport, &["one", "two"]);
        sleep(DISCONNECT_DELAY / 2).await;
        queue(&mut transport, &["three"]);
        assert!(transport.queued_bytes() > 0, "the application sees how much waits");
        assert!(transport.kept_bytes() > transport.queued_bytes(), "and what it takes");
        assert_eq!(clients.poll("a").await, "a[\"one\",\"two\",\"three\"]\n");
        assert_eq!((transport.queued_bytes(), transport.kept_bytes()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_application_is_bounded() {
    let config = TransportConfig { message_bytes_max: 1000, ..TransportConfig::default() };
    let (clients, mut transports) = endpoint(config);
    assert_eq!(clients.poll("a").await, "o\n");
    let mut transport = transports.recv().await.expect("a session");
    let body = format!("[\"{}\"]", "x".repeat(400));
    // An application that does not read is waited for, but not for long.
    for _ in 0..2 {
        let start = Instant::now();
        assert_eq!(clients.send("a", &body).await, 204);
        assert_passed(start, SECOND);
    }
    // Nor is a third one accepted before there is room.
    let third = clients.clone();
    let third = tokio::spawn(async move { third.send("a", &body).await });
    sleep(DISCONNECT_DELAY / 2).await;
    assert!(!third.is_finished());
    for _ in 0..3 {
        assert!(matches!(recv(&mut transport).await, Ok(Some(text)) if text.len() == 400));
    }
    let start = Instant::now();
    assert!(timeout(SECOND / 10, recv(&mut transport)).await.is_err(), "there is no fourth");
    assert_eq!(third.await.expect("no panic"), 204);
    assert_passed(start, SECOND / 10);
}
