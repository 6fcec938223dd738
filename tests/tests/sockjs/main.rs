//! Every SockJS transport over real sockets, with requests like a browser's. The names follow the
//! sections of the SockJS protocol.

mod connection;
mod ddp;
mod http;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use ddp_server::sockjs::Connection;
use ddp_server::sockjs::SockJsConfig;
use ddp_server::sockjs::router;
use ddp_server::{Server, ServerConfig};
use futures::StreamExt;
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::http::answer;
use crate::http::get;
use crate::http::poll;
use crate::http::post;
use crate::http::request;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const NO_CACHE: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";

async fn echo(mut connection: Connection) {
    while let Some(text) = connection.recv().await {
        connection.send(&text).await;
    }
}

async fn close(connection: Connection) {
    connection.close(3000, "Go away!").await;
}

/// The services of the public test suite, with options chosen by the test.
async fn serve(change: impl Fn(&mut SockJsConfig)) -> SocketAddr {
    let mut options = SockJsConfig::default();
    options.response_bytes_max = 4096;
    change(&mut options);
    let app = Router::new()
        .merge(router("/echo", options.clone(), echo))
        .merge(router("/close", options, close));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn serve_default() -> SocketAddr {
    serve(|_| {}).await
}

#[tokio::test]
async fn protocol_simple_session() {
    let address = serve_default().await;
    assert_eq!(poll(address, "/echo/000/a/xhr").await, "o\n");
    for body in [r#"["a","b"]"#, "[]", r#"["\ud83d\ude00"]"#] {
        let sent = answer(address, "POST", "/echo/000/a/xhr_send", body).await;
        assert_eq!(sent, (204, String::new()));
    }
    // The server's name means nothing, and everything waiting comes at once.
    let frame = poll(address, "/echo/999/a/xhr").await;
    assert_eq!(frame, "a[\"a\",\"b\",\"\\ud83d\\ude00\"]\n");
}

#[tokio::test]
async fn protocol_close_session() {
    let address = serve_default().await;
    assert_eq!(poll(address, "/close/000/a/xhr").await, "o\n");
    for _ in 0..2 {
        assert_eq!(poll(address, "/close/000/a/xhr").await, "c[3000,\"Go away!\"]\n");
    }
    let sent = answer(address, "POST", "/close/000/a/xhr_send", r#"["a"]"#).await;
    assert_eq!(sent, (204, String::new()), "dropped without a word");
}

#[tokio::test]
async fn iframe_page() {
    let address = serve(|options| options.sockjs_url = "/mine.js".to_owned()).await;
    let mut page = get(address, "/echo/iframe-0.1.html?t=1").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=UTF-8"));
    assert_eq!(page.header("cache-control"), Some("public, max-age=31536000"));
    assert!(page.header("expires").is_some());
    let etag = page.header("etag").unwrap().to_owned();
    assert!(page.body().await.contains("<script src=\"/mine.js\">"));
    let known = format!("If-None-Match: {etag}\r\n");
    let unchanged = request(address, "GET", "/echo/iframe.html", &known, "").await;
    assert_eq!((unchanged.status, unchanged.header("content-type")), (304, None));
}

#[tokio::test]
async fn options_and_cors() {
    let address = serve_default().await;
    let origin = "Origin: https://app.example\r\nAccess-Control-Request-Headers: x-a\r\n";
    for transport in ["xhr", "xhr_streaming", "xhr_send"] {
        let path = format!("/echo/0/a/{transport}");
        let preflight = request(address, "OPTIONS", &path, origin, "").await;
        assert_eq!(preflight.status, 204);
        for (name, value) in [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "x-a"),
            ("access-control-allow-methods", "OPTIONS, POST"),
            ("access-control-max-age", "31536000"),
        ] {
            assert_eq!(preflight.header(name), Some(value), "{transport}");
        }
        let refused = get(address, &path).await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some("OPTIONS, POST")));
    }
    for transport in ["eventsource", "htmlfile", "jsonp"] {
        assert_eq!(post(address, &format!("/echo/0/a/{transport}"), "").await.status, 405);
    }
}

#[tokio::test]
async fn disable_cors() {
    let address = serve(|options| options.disable_cors = true).await;
    let origin = "Origin: https://app.example\r\n";
    for (method, path) in
        [("GET", "/echo/info"), ("POST", "/echo/0/a/xhr"), ("OPTIONS", "/echo/0/a/xhr")]
    {
        let response = request(address, method, path, origin, "").await;
        assert_eq!(response.header("access-control-allow-origin"), None, "{path}");
    }
    assert!(!get(address, "/echo/info").await.body().await.contains("origins"));
}

#[tokio::test]
async fn disabled_websocket() {
    let address = serve(|options| options.websocket = false).await;
    for path in ["/echo/websocket", "/echo/websocket/", "/echo/0/a/websocket"] {
        for headers in ["", HANDSHAKE] {
            let mut missing = request(address, "GET", path, headers, "").await;
            assert_eq!(missing.status, 404, "{path}");
            assert_eq!(missing.header("cache-control"), Some("public, max-age=31536000"));
            assert!(missing.header("expires").is_some());
            assert_eq!(missing.header("content-type"), Some("text/plain; charset=UTF-8"));
            assert_eq!(missing.body().await, "404 Error: Page not found\n");
        }
        let refused = request(address, "POST", path, HANDSHAKE, "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")), "{path}");
    }
    let info: Value = serde_json::from_str(&get(address, "/echo/info").await.body().await).unwrap();
    assert_eq!(info["websocket"], false);
    assert_eq!(poll(address, "/echo/0/a/xhr").await, "o\n", "the other transports are there");
    assert_eq!(post(address, "/echo/0/a/xhr_send", r#"["a"]"#).await.status, 204);
    assert_eq!(poll(address, "/echo/0/a/xhr").await, "a[\"a\"]\n");
}

/// Meteor intends raw clients to keep `/websocket` even if browsers are told to poll.
#[tokio::test]
async fn disabled_websocket_of_a_ddp_server() {
    for (enabled, status) in [(true, 101), (false, 404)] {
        let mut config = ServerConfig::default();
        config.sockjs.websocket = enabled;
        let server = Server::builder().config(config).build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { server.serve(listener).await });
        for path in ["/sockjs/websocket", "/sockjs/000/a/websocket"] {
            let answer = request(address, "GET", path, HANDSHAKE, "").await;
            assert_eq!(answer.status, status, "{path}");
        }
        assert_eq!(request(address, "GET", "/websocket", HANDSHAKE, "").await.status, 101);
        let info = get(address, "/sockjs/info").await.body().await;
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["websocket"], enabled);
    }
}

#[tokio::test]
async fn jsessionid_cookie() {
    let address = serve(|options| options.jsessionid = true).await;
    let fresh = post(address, "/echo/0/a/xhr", "").await;
    assert_eq!(fresh.header("set-cookie"), Some("JSESSIONID=dummy; path=/"));
    let known = "Cookie: a=b; JSESSIONID=abc\r\n";
    for (method, path) in [("GET", "/echo/0/b/eventsource"), ("POST", "/echo/0/b/xhr_send")] {
        let response = request(address, method, path, known, "").await;
        assert_eq!(response.header("set-cookie"), Some("JSESSIONID=abc; path=/"), "{path}");
    }
    let mut info = get(address, "/echo/info").await;
    assert_eq!(info.header("set-cookie"), None);
    assert!(info.body().await.contains(r#""cookie_needed":true"#));
}

#[tokio::test]
async fn xhr_send_answers() {
    let address = serve_default().await;
    assert_eq!(answer(address, "POST", "/echo/0/a/xhr_send", r#"["a"]"#).await.0, 404);
    assert_eq!(poll(address, "/echo/0/a/xhr").await, "o\n");
    for (body, text) in [
        ("", "Payload expected."),
        ("{}", "Payload expected."),
        (r#"["a"#, "Broken JSON encoding."),
        ("[1]", "Broken JSON encoding."),
    ] {
        let sent = answer(address, "POST", "/echo/0/a/xhr_send", body).await;
        assert_eq!(sent, (500, text.to_owned()), "{body}");
    }
    let length = ServerConfig::default().message_bytes_max + 1;
    let head =
        format!("POST /echo/0/a/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // The rest may meet a closed connection; the answer comes before that.
    let _ = stream.write_all(&vec![b' '; length]).await;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.unwrap();
    assert!(line.contains(" 413 "), "{line}");
    let sent = post(address, "/echo/0/a/xhr_send", r#"["still there"]"#).await;
    assert_eq!(sent.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(sent.header("cache-control"), Some(NO_CACHE));
    assert_eq!(poll(address, "/echo/0/a/xhr").await, "a[\"still there\"]\n");
}

#[tokio::test]
async fn xhr_streaming_until_the_response_limit() {
    let address = serve_default().await;
    let mut stream = post(address, "/echo/0/a/xhr_streaming", "").await;
    assert_eq!(stream.header("content-type"), Some("application/javascript; charset=UTF-8"));
    assert_eq!(stream.chunk().await, Some(format!("{}\n", "h".repeat(2048))));
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    let text = "x".repeat(128);
    for _ in 0..31 {
        let body = format!("[\"{text}\"]");
        assert_eq!(post(address, "/echo/0/a/xhr_send", &body).await.status, 204);
        assert_eq!(stream.chunk().await, Some(format!("a[\"{text}\"]\n")));
    }
    assert_eq!(stream.chunk().await, None);
    // The session continues with the next response.
    post(address, "/echo/0/a/xhr_send", r#"["next"]"#).await;
    let mut stream = post(address, "/echo/0/a/xhr_streaming", "").await;
    stream.chunk().await;
    assert_eq!(stream.chunk().await.as_deref(), Some("a[\"next\"]\n"));
}

#[tokio::test]
async fn proxies_are_told_to_pass_on_what_comes() {
    let address = serve_default().await;
    for (method, transport) in [
        ("POST", "xhr"),
        ("POST", "xhr_streaming"),
        ("GET", "eventsource"),
        ("GET", "htmlfile?c=x"),
        ("GET", "jsonp?c=x"),
    ] {
        // A second stream is refused while the first one is open, and is a stream itself.
        let session = transport.replace('?', "-");
        let path = format!("/echo/0/{session}/{transport}");
        let first = request(address, method, &path, "", "").await;
        for response in [&first, &request(address, method, &path, "", "").await] {
            assert_eq!(response.header("x-accel-buffering"), Some("no"), "{transport}");
            assert_eq!(response.header("cache-control"), Some(NO_CACHE), "{transport}");
        }
    }
}

#[tokio::test]
async fn eventsource_and_htmlfile_frames() {
    let address = serve_default().await;
    let mut events = get(address, "/echo/0/e/eventsource").await;
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert_eq!(events.header("cache-control"), Some(NO_CACHE));
    assert_eq!(events.chunk().await.as_deref(), Some("\r\n"));
    assert_eq!(events.chunk().await.as_deref(), Some("data: o\r\n\r\n"));
    post(address, "/echo/0/e/xhr_send", r#"["  \u0000\n 5%"]"#).await;
    let event = events.chunk().await;
    assert_eq!(event.as_deref(), Some("data: a[\"  \\u0000\\n 5%25\"]\r\n\r\n"));

    let mut page = get(address, "/echo/0/h/htmlfile?c=%63allback").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=UTF-8"));
    let head = page.chunk().await.unwrap();
    assert!(head.len() > 1024 && head.contains("parent.callback;"), "{head}");
    assert_eq!(page.chunk().await.as_deref(), Some("<script>\np(\"o\");\n</script>\r\n"));
    post(address, "/echo/0/h/xhr_send", r#"["</script>"]"#).await;
    let script = page.chunk().await;
    assert_eq!(
        script.as_deref(),
        Some("<script>\np(\"a[\\\"\\u003c/script>\\\"]\");\n</script>\r\n")
    );
}

#[tokio::test]
async fn jsonp_polling() {
    let address = serve_default().await;
    let mut script = get(address, "/echo/0/a/jsonp?c=%63allback").await;
    assert_eq!(script.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(script.body().await, "/**/callback(\"o\");\r\n");
    for (body, status, text) in [
        ("d=%5B%22x%22%5D", 200, "ok"),
        ("d=%5B%22x", 500, "Broken JSON encoding."),
        ("p=p", 500, "Payload expected."),
    ] {
        let mut sent = request(address, "POST", "/echo/0/a/jsonp_send", FORM, body).await;
        assert_eq!((sent.status, sent.body().await.as_str()), (status, text), "{body}");
    }
    let (_, frame) = answer(address, "GET", "/echo/0/a/jsonp?callback=x", "").await;
    assert_eq!(frame, "/**/x(\"a[\\\"x\\\"]\");\r\n");
    for transport in ["jsonp", "htmlfile"] {
        for (query, text) in [
            ("", "\"callback\" parameter required"),
            ("?c=abc%28", "invalid \"callback\" parameter"),
        ] {
            let path = format!("/echo/0/b/{transport}{query}");
            assert_eq!(answer(address, "GET", &path, "").await, (500, text.to_owned()));
        }
    }
}

#[tokio::test]
async fn a_second_receiver_is_refused_and_an_aborted_one_ends_the_session() {
    let address = serve_default().await;
    let mut first = post(address, "/echo/0/a/xhr_streaming", "").await;
    first.chunk().await;
    assert_eq!(first.chunk().await.as_deref(), Some("o\n"));
    const BUSY: &str = "c[2010,\"Another connection still open\"]\n";
    assert_eq!(poll(address, "/echo/0/a/xhr").await, BUSY);
    drop(first);
    let end = tokio::time::timeout(PATIENCE, async {
        loop {
            // The server may see the end of one connection and the start of another in any order.
            let frame = poll(address, "/echo/0/a/xhr").await;
            if frame != BUSY {
                return frame;
            }
        }
    });
    assert_eq!(end.await.unwrap(), "c[1002,\"Connection interrupted\"]\n");
}

#[tokio::test]
async fn heartbeats_and_the_disconnect_delay() {
    let mut options = SockJsConfig::default();
    options.heartbeat = Duration::from_millis(100);
    options.disconnect_delay = Duration::from_secs(2);
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let app = router("/echo", options, move |connection| {
        let ended = ended.clone();
        async move {
            echo(connection).await;
            // When the second session ends, the test has ended, too.
            let _ = ended.send(());
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    assert_eq!(poll(address, "/echo/0/a/xhr").await, "o\n");
    for _ in 0..4 {
        assert_eq!(poll(address, "/echo/0/a/xhr").await, "h\n");
    }
    tokio::time::timeout(PATIENCE, ends.recv()).await.expect("the end of the session");
    // Its name is free once it has ended.
    let next = async { while poll(address, "/echo/0/a/xhr").await != "o\n" {} };
    tokio::time::timeout(PATIENCE, next).await.expect("a new session of that name");
}

#[tokio::test]
async fn sessions_are_bounded() {
    let address = serve(|options| options.sessions_max = 1).await;
    assert_eq!(poll(address, "/echo/0/a/xhr").await, "o\n");
    assert_eq!(answer(address, "POST", "/echo/0/b/xhr", "").await.0, 503);
    assert_eq!(post(address, "/echo/0/a/xhr_send", r#"["a"]"#).await.status, 204);
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_the_application_up() {
    let (sent, mut progress) = tokio::sync::mpsc::unbounded_channel();
    let app = router("/flood", SockJsConfig::default(), move |mut connection: Connection| {
        let sent = sent.clone();
        async move {
            let text = "x".repeat(10_000);
            for number in 0..1000 {
                connection.send(&text).await;
                let _ = sent.send(number);
            }
            connection.close(3000, "done").await;
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    assert_eq!(poll(address, "/flood/0/a/xhr").await, "o\n");
    let mut last = 0;
    while let Ok(Some(number)) =
        tokio::time::timeout(Duration::from_millis(500), progress.recv()).await
    {
        last = number;
    }
    assert!(last < 30, "{last} messages of 10 kB do not fit into 256 KiB");
    let mut messages = 0;
    loop {
        let frame = poll(address, "/flood/0/a/xhr").await;
        if frame.starts_with('c') {
            assert_eq!(frame, "c[3000,\"done\"]\n");
            break;
        }
        assert!(frame.len() < 400_000);
        messages += frame.matches(",\"").count() + 1;
    }
    assert_eq!(messages, 1000);
}

#[tokio::test]
async fn websockets_with_and_without_framing() {
    let address = serve_default().await;
    for (path, frames) in [
        ("/close/websocket", &[][..]),
        ("/close/0/a/websocket", &["o", "c[3000,\"Go away!\"]"][..]),
    ] {
        let (mut socket, _) =
            tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await.unwrap();
        for frame in frames {
            assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), *frame);
        }
        let end = socket.next().await.unwrap().unwrap();
        assert!(end.is_close() && end.to_string().contains("Go away!"), "{end:?}");
    }
}
