//! Cookies of handshakes, by whichever transport.

use std::sync::Arc;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::*;
use crate::transport::Origins;

fn config() -> TransportConfig {
    let origins = Origins::only(["https://app.example"]).expect("an origin");
    let cookies = Arc::new([Arc::from("sessionid")]);
    TransportConfig { origins, cookies, ..TransportConfig::default() }
}

/// Hands on what connections have of the cookie.
fn told(
    cookies: mpsc::UnboundedSender<Option<String>>,
) -> impl Fn(AnyTransport, ConnectionInfo) -> std::future::Ready<()> + Clone + Send + Sync + 'static
{
    move |_, info| {
        // The test may have seen enough.
        let _ = cookies.send(info.cookies.get("sessionid").map(str::to_owned));
        std::future::ready(())
    }
}

#[tokio::test]
async fn websockets_of_allowed_pages_keep_the_cookie() {
    let (cookies, mut kept) = mpsc::unbounded_channel();
    let addr = serve(config(), told(cookies)).await;
    let mut paths = vec!["/websocket"];
    if cfg!(feature = "sockjs") {
        paths.extend(["/sockjs/websocket", "/sockjs/000/a/websocket"]);
    }
    for path in paths {
        for (origin, expected) in [(Some("https://app.example"), Some("abc")), (None, None)] {
            let mut request = format!("ws://{addr}{path}").into_client_request().expect("a URL");
            let headers = request.headers_mut();
            headers.insert("cookie", HeaderValue::from_static("a=b; sessionid=abc"));
            if let Some(origin) = origin {
                headers.insert("origin", HeaderValue::from_static(origin));
            }
            let _client = connect_async(request).await.expect("a WebSocket");
            let kept = kept.recv().await.expect("a connection");
            assert_eq!(kept.as_deref(), expected, "{path} {origin:?}");
        }
    }
}

#[cfg(feature = "sockjs")]
#[tokio::test]
async fn sockjs_sessions_keep_the_cookie_of_the_request_that_opens_them() {
    use axum::body::Body;
    use axum::http::{Method, Request};
    use tower::ServiceExt;

    let (cookies, mut kept) = mpsc::unbounded_channel();
    let app = router(config(), told(cookies));
    for (number, (method, path)) in [
        (Method::POST, "xhr"),
        (Method::POST, "xhr_streaming"),
        (Method::GET, "eventsource"),
        (Method::GET, "htmlfile?c=x"),
        (Method::GET, "jsonp?c=x"),
    ]
    .into_iter()
    .enumerate()
    {
        let pages = [
            ("origin", "https://app.example", Some("abc")),
            ("sec-fetch-site", "same-origin", None),
            ("dnt", "1", None),
        ];
        for (page, (name, value, expected)) in pages.into_iter().enumerate() {
            let request = Request::builder()
                .method(method.clone())
                .uri(format!("/sockjs/000/{number}{page}/{path}"))
                .header(name, value)
                .header("cookie", "sessionid=abc")
                .body(Body::empty())
                .expect("a request");
            let answer = app.clone().oneshot(request).await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
            let kept = kept.recv().await.expect("a connection");
            assert_eq!(kept.as_deref(), expected, "{path} {name}");
        }
    }
}

/// Whoever writes a link on the server's own origin chooses the name of the session that it opens, and can
/// go on with that session from anywhere.
#[cfg(feature = "sockjs")]
#[tokio::test]
async fn a_session_that_a_link_has_opened_has_no_cookie_for_who_goes_on_with_it() {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    let (cookies, mut kept) = mpsc::unbounded_channel();
    let app = router(config(), told(cookies));
    for (path, dest) in [
        ("jsonp?c=x", "image"),
        ("jsonp?c=x", "script"),
        ("htmlfile?c=x", "document"),
        ("htmlfile?c=x", "iframe"),
        ("eventsource", "document"),
    ] {
        let session = format!("/sockjs/000/{}-{dest}", &path[..4]);
        let victim = Request::get(format!("{session}/{path}"))
            .header("cookie", "sessionid=abc")
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-dest", dest);
        let victim = victim.body(Body::empty()).expect("a request");
        assert_eq!(app.clone().oneshot(victim).await.expect("an answer").status(), 200, "{path}");
        assert_eq!(kept.recv().await.expect("a connection"), None, "{path} {dest}");
    }
}
