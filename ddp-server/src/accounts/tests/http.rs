//! Tokens over HTTP: the cookie, and the user of a request.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::get;
use futures::{SinkExt, StreamExt};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tower::ServiceExt;

use super::*;
use crate::accounts::User;
use crate::axum::Router;

/// What a server answers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn cookie(&self) -> Option<&str> {
        let mut cookies = self.headers.get_all("set-cookie").iter();
        let cookie = cookies.next().map(|cookie| cookie.to_str().unwrap());
        assert!(cookies.next().is_none(), "there is one cookie at most");
        cookie
    }

    /// Status and error.
    pub(super) fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["error"].as_str().unwrap_or_default())
    }
}

pub(super) async fn send(
    routes: &Router,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = routes.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 64 * 1024).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status: head.status, headers: head.headers, body }
}

const SET: (&str, &str) = ("POST", "/_accounts/cookie/set");
const REFRESH: (&str, &str) = ("GET", "/_accounts/cookie/refresh");
const CLEAR: (&str, &str) = ("POST", "/_accounts/cookie/clear");
pub(super) const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
const JSON: (&str, &str) = ("content-type", "application/json");

async fn with_cookies() -> (Scene, Router) {
    let scene = Scene::with(Accounts::use_http_only_cookies).await;
    let routes = scene.server.router();
    (scene, routes)
}

fn holding(token: &str) -> String {
    format!("a=b; meteor_login_token={token}")
}

#[tokio::test]
async fn a_token_is_kept_given_back_and_cleared() {
    let (scene, routes) = with_cookies().await;
    let (_client, login) = scene.ada().await;
    let body = json!({"token": login.token}).to_string();
    let answer = send(&routes, SET, &[OWN, JSON], body).await;
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, &json!({"ok": true})));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let expires = login.token_expires.to_system_time().unwrap();
    // The root URL is https.
    let expected = format!(
        "meteor_login_token={}; Path=/; Expires={}; HttpOnly; Secure; SameSite=Strict",
        login.token,
        httpdate::fmt_http_date(expires)
    );
    assert_eq!(answer.cookie(), Some(expected.as_str()));

    let answer = send(&routes, REFRESH, &[("cookie", &holding(&login.token))], "").await;
    let expected =
        json!({"token": login.token, "tokenExpires": login.token_expires.to_iso().unwrap()});
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected));
    assert!(answer.headers["vary"] == "Cookie" && answer.headers["cache-control"] == "no-store");
    assert_eq!(send(&routes, REFRESH, &[], "").await.status, StatusCode::NO_CONTENT);

    let answer = send(&routes, CLEAR, &[OWN], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    let cleared = answer.cookie().unwrap();
    assert!(cleared.starts_with("meteor_login_token=; Path=/; Expires=Thu, 01 Jan 1970"));
    assert_eq!(send(&routes, ("GET", SET.1), &[], "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(send(&routes, ("POST", REFRESH.1), &[], "").await.error().0, 405);
}

#[tokio::test]
async fn without_the_option_there_are_no_such_routes() {
    let scene = Scene::new().await;
    let (_client, login) = scene.ada().await;
    let routes = scene.server.router();
    for route in [SET, REFRESH, CLEAR] {
        let answer =
            send(&routes, route, &[OWN, JSON, ("cookie", &holding(&login.token))], "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn other_sites_neither_set_nor_clear_nor_read_it() {
    let (scene, routes) = with_cookies().await;
    let (_client, login) = scene.ada().await;
    let (body, cookie) = (json!({"token": login.token}).to_string(), holding(&login.token));
    let strangers: [&[(&str, &str)]; 5] = [
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://app.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")],
    ];
    for stranger in strangers {
        for route in [SET, CLEAR, REFRESH] {
            let headers = [stranger, &[JSON, ("cookie", cookie.as_str())]].concat();
            let answer = send(&routes, route, &headers, body.clone()).await;
            assert_eq!(answer.error(), (403, "cross_origin"), "{stranger:?}");
            assert_eq!(answer.cookie(), None);
        }
    }
    // Nobody says whose page it is: a form of an old browser could.
    for route in [SET, CLEAR] {
        let answer = send(&routes, route, &[JSON], body.clone()).await;
        assert_eq!(answer.error(), (403, "cross_origin"));
    }
    let own = [JSON, ("origin", "https://app.example")];
    assert_eq!(send(&routes, SET, &own, body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_tokens_that_are_good_get_into_it() {
    let (scene, routes) = with_cookies().await;
    let (client, login) = scene.ada().await;
    let set = async |body: String| {
        let answer = send(&routes, SET, &[OWN, JSON], body).await;
        assert_eq!(answer.cookie(), None);
        (answer.status.as_u16(), answer.body["error"].as_str().unwrap_or_default().to_owned())
    };
    let of = |token: &str| json!({"token": token}).to_string();
    for (body, status, error) in [
        (of("nobody-has-this-one"), 401, "invalid_token"),
        (of(&format!("{}\r\nSet-Cookie: a=b", login.token)), 400, "invalid_token"),
        (of(&format!("{}; Domain=example", login.token)), 400, "invalid_token"),
        (of(&"a".repeat(513)), 400, "invalid_token"),
        (of(""), 400, "invalid_token"),
        (json!({"token": {"$gt": ""}}).to_string(), 400, "invalid_token"),
        ("[]".to_owned(), 400, "invalid_token"),
        ("{".to_owned(), 400, "invalid_body"),
        ("[".repeat(4096), 400, "invalid_body"),
        (of(&login.token) + &" ".repeat(4097), 413, "body_too_large"),
    ] {
        assert_eq!(set(body.clone()).await, (status, error.to_owned()), "{body}");
    }
    // A body that does not say how long it is.
    let pieces = (0..5).map(|_| Ok::<_, std::io::Error>("x".repeat(1000)));
    let body = Body::from_stream(futures::stream::iter(pieces));
    let answer = send(&routes, SET, &[OWN, JSON], body).await;
    assert_eq!(answer.error(), (413, "body_too_large"));
    assert_eq!(answer.headers["connection"], "close");
    let form = ("content-type", "text/plain");
    let answer = send(&routes, SET, &[OWN, form], of(&login.token)).await;
    assert_eq!(answer.error(), (415, "unsupported_media_type"));
    // Once its user has logged out, a token is nobody's.
    client.call::<()>("logout", ()).await.unwrap();
    assert_eq!(set(of(&login.token)).await.0, 401);
    let answer = send(&routes, REFRESH, &[("cookie", &holding(&login.token))], "").await;
    assert_eq!(answer.error(), (401, "invalid_cookie"));
    assert!(answer.cookie().unwrap().starts_with("meteor_login_token=; "), "it goes");
}

#[tokio::test]
async fn two_cookies_are_none() {
    let (scene, routes) = with_cookies().await;
    let ((_a, mine), (_b, other)) = (scene.ada().await, scene.ada().await);
    // The second may come from a page of a neighbouring domain.
    let both = format!("{}; meteor_login_token={}", holding(&mine.token), other.token);
    let answer = send(&routes, REFRESH, &[OWN, ("cookie", &both)], "").await;
    assert_eq!(answer.error(), (401, "invalid_cookie"));
}

#[tokio::test]
async fn an_address_asks_30_times_in_10_seconds() {
    let accounts = Accounts::new(MemoryAccounts::new()).use_http_only_cookies().build();
    let routes = Server::builder().plugin(accounts).build().router();
    let addressed = |last: u8| {
        let from = std::net::SocketAddr::from(([192, 0, 2, last], 1));
        routes.clone().layer(crate::axum::Extension(crate::axum::extract::ConnectInfo(from)))
    };
    for _ in 0..30 {
        assert_eq!(send(&addressed(1), REFRESH, &[], "").await.status, StatusCode::NO_CONTENT);
    }
    let answer = send(&addressed(1), CLEAR, &[OWN], "").await;
    assert_eq!(answer.error(), (429, "rate_limited"));
    assert_eq!(send(&addressed(2), REFRESH, &[], "").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn behind_a_proxy_it_is_secure_if_the_client_has_tls() {
    for (forwarded_count, is_secure) in [(0, false), (1, true)] {
        let config = crate::ServerConfig { forwarded_count, ..Default::default() };
        let accounts = Accounts::new(MemoryAccounts::new()).root_url("http://app.example");
        let accounts = accounts.use_http_only_cookies();
        let routes = Server::builder().config(config).plugin(accounts).build().router();
        let answer = send(&routes, CLEAR, &[OWN, ("x-forwarded-proto", "https")], "").await;
        assert_eq!(answer.cookie().unwrap().contains("; Secure"), is_secure);
    }
}

/// The application's own routes.
fn application(scene: &Scene) -> Router {
    Router::new()
        .route("/me", get(async |user: UserId| user.to_string()).post(async |user: User| user.id))
        .route(
            "/maybe",
            get(async |user: Option<UserId>| user.map_or_else(String::new, String::from)),
        )
        .with_state(scene.accounts.clone())
}

async fn text(routes: &Router, route: (&str, &str), headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::builder().method(route.0).uri(route.1);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1024).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn routes_know_the_user_by_a_token() {
    let (scene, _) = with_cookies().await;
    let (client, login) = scene.ada().await;
    let routes = application(&scene);
    let (me, maybe) = (("GET", "/me"), ("GET", "/maybe"));
    let bearer = format!("Bearer {}", login.token);
    let ada = (200, scene.ada.clone());
    assert_eq!(text(&routes, me, &[("authorization", &bearer)]).await, ada);
    assert_eq!(text(&routes, ("POST", "/me"), &[("authorization", &bearer)]).await, ada);
    assert_eq!(text(&routes, maybe, &[("authorization", &bearer)]).await, ada);
    let refusal = |error: &str| (401, json!({"error": error}).to_string());
    let cookie = holding(&login.token);
    let long = format!("Bearer {}", "a".repeat(513));
    let table: [(&[(&str, &str)], &str); 7] = [
        (&[], "Unauthorized"),
        (&[("authorization", "Bearer ")], "Unauthorized"),
        (&[("authorization", "Basic YTpi")], "Unauthorized"),
        (&[("authorization", "Bearer nobody"), ("cookie", &cookie)], "Invalid token"),
        (&[("authorization", &long)], "Invalid token"),
        (&[("authorization", &bearer), ("authorization", "Bearer nobody")], "Invalid token"),
        (&[("cookie", "meteor_login_token=a; meteor_login_token=b")], "Invalid token"),
    ];
    for (headers, error) in table {
        assert_eq!(text(&routes, me, headers).await, refusal(error), "{headers:?}");
        assert_eq!(text(&routes, maybe, headers).await, (200, String::new()), "{headers:?}");
    }
    client.call::<()>("logout", ()).await.unwrap();
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(text(&routes, me, &headers).await, refusal("Invalid token"));
    // An hour before its time.
    let brief = Accounts::new(MemoryAccounts::new()).login_expiration(Some(Default::default()));
    let brief = brief.build();
    let alan = brief.create_user(&json!({"username": "alan"})).await.unwrap();
    let token = crate::accounts::token::Token::random();
    let stored = crate::accounts::core::Core::login_token(token.hash(), None);
    let guard = crate::accounts::TokenGuard::Active;
    brief.core.store.add_login_token(&alan, &stored, &guard).await.unwrap();
    let routes = Router::new().route("/me", get(async |user: UserId| user.to_string()));
    let bearer = format!("bearer {}", token.reveal());
    let answer = text(&routes.with_state(brief), me, &[("authorization", &bearer)]).await;
    assert_eq!(answer, refusal("Token expired"));
}

#[tokio::test]
async fn the_cookie_is_believed_on_own_pages_only() {
    let (scene, _) = with_cookies().await;
    let (_client, login) = scene.ada().await;
    let routes = application(&scene);
    let holding = holding(&login.token);
    let cookie = ("cookie", holding.as_str());
    let own = [("origin", "https://app.example"), cookie];
    for headers in [&[OWN, cookie], &own] {
        for method in ["GET", "POST"] {
            assert_eq!(text(&routes, (method, "/me"), headers).await, (200, scene.ada.clone()));
        }
    }
    assert_eq!(text(&routes, ("GET", "/me"), &[cookie]).await.0, 200);
    assert_eq!(text(&routes, ("POST", "/me"), &[cookie]).await.0, 401);
    for stranger in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        for method in ["GET", "POST"] {
            let answer = text(&routes, (method, "/me"), &[stranger, cookie]).await;
            assert_eq!(answer, (401, json!({"error": "Unauthorized"}).to_string()));
        }
    }
    // Where the cookie is off, nobody looks at it.
    let off = Scene::new().await;
    let (_client, login) = off.ada().await;
    let cookie = format!("meteor_login_token={}", login.token);
    assert_eq!(text(&application(&off), ("GET", "/me"), &[OWN, ("cookie", &cookie)]).await.0, 401);
}

#[tokio::test]
async fn a_connection_with_the_cookie_is_nobody_s() {
    let (scene, _) = with_cookies().await;
    let (_client, login) = scene.ada().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let server = scene.server.clone();
    let serving = tokio::spawn(async move { server.serve(listener).await });
    for path in ["websocket", "sockjs/websocket"] {
        let mut request = format!("ws://{host}/{path}").into_client_request().unwrap();
        let (cookie, bearer) = (holding(&login.token), format!("Bearer {}", login.token));
        let origin = format!("http://{host}");
        let headers = [("cookie", &cookie), ("authorization", &bearer), ("origin", &origin)];
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (mut socket, _) = connect_async(request).await.unwrap();
        for message in [
            r#"{"msg":"connect","version":"1","support":["1"]}"#,
            r#"{"msg":"method","id":"1","method":"whoami","params":[]}"#,
        ] {
            socket.send(Message::text(message)).await.unwrap();
        }
        let result = loop {
            let message = socket.next().await.unwrap().unwrap().into_text().unwrap();
            assert!(!message.contains(&scene.ada), "{message}");
            if message.contains("\"result\"") {
                break message;
            }
        };
        assert_eq!(result, r#"{"msg":"result","id":"1","result":null}"#);
    }
    scene.server.close_now().await;
    serving.await.unwrap().unwrap();
}
