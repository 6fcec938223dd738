//! Messages through the routes.

use std::sync::Arc;

use axum::http::HeaderValue;
use bytes::{Buf, Bytes};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;

#[tokio::test]
async fn raw_messages_come_back_in_order() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    for path in ["/websocket", "/websocket/", "/websocket?x=1"] {
        let mut client = connect(addr, path).await;
        for text in ["first", "", "h\u{e9}llo \u{1f600}", r#"{"msg":"connect"}"#] {
            send(&mut client, Message::text(text)).await;
            assert_eq!(next_text(&mut client).await, text);
        }
    }
}

#[tokio::test]
async fn binary_is_read_as_text() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let mut client = connect(addr, "/websocket").await;
    send(&mut client, Message::binary(&b"{\"msg\":\"ping\"}"[..])).await;
    assert_eq!(next_text(&mut client).await, r#"{"msg":"ping"}"#);
}

#[tokio::test]
async fn pipelined_messages_come_back_in_order() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let mut client = connect(addr, "/websocket").await;
    for number in 0..5000 {
        let text = Message::text(number.to_string());
        client.feed(text).await.expect("an open connection");
    }
    client.flush().await.expect("an open connection");
    for number in 0..5000 {
        assert_eq!(next_text(&mut client).await, number.to_string());
    }
}

#[tokio::test]
async fn the_handshake_s_buffer_is_given_back() {
    for rest in [0, 7] {
        let buffer = Bytes::from(vec![0; 8192]);
        let mut input = buffer.clone();
        input.advance(8192 - rest);
        let (server, _client) = tokio::io::duplex(64);
        let _socket = WebSocket::new(server, input, 1000);
        assert!(buffer.is_unique(), "with {rest} bytes beyond the request");
    }
}

#[tokio::test]
async fn a_mebibyte_comes_back() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let text: String = (0..1 << 20).map(|index| char::from(b'a' + (index % 23) as u8)).collect();
    let mut raw = connect(addr, "/websocket").await;
    send(&mut raw, Message::text(&text)).await;
    assert_eq!(next_text(&mut raw).await, text);
}

#[tokio::test]
async fn pings_are_answered_among_messages() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let mut client = connect(addr, "/websocket").await;
    for number in 0..100_u8 {
        send(&mut client, Message::Ping(vec![number; 125].into())).await;
        assert_eq!(next(&mut client).await, Message::Pong(vec![number; 125].into()));
        send(&mut client, Message::text("between")).await;
        assert_eq!(next_text(&mut client).await, "between");
    }
}

#[tokio::test]
async fn the_connection_is_described() {
    let (infos, mut described) = mpsc::unbounded_channel();
    let addr = serve(TransportConfig::default(), move |_, info| {
        infos.send(info).expect("the test waits");
        async {}
    })
    .await;
    let mut request = format!("ws://{addr}/websocket?t=1").into_client_request().expect("a URL");
    let forwarded = HeaderValue::from_static("192.0.2.1");
    request.headers_mut().insert("x-forwarded-for", forwarded);
    let client = connect_async(request).await.expect("a WebSocket").0;
    let MaybeTlsStream::Plain(stream) = client.get_ref() else {
        panic!("a plain stream was asked for");
    };
    let info = described.recv().await.expect("a description");
    assert_eq!(info.remote_addr, stream.local_addr().ok());
    assert_eq!(info.path, "/websocket");
    assert_eq!(info.headers.get("x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(info.protocol, "websocket-raw");
}

const REQUEST: &[u8] = b"GET /websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn frames_sent_along_with_the_request_are_not_lost() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    let frames = b"\x81\x85\0\0\0\0Hello\x88\x80\0\0\0\0";
    let bytes = [REQUEST, frames].concat();
    stream.write_all(&bytes).await.expect("an open connection");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an orderly end");
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    assert!(answer.ends_with(b"\r\n\r\n\x81\x05Hello\x88\0"), "{answer:x?}");
}

#[cfg(not(feature = "compression"))]
#[tokio::test]
async fn an_offer_of_compression_is_not_taken() {
    let (addr, _) = serve_echo(TransportConfig::default()).await;
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    let head = REQUEST.strip_suffix(b"\r\n").expect("the end of a head");
    // It is a compressed frame anyway.
    let rest = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n\xc1\x81\0\0\0\0x";
    stream.write_all(&[head, rest].concat()).await.expect("an open connection");
    let mut answer = Vec::new();
    while !answer.ends_with(b"Protocol error") {
        answer.push(stream.read_u8().await.expect("a close frame"));
    }
    assert!(answer.ends_with(b"\r\n\r\n\x88\x10\x03\xeaProtocol error"));
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 ") && !answer.contains("extensions"), "{answer}");
}

/// Upgrades over a stream served by hyper itself, and says what the transport looks like.
async fn upgrade_over<Io>(server: Io, mut client: impl AsyncRead + AsyncWrite + Unpin) -> String
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (shown, seen) = oneshot::channel();
    let shown = Arc::new(parking_lot::Mutex::new(Some(shown)));
    let app = router(TransportConfig::default(), move |transport, _| {
        let shown = shown.lock().take().expect("one connection");
        shown.send(format!("{transport:?}")).expect("the test waits");
        async {}
    });
    let service = TowerToHyperService::new(app);
    let builder = hyper::server::conn::http1::Builder::new();
    let connection = builder.serve_connection(TokioIo::new(server), service).with_upgrades();
    tokio::spawn(connection);
    client.write_all(REQUEST).await.expect("an open connection");
    seen.await.expect("an upgrade")
}

#[tokio::test]
async fn tcp_streams_are_unwrapped_whoever_serves_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound address");
    let client = TcpStream::connect(addr).await.expect("a connection");
    let server = listener.accept().await.expect("a client").0;
    assert!(upgrade_over(server, client).await.contains("io: Socket("));

    let (server, client) = duplex(4096);
    assert!(upgrade_over(server, client).await.contains("io: Other("));

    let (shown, mut seen) = mpsc::unbounded_channel();
    let addr = serve(TransportConfig::default(), move |transport, _| {
        shown.send(format!("{transport:?}")).expect("the test waits");
        async {}
    })
    .await;
    let _client = connect(addr, "/websocket").await;
    let transport = seen.recv().await.expect("an upgrade");
    assert!(transport.contains("io: Socket("), "{transport}");

    let (shown, mut seen) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound address");
    let app = router(TransportConfig::default(), move |transport, _| {
        shown.send(format!("{transport:?}")).expect("the test waits");
        async {}
    });
    tokio::spawn(crate::serve(listener, app).into_future());
    let _client = connect(addr, "/websocket").await;
    let transport = seen.recv().await.expect("an upgrade");
    assert!(transport.contains("io: Socket(") && transport.contains("Place"), "{transport}");
}
