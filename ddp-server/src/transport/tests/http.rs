//! Requests that don't become transports.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use tower::ServiceExt;

use super::*;

async fn answer(app: Router, method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).expect("a request");
    let (parts, body) = app.oneshot(request).await.expect("an answer").into_parts();
    let body = to_bytes(body, 10_000).await.expect("a body");
    let body = String::from_utf8(body.to_vec()).expect("text");
    (parts.status, parts.headers, body)
}

fn app() -> Router {
    router(TransportConfig::default(), |_, _| async {
        panic!("no transport may open");
    })
}

/// Checks that requests are answered with these statuses and texts.
async fn assert_answers(table: &[(&str, &str, u16, &str)]) {
    for (method, path, status, text) in table {
        let (found, headers, body) = answer(app(), method, path).await;
        assert_eq!((found.as_u16(), body.as_str()), (*status, *text), "{method} {path}");
        assert_eq!(*status == 405, headers.contains_key(header::ALLOW), "{path}");
    }
}

const NO_WEBSOCKET: &str = "Not a valid websocket request";

#[tokio::test]
async fn statuses_and_texts() {
    assert_answers(&[
        ("GET", "/websocket", 400, NO_WEBSOCKET),
        ("GET", "/websocket/", 400, NO_WEBSOCKET),
        ("POST", "/websocket", 405, ""),
    ])
    .await;
}

#[tokio::test]
async fn other_paths_are_left_to_the_application() {
    let app = app().route("/mine", axum::routing::get(|| async { "mine" }));
    assert_eq!(answer(app.clone(), "GET", "/mine").await.2, "mine");
    for path in ["/", "/sockjsx", "/websockets", "/websocket/x"] {
        let (status, _, body) = answer(app.clone(), "GET", path).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, ""), "{path}");
    }
}

#[cfg(not(feature = "sockjs"))]
#[tokio::test]
async fn sockjs_is_left_to_the_application() {
    for path in ["/sockjs", "/sockjs/info", "/sockjs/websocket"] {
        assert_answers(&[("GET", path, 404, "")]).await;
    }
}

#[tokio::test]
async fn a_nested_router_tells_the_whole_path() {
    let (infos, mut described) = mpsc::unbounded_channel();
    let inner = router(TransportConfig::default(), move |_, info: ConnectionInfo| {
        infos.send(info.path).expect("the test waits");
        async {}
    });
    let app = Router::new().nest("/prefix", inner);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let _client = connect(addr, "/prefix/websocket").await;
    assert_eq!(described.recv().await.as_deref(), Some("/prefix/websocket"));
}

#[cfg(feature = "sockjs")]
mod sockjs {
    use super::*;

    #[tokio::test]
    async fn statuses_and_texts() {
        const UPGRADE: &str = "Can \"Upgrade\" only to \"WebSocket\".";
        const MISSING: &str = "404 Error: Page not found\n";
        assert_answers(&[
            ("GET", "/sockjs", 200, "Welcome to SockJS!\n"),
            ("GET", "/sockjs/", 200, "Welcome to SockJS!\n"),
            ("POST", "/sockjs/", 405, ""),
            ("POST", "/sockjs/info", 405, ""),
            ("OPTIONS", "/sockjs/info", 204, ""),
            ("GET", "/sockjs/nothing", 404, MISSING),
            ("GET", "/sockjs/info/more", 404, MISSING),
            ("GET", "/sockjs/a.b/c/websocket", 404, MISSING),
            ("GET", "/sockjs//c/websocket", 404, MISSING),
            ("GET", "/sockjs/websocket", 400, NO_WEBSOCKET),
            ("GET", "/sockjs/000/abcdefgh/websocket", 400, UPGRADE),
            ("POST", "/sockjs/000/abcdefgh/websocket", 405, ""),
        ])
        .await;
    }

    #[tokio::test]
    async fn info_is_json_below_any_prefix() {
        for (app, path) in [
            (app(), "/sockjs/info?t=123"),
            (app(), "/sockjs/info/"),
            (Router::new().nest("/prefix", app()), "/prefix/sockjs/info"),
        ] {
            let (status, headers, body) = answer(app, "GET", path).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            let json = "application/json; charset=UTF-8";
            assert_eq!(headers[header::CONTENT_TYPE], json);
            let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(body["websocket"], true);
        }
    }
}
