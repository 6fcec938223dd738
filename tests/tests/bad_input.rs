//! Whatever a client sends, it gets Meteor's answer and the server stays healthy.

use std::net::SocketAddr;
use std::time::Duration;

use ddp_server::{Collection, MemoryCollection, Server, ServerConfig, State};
use ddp_tests::{Client, Dice};
use futures::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const MESSAGE_BYTES_MAX: usize = 100_000;

/// A server with one publication and one method, each taking a string.
async fn serve() -> SocketAddr {
    let notes = MemoryCollection::<Value>::new(&Collection::new("notes"));
    let mut config = ServerConfig::default();
    config.message_bytes_max = MESSAGE_BYTES_MAX;
    let server = Server::builder()
        .config(config)
        .publish("notes", async |State(notes): State<MemoryCollection<Value>>| notes.find())
        .method("echo", echo)
        .with_state(notes);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    address
}

async fn echo(
    ddp_server::extract::Params((text,)): ddp_server::extract::Params<(String,)>,
) -> Result<String, ddp_server::Error> {
    Ok(text)
}

async fn open(address: SocketAddr) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let (mut socket, _) = connect_async(format!("ws://{address}/websocket")).await.unwrap();
    assert_eq!(text(socket.next().await), r#"{"server_id":"0"}"#);
    socket
}

fn text(message: Option<Result<Message, Error>>) -> String {
    match message {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("expected text, got {other:?}"),
    }
}

#[tokio::test]
async fn before_connect() {
    let address = serve().await;
    let mut socket = open(address).await;
    for (message, answer) in [
        ("", json!({"msg": "error", "reason": "Bad request"})),
        ("{", json!({"msg": "error", "reason": "Bad request"})),
        ("{}", json!({"msg": "error", "reason": "Bad request", "offendingMessage": {}})),
        (
            r#"{"msg":"ping"}"#,
            json!({
                "msg": "error",
                "reason": "Must connect first",
                "offendingMessage": {"msg": "ping"},
            }),
        ),
    ] {
        socket.send(Message::text(message)).await.unwrap();
        let answered: Value = serde_json::from_str(&text(socket.next().await)).unwrap();
        assert_eq!(answered, answer, "{message}");
    }
    socket.send(Message::text(r#"{"msg":"connect","version":"7","support":["7"]}"#)).await.unwrap();
    assert_eq!(text(socket.next().await), r#"{"msg":"failed","version":"1"}"#);
    match socket.next().await {
        Some(Ok(Message::Close(Some(_)))) => {}
        other => panic!("expected the end, got {other:?}"),
    }
}

#[tokio::test]
async fn malformed_and_mistyped_messages() {
    let mut client = Client::connect(serve().await).await;
    for (message, reason) in [
        (r#"{"msg":"method","id":"1"}"#, "Malformed method invocation"),
        (r#"{"msg":"sub","id":"1"}"#, "Malformed subscription"),
        (r#"{"msg":"sub","id":"1","name":"notes","params":1}"#, "Malformed subscription"),
        (r#"{"msg":"result","id":"1"}"#, "Bad request"),
        ("[1,2]", "Bad request"),
    ] {
        client.send_text(message.to_owned()).await;
        let answer: Value = serde_json::from_str(&client.next().await).unwrap();
        let offending: Value = serde_json::from_str(message).unwrap();
        let expected = json!({"msg": "error", "reason": reason, "offendingMessage": offending});
        assert_eq!(answer, expected);
    }
    for params in [json!([]), json!([1]), json!(["a", "b"]), json!([null]), json!([{"$date": 1}])] {
        let result = client.call("echo", params.clone()).await;
        assert_eq!(result["error"]["error"], 400, "{params}");
        assert_eq!(result["error"]["reason"], "Match failed");
    }
    assert_eq!(client.call("echo", json!(["\u{0}\u{ffff}"])).await["result"], "\u{0}\u{ffff}");
}

#[tokio::test]
async fn deep_nesting_is_refused_without_harm() {
    let mut client = Client::connect(serve().await).await;
    let deep = "[".repeat(40_000) + &"]".repeat(40_000);
    for (message, reason) in [
        (format!(r#"{{"msg":"method","id":"1","method":"echo","params":{deep}}}"#), "Parse error"),
        (format!(r#"{{"msg":"sub","id":"1","name":"notes","params":{deep}}}"#), "Parse error"),
        (deep.clone(), "Bad request"),
        (deep[..40_000].to_owned(), "Bad request"),
    ] {
        client.send_text(message).await;
        let answer = client.next().await;
        let head: String = answer.chars().take(80).collect();
        assert!(head.contains(reason), "{head}");
    }
    assert_eq!(client.call("echo", json!(["fine"])).await["result"], "fine");
}

#[tokio::test]
async fn binary_frames_are_text_and_huge_or_broken_ones_end_the_connection() {
    let address = serve().await;
    let mut socket = open(address).await;
    let connect = br#"{"msg":"connect","version":"1","support":["1"]}"#;
    socket.send(Message::binary(connect.to_vec())).await.unwrap();
    assert!(text(socket.next().await).starts_with(r#"{"msg":"connected""#));

    for (message, code) in [
        (Message::text("x".repeat(MESSAGE_BYTES_MAX + 1)), CloseCode::Size),
        (Message::binary(vec![0xff, 0xfe]), CloseCode::Invalid),
    ] {
        let mut socket = open(address).await;
        socket.send(message).await.unwrap();
        match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, code),
            other => panic!("expected {code}, got {other:?}"),
        }
    }
    Client::connect(address).await.close().await;
}

/// Messages somewhere between valid and random.
fn random_message(dice: &mut Dice) -> Message {
    let kinds = ["connect", "sub", "unsub", "method", "ping", "pong", "added", "x", ""];
    let values = [
        "1",
        "\"a\"",
        "null",
        "[]",
        "{}",
        "[1,{\"$date\":1}]",
        "\"1\"",
        "{\"$type\":\"x\"}",
        "1e999",
        "[\"x\"]",
        "\"\\ud800\"",
        "-0",
        "[[[[[[[[]]]]]]]]",
        "true",
        "{\"$binary\":\"!\"}",
    ];
    let keys =
        ["id", "name", "method", "params", "version", "support", "randomSeed", "session", "fields"];
    let mut text = format!(r#"{{"msg":"{}""#, dice.pick(&kinds));
    for _ in 0..dice.below(6) {
        text.push_str(&format!(r#","{}":{}"#, dice.pick(&keys), dice.pick(&values)));
    }
    text.push('}');
    let mut bytes = text.into_bytes();
    if dice.one_in(4) {
        for _ in 0..=dice.below(3) {
            let index = dice.below(bytes.len());
            match dice.below(3) {
                0 => bytes[index] = u8::try_from(dice.below(128)).unwrap(),
                1 => bytes.truncate(index + 1),
                _ => bytes.insert(index, b"{}[]\",:\\0"[dice.below(9)]),
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !dice.one_in(20) => Message::text(text),
        Ok(text) => Message::binary(text.into_bytes()),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

/// Sends random messages and waits until the server has answered the last one. Returns how many it
/// has certainly seen: none of a connection that it ended early.
async fn babble(socket: WebSocketStream<MaybeTlsStream<TcpStream>>, dice: &mut Dice) -> usize {
    let (mut sink, mut stream) = socket.split();
    let answers = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            let Message::Text(text) = message else { continue };
            // Not decoded: huge numbers and lone surrogates come back as they were sent.
            serde_json::from_str::<&RawValue>(&text).expect("answers are JSON");
            if text.contains(r#""id":"the end""#) {
                return true;
            }
        }
        false
    });
    if !dice.one_in(4) {
        let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
        sink.send(Message::text(connect)).await.unwrap();
    }
    let count = dice.below(2_000);
    for _ in 0..count {
        // The server closes a connection if it cannot agree on a version.
        if sink.send(random_message(dice)).await.is_err() {
            break;
        }
    }
    // Answered with a pong, or with an error if there was no `connect`.
    let _ = sink.send(Message::text(r#"{"msg":"ping","id":"the end"}"#)).await;
    let was_answered = tokio::time::timeout(Duration::from_secs(60), answers).await;
    if was_answered.expect("an answer or the end").unwrap() { count } else { 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_random_messages_later_the_server_is_healthy() {
    const MESSAGES: usize = 100_000;
    const CLIENTS: usize = 8;
    let address = serve().await;
    let seed = Dice::seed("bad_input");
    let clients = (0..CLIENTS).map(|number| {
        let mut dice = Dice::new(&seed, &number.to_string());
        tokio::spawn(async move {
            let mut sent = 0;
            while sent < MESSAGES / CLIENTS {
                sent += babble(open(address).await, &mut dice).await;
            }
        })
    });
    for client in futures::future::join_all(clients.collect::<Vec<_>>()).await {
        client.unwrap();
    }
    let mut client = Client::connect(address).await;
    client.subscribe("notes", json!([])).await;
    assert_eq!(client.call("echo", json!(["fine"])).await["result"], "fine");
    client.read_for(Duration::ZERO).await;
}
