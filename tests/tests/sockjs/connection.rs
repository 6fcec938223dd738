//! What an application learns about its clients.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use ddp_server::sockjs::Connection;
use ddp_server::sockjs::Protocol;
use ddp_server::sockjs::SockJsConfig;
use ddp_server::sockjs::router;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::PATIENCE;

/// Serves an application that hands over its connections, with or without clients' addresses.
async fn serve(has_addresses: bool) -> (SocketAddr, mpsc::UnboundedReceiver<Connection>) {
    let (opened, connections) = mpsc::unbounded_channel();
    let told = router("/told", SockJsConfig::default(), move |connection| {
        let opened = opened.clone();
        async move {
            // A finished test does not listen any more.
            let _ = opened.send(connection);
        }
    });
    let app = Router::new().nest("/outer", told);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    if has_addresses {
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
    } else {
        tokio::spawn(async move { axum::serve(listener, app).await });
    }
    (address, connections)
}

/// Sends the head of a request with some interesting headers; the answer is not read.
async fn open(address: SocketAddr, method: &str, path: &str) -> TcpStream {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\
         Cookie: secret=1\r\nOrigin: https://app.example\r\nUser-Agent: test/1 (x: y)\r\n\
         X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn next(connections: &mut mpsc::UnboundedReceiver<Connection>) -> Connection {
    let next = tokio::time::timeout(PATIENCE, connections.recv()).await;
    next.expect("a connection in time").expect("the server runs")
}

#[tokio::test]
async fn each_transport_tells_the_same() {
    let (address, mut connections) = serve(true).await;
    let table = [
        ("GET", "/websocket", Protocol::RawWebSocket, "websocket-raw"),
        ("GET", "/000/a/websocket", Protocol::WebSocket, "websocket"),
        ("POST", "/000/b/xhr", Protocol::XhrPolling, "xhr-polling"),
        ("POST", "/000/c/xhr_streaming", Protocol::XhrStreaming, "xhr-streaming"),
        ("GET", "/000/d/eventsource", Protocol::EventSource, "eventsource"),
        ("GET", "/000/e/htmlfile", Protocol::HtmlFile, "htmlfile"),
        ("GET", "/000/f/jsonp", Protocol::JsonpPolling, "jsonp-polling"),
    ];
    for (method, path, protocol, name) in table {
        let path = format!("/outer/told{path}");
        let stream = open(address, method, &format!("{path}?c=x")).await;
        let connection = next(&mut connections).await;
        assert_eq!(connection.protocol(), protocol);
        assert_eq!(connection.protocol().to_string(), name);
        assert_eq!(connection.path(), path);
        assert_eq!(connection.prefix(), "/told");
        assert_eq!(connection.remote_addr(), stream.local_addr().ok(), "{name}");
        let headers: Vec<_> = connection.headers().iter().collect();
        let expected = [
            ("origin", "https://app.example"),
            ("x-forwarded-for", "192.0.2.1, 192.0.2.2"),
            ("host", "app.example"),
            ("user-agent", "test/1 (x: y)"),
        ];
        assert_eq!(headers, expected, "{name}");
        assert_eq!(connection.headers().get("User-Agent"), Some("test/1 (x: y)"));
    }
}

#[tokio::test]
async fn an_application_that_only_sends_ends_with_its_client() {
    let mut options = SockJsConfig::default();
    // Between two polls nothing else shows that a client has left.
    options.disconnect_delay = Duration::from_millis(200);
    let (told, mut news) = mpsc::unbounded_channel();
    let flood = router("/flood", options, move |mut connection: Connection| {
        let told = told.clone();
        async move {
            let text = "x".repeat(10_000);
            told.send("open").expect("the test waits");
            while connection.send(&text).await {}
            told.send("gone").expect("the test waits");
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, flood).await });
    for (method, path) in [
        ("GET", "/websocket"),
        ("GET", "/000/a/websocket"),
        ("POST", "/000/b/xhr"),
        ("POST", "/000/c/xhr_streaming"),
        ("GET", "/000/d/eventsource"),
        ("GET", "/000/e/htmlfile"),
        ("GET", "/000/f/jsonp"),
    ] {
        let mut next = async || tokio::time::timeout(PATIENCE, news.recv()).await;
        let stream = open(address, method, &format!("/flood{path}?c=x")).await;
        assert_eq!(next().await, Ok(Some("open")), "{path}");
        drop(stream);
        assert_eq!(next().await, Ok(Some("gone")), "{path}");
    }
}

#[tokio::test]
async fn without_connect_info_the_address_is_unknown() {
    let (address, mut connections) = serve(false).await;
    for (method, path) in [("GET", "/outer/told/websocket"), ("POST", "/outer/told/000/a/xhr")] {
        let _stream = open(address, method, path).await;
        assert_eq!(next(&mut connections).await.remote_addr(), None, "{path}");
    }
}
