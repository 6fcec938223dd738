//! DDP over SockJS.

use std::net::SocketAddr;

use ddp_server::extract::Subscription;
use ddp_server::{Collection, Error, MemoryCollection, Server, State};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
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
        .method("echo", async |State(()): State<()>| Ok::<_, Error>("hello"))
        .publish("nothing", async |State(()): State<()>| {
            MemoryCollection::<Value>::new(&Collection::new("nothing")).find()
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

/// What a client says, all at once, after `connect`.
const SAID: [&str; 3] = [
    r#"{"msg":"sub","id":"none","name":"none"}"#,
    r#"{"msg":"method","id":"1","method":"echo"}"#,
    r#"{"msg":"sub","id":"s","name":"three"}"#,
];

/// The frames with which it is answered, without that of the server's id: each by the `msg` of its
/// messages.
const ANSWERS: [(Option<&str>, &[&str]); 2] = [
    (None, &["connected nosub", "updated result", "added added added ready"]),
    // The client had a session.
    (Some("old"), &["connected", "nosub", "updated result", "added added added ready"]),
];

/// A client's messages as one SockJS frame.
fn said(session: Option<&str>) -> String {
    let connect = json!({"msg": "connect", "version": "1", "support": ["1"], "session": session});
    let messages = std::iter::once(connect.to_string());
    Value::from_iter(messages.chain(SAID.map(str::to_owned))).to_string()
}

async fn three(subscription: Subscription) -> Result<(), Error> {
    const NUMBERS: Collection<Value> = Collection::new("numbers");
    for id in ["a", "b", "c"] {
        subscription.added(&NUMBERS, id, &json!({}))?;
    }
    subscription.ready();
    Ok(())
}

fn order_server() -> Server {
    let numbers = MemoryCollection::<Value>::new(&Collection::new("numbers"));
    for id in ["a", "b", "c"] {
        numbers.insert_with_id(id, &json!({})).unwrap();
    }
    Server::builder()
        .method("echo", async |State(()): State<()>| Ok::<_, Error>("hello"))
        .publish("three", three)
        .publish("numbers", move |State(()): State<()>| std::future::ready(numbers.find()))
        .build()
}

/// The messages of a frame by their `msg`.
fn frame(text: &str) -> String {
    let array = text.trim_end().strip_prefix('a').expect("a frame with messages");
    let messages: Vec<String> = serde_json::from_str(array).expect("an array of strings");
    let message = |text: &String| serde_json::from_str::<Value>(text).expect("a message");
    let names = messages.iter().map(message).map(|message| match &message["msg"] {
        Value::String(msg) => msg.clone(),
        _ => "server_id".to_owned(),
    });
    names.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_meteors_client_would_let_overtake_waits_for_the_next_poll() {
    let server = order_server();
    let (address, _) = serve_ddp(&server).await;
    for (session, answers) in ANSWERS {
        let path = format!("/sockjs/000/{}", session.unwrap_or("new"));
        assert_eq!(poll(address, &format!("{path}/xhr")).await, "o\n");
        assert_eq!(post(address, &format!("{path}/xhr_send"), &said(session)).await.status, 204);
        for (index, answer) in answers.iter().enumerate() {
            // What has waited since the session was opened comes along.
            let server_id = if index == 0 { "server_id " } else { "" };
            let frame = frame(&poll(address, &format!("{path}/xhr")).await);
            assert_eq!(frame, format!("{server_id}{answer}"));
        }
    }
    server.close().await;
}

#[tokio::test]
async fn by_websocket_documents_that_come_together_share_a_frame() {
    let server = order_server();
    let (address, _) = serve_ddp(&server).await;
    let url = format!("ws://{address}/sockjs/0/a/websocket");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let text = said(None).replace("three", "numbers");
    socket.send(Message::text(text)).await.unwrap();
    let opened = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(opened.as_str(), "o");
    let answers = ["server_id", "connected", "nosub", "updated result", "added added added"];
    for answer in answers {
        let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
        assert_eq!(frame(&text), answer);
    }
    server.close().await;
}
