//! Pages of other origins.

use ddp_server::Origins;
use ddp_server::extract::Connection;
use ddp_server::{Error, Server};
use ddp_tests::Peer;
use serde_json::json;

use super::*;

const MINE: &str = "Origin: https://app.example\r\n";
const OTHER: &str = "Origin: https://evil.example\r\n";

/// What browsers send for a script or frame in a page of another origin.
const CROSS: &str = "Sec-Fetch-Site: cross-site\r\nReferer: https://evil.example/\r\n";

async fn serve_mine() -> SocketAddr {
    let server = server(|config| {
        config.allowed_origins = Origins::only(["https://app.example"]).unwrap();
    });
    serve(&server).await
}

#[tokio::test]
async fn websockets_of_other_pages_are_refused() {
    let address = serve_mine().await;
    for path in ["/websocket", "/sockjs/websocket", "/sockjs/000/a/websocket"] {
        for (origin, expected) in [(MINE, 101), (OTHER, 403), ("", 101), ("Origin: null\r\n", 403)]
        {
            let headers = format!("{origin}{HANDSHAKE}");
            assert_eq!(status(address, path, &headers).await, expected, "{path} {origin}");
        }
    }
}

#[tokio::test]
async fn sockjs_of_other_pages_is_refused_and_has_no_cors() {
    let address = serve_mine().await;
    for path in [
        "/sockjs/info",
        "/sockjs/000/a/eventsource",
        "/sockjs/000/b/htmlfile?c=x",
        "/sockjs/000/c/jsonp?c=x",
    ] {
        for refused in [OTHER, CROSS] {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let head = ask(&mut socket, path, refused).await;
            assert!(head.starts_with("HTTP/1.1 403"), "{path}: {head}");
            assert!(!head.contains("access-control-allow-origin"), "{path}: {head}");
        }
        assert_eq!(status(address, path, MINE).await, 200, "{path}");
        assert_eq!(status(address, path, "Sec-Fetch-Site: same-origin\r\n").await, 200, "{path}");
    }
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = ask(&mut socket, "/sockjs/info", MINE).await;
    assert!(head.contains("access-control-allow-origin: https://app.example\r\n"), "{head}");
    // Through the frame of another page its scripts would speak from here.
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = ask(&mut socket, "/sockjs/iframe.html", CROSS).await;
    let policy = "content-security-policy: frame-ancestors 'self' https://app.example\r\n";
    assert!(head.starts_with("HTTP/1.1 200") && head.contains(policy), "{head}");
}

#[tokio::test]
async fn any_page_may_connect_by_default_and_its_origin_is_known() {
    let server = Server::builder()
        .method("origin", async |connection: Connection| {
            Ok::<_, Error>(connection.headers().get("origin").map(str::to_owned))
        })
        .build();
    let address = serve(&server).await;
    let mut peer = Peer::connect_with(address, &[("origin", "https://evil.example")]).await;
    assert_eq!(peer.call("origin", json!([])).await["result"], "https://evil.example");
    assert_eq!(status(address, "/sockjs/info", CROSS).await, 200);
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = ask(&mut socket, "/sockjs/iframe.html", CROSS).await;
    assert!(!head.contains("content-security-policy"), "{head}");
}
