//! SockJS over WebSocket: messages and ends, and heartbeats on a clock that jumps.

use tokio::{io::AsyncWriteExt, time::Instant};

use super::*;
use crate::transport::sockjs::SockJs;

const PERIOD: Duration = Duration::from_secs(45);

/// Where SockJS begins and ends its frames.
const FRAMED: &str = "/sockjs/000/abcdefgh/websocket";

#[tokio::test(start_paused = true)]
async fn heartbeats_come_each_period() {
    let (socket, mut client) = pipe(1024).await;
    let start = Instant::now();
    let mut transport = SockJs::new(socket, PERIOD);
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
    let mut transport = SockJs::new(socket, PERIOD);
    transport.queue(RAW.encode([&*"x".repeat(100)]));
    let waiting = tokio::time::timeout(PERIOD * 100, recv(&mut transport));
    assert!(waiting.await.is_err(), "nothing was sent");
    // `o` is three bytes, the message 102, and the pipe has taken sixteen.
    assert_eq!(transport.queued_bytes(), 3 + 102 - 16);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn messages_flow_between_heartbeats() {
    let (socket, mut client) = pipe(1024).await;
    let mut transport = SockJs::new(socket, PERIOD);
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

#[tokio::test]
async fn messages_come_back_framed() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let mut client = connect(addr, FRAMED).await;
    assert_eq!(next_text(&mut client).await, "o");
    for ignored in ["", "[]"] {
        send(&mut client, Message::text(ignored)).await;
    }
    send(&mut client, Message::text(r#"["one","two \ud83d\ude00"]"#)).await;
    assert_eq!(next_text(&mut client).await, r#"a["one"]"#);
    assert_eq!(next_text(&mut client).await, r#"a["two \ud83d\ude00"]"#);
    send(&mut client, Message::text(r#""single""#)).await;
    assert_eq!(next_text(&mut client).await, r#"a["single"]"#);

    let text = "a mebibyte of it ".repeat((1 << 20) / 17);
    send(&mut client, Message::text(format!("[\"{text}\"]"))).await;
    assert_eq!(next_text(&mut client).await, format!("a[\"{text}\"]"));
}

#[tokio::test]
async fn a_raw_websocket_below_the_prefix_has_no_frames() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let mut client = connect(addr, "/sockjs/websocket").await;
    for text in ["first", "", "h\u{e9}llo \u{1f600}", r#"{"msg":"connect"}"#] {
        send(&mut client, Message::text(text)).await;
        assert_eq!(next_text(&mut client).await, text);
    }
}

#[tokio::test]
async fn shared_frames_reach_clients_of_either_framing() {
    let messages = ["one", "two"];
    let addr = serve(TransportConfig::default(), move |mut transport, _| async move {
        transport.queue(transport.framing().encode(messages));
        let end = echo(&mut transport).await;
        assert!(end.is_ok());
    })
    .await;
    let mut raw = connect(addr, "/websocket").await;
    assert_eq!(next_text(&mut raw).await, "one");
    assert_eq!(next_text(&mut raw).await, "two");
    let mut sockjs = connect(addr, "/sockjs/1/2/websocket").await;
    assert_eq!(next_text(&mut sockjs).await, "o");
    assert_eq!(next_text(&mut sockjs).await, r#"a["one","two"]"#);
}

#[tokio::test]
async fn the_connection_is_described() {
    let (infos, mut described) = mpsc::unbounded_channel();
    let addr = serve(TransportConfig::default(), move |_, info| {
        infos.send((info.path, info.protocol)).expect("the test waits");
        async {}
    })
    .await;
    for (path, protocol) in [(FRAMED, "websocket"), ("/sockjs/websocket", "websocket-raw")] {
        let _client = connect(addr, path).await;
        assert_eq!(described.recv().await, Some((path.to_owned(), protocol)));
    }
}

#[tokio::test]
async fn the_server_closes_with_code_and_reason() {
    let addr = serve(TransportConfig::default(), |mut transport, _| async move {
        transport.queue(transport.framing().encode(["last words"]));
        transport.close(1001, "restart");
        transport.queue(transport.framing().encode(["too late"]));
        closed(&mut transport).await.expect("an orderly end");
    })
    .await;
    let mut client = connect(addr, FRAMED).await;
    assert_eq!(next_text(&mut client).await, "o");
    assert_eq!(next_text(&mut client).await, r#"a["last words"]"#);
    assert_eq!(next_text(&mut client).await, r#"c[1001,"restart"]"#);
    assert_eq!(next_close(&mut client).await, (1001, "restart".to_owned()));
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn broken_framing_closes_like_sockjs_node() {
    let (addr, mut ended) = serve_echo(TransportConfig::default()).await;
    for broken in ["[", "{}", "x", r#"["sound"#] {
        let mut client = connect(addr, FRAMED).await;
        assert_eq!(next_text(&mut client).await, "o");
        send(&mut client, Message::text(broken)).await;
        assert_eq!(next_close(&mut client).await, (3000, "Broken framing.".to_owned()));
        assert!(client.next().await.is_none());
        let end = ended.recv().await;
        assert!(matches!(end, Some(Err(TransportError::SockJsFraming))));
    }
}

#[tokio::test]
async fn nothing_is_received_after_the_end() {
    let (server, mut client) = duplex(4096);
    let mut transport = SockJs::new(WebSocket::new(server, Default::default(), 1000), PERIOD);
    let bytes = b"\x81\x89\0\0\0\0[\"a\",\"b\"]";
    client.write_all(bytes).await.expect("an open pipe");
    assert!(matches!(recv(&mut transport).await, Ok(Some(text)) if text == "a"));
    transport.close(1000, "");
    assert!(matches!(recv(&mut transport).await, Ok(None)), "b is dropped");
}
