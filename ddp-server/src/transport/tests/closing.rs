//! Ends of connections, orderly or not.

use std::pin::pin;

use futures::poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use super::*;
use crate::transport::Violation;

#[tokio::test]
async fn the_clients_code_is_echoed() {
    let (addr, mut ended) = serve_echo(TransportConfig::default()).await;
    for code in [1000_u16, 1001, 1014, 3000, 4999] {
        let mut client = connect(addr, "/websocket").await;
        let frame = CloseFrame { code: code.into(), reason: "bye".into() };
        client.close(Some(frame)).await.expect("an open connection");
        assert_eq!(next_close(&mut client).await, (code, String::new()));
        assert!(client.next().await.is_none());
        assert!(matches!(ended.recv().await, Some(Ok(()))));
    }
}

#[tokio::test]
async fn codes_that_may_not_be_sent_are_answered() {
    let table: [(&[u8], &[u8]); 6] = [
        (b"\x88\x80\0\0\0\0", b"\x88\x00"),
        (b"\x88\x82\0\0\0\0\x03\xed", b"\x88\x00"),
        (b"\x88\x82\0\0\0\0\x03\xee", b"\x88\x02\x03\xea"),
        (b"\x88\x82\0\0\0\0\x00\x00", b"\x88\x02\x03\xea"),
        (b"\x88\x82\0\0\0\0\x03\xec", b"\x88\x02\x03\xea"),
        (b"\x88\x82\0\0\0\0\xff\xff", b"\x88\x02\x03\xea"),
    ];
    for (close, answer) in table {
        let (server, mut client) = duplex(4096);
        let mut socket = WebSocket::new(server, Default::default(), 1000);
        client.write_all(close).await.expect("an open pipe");
        assert!(matches!(echo(&mut socket).await, Ok(())), "{close:x?}");
        drop(socket);
        let mut answered = Vec::new();
        client.read_to_end(&mut answered).await.expect("an orderly end");
        assert_eq!(answered, answer, "{close:x?}");
    }
}

#[tokio::test]
async fn the_server_closes_with_code_and_reason() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let addr = serve(TransportConfig::default(), move |mut transport, _| {
        let ends = ends.clone();
        async move {
            transport.queue(transport.framing().encode(["last words"]));
            transport.close(1001, "restart");
            transport.close(1011, "only the first call counts");
            transport.queue(transport.framing().encode(["too late"]));
            ends.send(closed(&mut transport).await).expect("the test waits");
        }
    })
    .await;

    let mut raw = connect(addr, "/websocket").await;
    assert_eq!(next_text(&mut raw).await, "last words");
    assert_eq!(next_close(&mut raw).await, (1001, "restart".to_owned()));
    assert!(raw.next().await.is_none());
    assert!(matches!(ended.recv().await, Some(Ok(()))));
}

#[tokio::test]
async fn a_client_that_vanishes_has_closed() {
    let (addr, mut ended) = serve_echo(TransportConfig::default()).await;
    let mut stream = connect(addr, "/websocket").await.into_inner();
    // Half a frame: the rest will never come.
    stream.write_all(b"\x81\x85\0\0").await.expect("an open connection");
    stream.shutdown().await.expect("an open connection");
    assert!(matches!(ended.recv().await, Some(Ok(()))));
}

#[tokio::test]
async fn faults_are_told_to_the_client() {
    let config = TransportConfig { message_bytes_max: 1000, ..TransportConfig::default() };
    let (addr, mut ended) = serve_echo(config).await;

    let mut client = connect(addr, "/websocket").await;
    send(&mut client, Message::text("x".repeat(1000))).await;
    assert_eq!(next_text(&mut client).await.len(), 1000);
    // More than the sockets hold, so the server must read on for the client to hear it.
    let (mut sink, mut stream) = client.split();
    let sending = sink.send(Message::text("x".repeat(8 << 20)));
    let (_, heard) = tokio::join!(sending, stream.next());
    let Some(Ok(Message::Close(Some(frame)))) = heard else {
        panic!("no close frame but {heard:?}");
    };
    assert_eq!(frame.code, CloseCode::Size);
    drop((sink, stream));
    let end = ended.recv().await;
    assert!(matches!(end, Some(Err(TransportError::MessageTooBig { limit: 1000, .. }))));

    let table: [(&[u8], u16); 2] = [(b"\x81\x81\0\0\0\0\xff", 1007), (b"\x81\x05Hello", 1002)];
    for (bytes, code) in table {
        let mut client = connect(addr, "/websocket").await;
        client.get_mut().write_all(bytes).await.expect("an open connection");
        assert_eq!(next_close(&mut client).await.0, code);
        drop(client);
        let end = ended.recv().await.expect("an end");
        assert_eq!(end.expect_err("a fault").close().expect("a code").0, code);
    }
}

#[tokio::test]
async fn closing_ends_while_both_sides_are_stuck_in_writing() {
    let (mut socket, mut client) = pipe(1024).await;
    let text = "x".repeat(100_000);
    for _ in 0..10 {
        socket.queue(RAW.encode([text.as_str()]));
    }
    socket.close(1000, "done");
    let server = tokio::spawn(async move { closed(&mut socket).await });
    // The client reads nothing until it has written everything.
    for _ in 0..10 {
        send(&mut client, Message::text(&text)).await;
    }
    for _ in 0..10 {
        assert_eq!(next_text(&mut client).await, text);
    }
    assert_eq!(next_close(&mut client).await, (1000, "done".to_owned()));
    assert!(client.next().await.is_none());
    assert!(matches!(server.await, Ok(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_keeps_closing_pending() {
    let (mut socket, client) = pipe(1024).await;
    socket.close(1000, "");
    assert!(closed(&mut socket).await.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut));
    drop(client);
    assert!(closed(&mut socket).await.is_ok());
    assert!(closed(&mut socket).await.is_ok(), "asking again is harmless");
}

#[tokio::test]
async fn a_faulty_peer_is_read_until_it_hangs_up() {
    let (server, mut client) = duplex(4096);
    let mut socket = WebSocket::new(server, Default::default(), 1000);
    client.write_all(b"\x83\x80\0\0\0\0").await.expect("an open pipe");
    assert!(recv(&mut socket).await.is_err());
    assert!(poll!(pin!(closed(&mut socket))).is_pending());

    // Our half is shut down, so the peer sees an end while the socket lives.
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("an orderly end");
    assert_eq!(heard, b"\x88\x10\x03\xeaProtocol error");
    client.write_all(&[0xff; 2000]).await.expect("an open pipe");
    assert!(poll!(pin!(closed(&mut socket))).is_pending());
    drop(client);
    assert!(closed(&mut socket).await.is_ok());
}

#[tokio::test]
async fn violations_while_closing_end_it_too() {
    let (server, mut client) = duplex(4096);
    let mut socket = WebSocket::new(server, Default::default(), 1000);
    socket.close(1000, "");
    client.write_all(b"\x83\x80\0\0\0\0noise").await.expect("an open pipe");
    client.shutdown().await.expect("an open pipe");
    assert!(closed(&mut socket).await.is_ok());
    let mut heard = Vec::new();
    drop(socket);
    client.read_to_end(&mut heard).await.expect("an orderly end");
    assert_eq!(heard, b"\x88\x02\x03\xe8", "one close frame, not two");
}

#[tokio::test]
async fn nothing_is_received_after_the_end() {
    let (server, mut client) = duplex(4096);
    let mut socket = WebSocket::new(server, Default::default(), 1000);
    let bytes = b"\x83\x80\0\0\0\0\x81\x81\0\0\0\0x";
    client.write_all(bytes).await.expect("an open pipe");
    let error = recv(&mut socket).await;
    assert!(matches!(error, Err(TransportError::Violation(Violation::ReservedOpcode(3)))));
    assert!(matches!(recv(&mut socket).await, Ok(None)));
}
