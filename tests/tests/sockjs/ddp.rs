//! DDP over SockJS.

use std::net::SocketAddr;

use ddp_server::{MemoryCollection, Server, State};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::PATIENCE;
use crate::http::{poll, post};

async fn serve_ddp(server: &Server) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.clone();
    (address, tokio::spawn(async move { server.serve(listener).await }))
}

#[tokio::test]
async fn ddp_by_polling() {
    let server = Server::builder()
        .method("echo", async |State(()): State<()>| Ok::<_, ddp_server::Error>("hello"))
        .publish("nothing", async |State(()): State<()>| {
            MemoryCollection::<Value>::new(&ddp_server::Collection::new("nothing")).find()
        })
        .build();
    let (address, serving) = serve_ddp(&server).await;
    let path = "/sockjs/000/abcdefgh";
    assert_eq!(poll(address, &format!("{path}/xhr")).await, "o\n");
    let body = r#"["{\"msg\":\"connect\",\"version\":\"1\",\"support\":[\"1\"]}","{\"msg\":\"method\",\"id\":\"1\",\"method\":\"echo\",\"params\":[]}"]"#;
    assert_eq!(post(address, &format!("{path}/xhr_send"), body).await.status, 204);
    let mut seen = String::new();
    while !(seen.contains(r#"\"updated\""#) && seen.contains(r#"\"result\":\"hello\""#)) {
        seen.push_str(&poll(address, &format!("{path}/xhr")).await);
    }
    assert!(seen.starts_with(r#"a["{\"server_id\":\"0\"}""#), "{seen}");
    assert_eq!(server.connection_count(), 1);
    let mut waiting = post(address, &format!("{path}/xhr"), "").await;
    server.close().await;
    assert_eq!(waiting.body().await, "c[1001,\"server closed\"]\n");
    drop(waiting);
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn disconnect_ends_the_session_at_once() {
    let (closed, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::builder()
        .on_connection(move |connection| {
            let closed = closed.clone();
            connection.on_close(move || closed.send(()).expect("the test listens"));
        })
        .build();
    let (address, _) = serve_ddp(&server).await;
    for (session, first) in
        [("a", ""), ("b", r#""{\"msg\":\"connect\",\"version\":\"1\",\"support\":[\"1\"]}","#)]
    {
        let path = format!("/sockjs/000/{session}");
        assert_eq!(poll(address, &format!("{path}/xhr")).await, "o\n");
        let body = format!(r#"[{first}"{{\"msg\":\"disconnect\"}}","{{\"msg\":\"ping\"}}"]"#);
        assert_eq!(post(address, &format!("{path}/xhr_send"), &body).await.status, 204);
        let mut seen = String::new();
        while !seen.ends_with("c[1000,\"Normal closure\"]\n") {
            seen.push_str(&poll(address, &format!("{path}/xhr")).await);
        }
        assert!(!seen.contains("error") && !seen.contains("pong"), "{seen}");
        assert_eq!(seen.contains("connected"), !first.is_empty(), "{seen}");
    }
    // The first one was never connected.
    tokio::time::timeout(PATIENCE, ends.recv()).await.expect("the end of a connection");
    assert!(ends.is_empty());
    for path in ["/websocket", "/sockjs/0/c/websocket"] {
        let (mut socket, _) =
            tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await.unwrap();
        let leave = r#"{"msg":"disconnect"}"#;
        let text =
            if path == "/websocket" { leave.to_owned() } else { Value::from(leave).to_string() };
        socket.send(Message::text(text)).await.unwrap();
        let mut last = None;
        while let Some(Ok(message)) = socket.next().await {
            assert!(!message.to_string().contains("error"), "{message}");
            last = Some(message);
        }
        assert!(last.is_some_and(|last| last.is_close()), "{path}");
    }
    server.close().await;
}
