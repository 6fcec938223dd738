//! Clients that begin something and do not go on.

use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};
use ddp_server::ServeConfig;

use super::*;

const SHORT: Duration = Duration::from_millis(400);

/// How much later than a deadline a busy machine may be.
const SLACK: Duration = Duration::from_secs(8);

/// Any router, with these limits.
async fn serve_router(config: ServeConfig) -> SocketAddr {
    let router = Router::new()
        .route("/", get(async || "fine"))
        .route("/length", post(async |body: String| body.len().to_string()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { ddp_server::serve(listener, router).config(config).await });
    address
}

fn limits(change: impl FnOnce(&mut ServeConfig)) -> ServeConfig {
    let mut config = ServeConfig::default();
    change(&mut config);
    config
}

#[tokio::test]
async fn a_connection_without_a_whole_request_is_closed() {
    let address = serve_router(limits(|limits| limits.header_timeout = SHORT)).await;
    for begin in ["", "GET", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let begun = Instant::now();
        let (read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        write.write_all(begin.as_bytes()).await.unwrap();
        let drips = !begin.is_empty();
        let drip = tokio::spawn(async move {
            // A byte now and then does not help; and who only listens does not either.
            while drips && write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SHORT / 8).await;
            }
            std::future::pending::<()>().await
        });
        rest_or_reset(read).await;
        let took = begun.elapsed();
        assert!(took >= SHORT && took < SHORT + SLACK, "{begin:?}: {took:?}");
        drip.abort();
    }
}

/// Waits until the server has closed. It may reset what it has not read.
async fn rest_or_reset(mut socket: impl AsyncRead + Unpin) {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "it is still open");
    assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
}

#[tokio::test]
async fn a_connection_between_two_requests_has_longer() {
    let config = limits(|limits| {
        limits.header_timeout = SHORT;
        limits.idle_timeout = 4 * SHORT;
    });
    let address = serve_router(config).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    for _ in 0..2 {
        assert!(ask(&mut socket, "/", "").await.starts_with("HTTP/1.1 200"));
        let mut body = [0; 4];
        socket.read_exact(&mut body).await.unwrap();
        // Longer than the first request may take.
        tokio::time::sleep(2 * SHORT).await;
    }
    assert!(begun.elapsed() >= 4 * SHORT);
    rest_or_reset(socket).await;
}

#[tokio::test]
async fn a_body_that_stops_is_given_up_and_one_that_keeps_coming_is_not() {
    let address = serve_router(limits(|limits| limits.body_timeout = SHORT)).await;
    let begin = |length: usize| async move {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        socket
    };
    let mut stops = begin(1000).await;
    stops.write_all(b"x").await.unwrap();
    let begun = Instant::now();
    let answer = rest(stops).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(begun.elapsed() < SHORT + SLACK);

    // 100 bytes each 20 ms are more than 500 in a second.
    let mut comes = begin(10_000).await;
    let begun = Instant::now();
    for _ in 0..100 {
        comes.write_all(&[b'x'; 100]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() > 2 * SHORT, "it took longer than a body of one byte may");
    let mut answer = vec![0; 12];
    comes.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_sockjs_body_that_stops_is_answered_with_408() {
    let server = server(|config| config.serve.body_timeout = SHORT);
    let address = serve(&server).await;
    let mut poll = TcpStream::connect(address).await.unwrap();
    let request = "POST /sockjs/000/a/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    poll.write_all(request.as_bytes()).await.unwrap();
    poll.read_u8().await.unwrap();
    let mut send = TcpStream::connect(address).await.unwrap();
    let request = "POST /sockjs/000/a/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[";
    send.write_all(request.as_bytes()).await.unwrap();
    let answer = rest(send).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    // Nothing is held by it.
    assert_eq!(status(address, "/sockjs/info", "").await, 200);
}

#[tokio::test]
async fn a_head_without_an_end_is_refused() {
    let address = serve_router(ServeConfig::default()).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(200_000));
    // It may be refused before all is sent.
    let _ = socket.write_all(head.as_bytes()).await;
    let mut answer = [0; 12];
    let read = tokio::time::timeout(PATIENCE, socket.read_exact(&mut answer)).await;
    if read.expect("the end").is_ok() {
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
    assert_eq!(status(address, "/", "").await, 200);
}

#[tokio::test]
async fn deadlines_may_be_as_far_as_one_likes() {
    let config = limits(|limits| {
        limits.header_timeout = Duration::MAX;
        limits.idle_timeout = Duration::MAX;
        limits.body_timeout = Duration::MAX;
        limits.response_timeout = Duration::MAX;
    });
    let address = serve_router(config).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    socket.write_all(b"ab").await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn only_http_1_is_spoken() {
    let address = serve_router(ServeConfig::default()).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let answer = rest(socket).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
}
