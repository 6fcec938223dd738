//! Logins by services: a provider on this machine, a browser without a window, and a DDP client.

mod attacks;
mod limits;
mod linking;
mod logins;
mod pages;
mod provider;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tower::ServiceExt;

use self::provider::Provider;
use super::*;
use crate::accounts::oauth::OAuthService;

/// The credential token that a client makes.
const TOKEN: &str = "a-credential-token-of-a-client";
const NO_ATTEMPT: &str = "No matching login attempt found [145546287]";

/// A server whose users log in by the service `example`.
struct OAuthScene {
    scene: Scene,
    provider: Provider,
    browser: Browser,
}

impl OAuthScene {
    async fn new() -> Self {
        Self::with(|accounts| accounts, |service| service).await
    }

    async fn with(
        accounts: impl FnOnce(Accounts) -> Accounts,
        service: impl FnOnce(OAuthService) -> OAuthService,
    ) -> Self {
        let provider = Provider::start().await;
        let service = service(provider.open_id("example"));
        let scene = Scene::with(|all| accounts(all.oauth(service))).await;
        let browser = Browser::new(scene.server.router());
        Self { scene, provider, browser }
    }

    /// Comes back from the provider with this code.
    async fn come_back(&self, code: &str) -> Page {
        let page =
            self.browser.get(&format!("/_oauth/example?state={}&code={code}", popup())).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page
    }

    /// A whole login as Meteor's popup does it.
    async fn log_in(&self, claims: Value) -> Result<LoggedIn, DdpError> {
        let page = self.come_back(&self.provider.code(claims)).await;
        let client = self.scene.client().await;
        client.call("login", (by_page(&page),)).await
    }
}

/// What a browser does, without scripts.
struct Browser {
    router: Router,
    cookie: Mutex<Option<String>>,
}

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Browser {
    fn new(router: Router) -> Self {
        Self { router, cookie: Mutex::default() }
    }

    async fn get(&self, path: &str) -> Page {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn send(&self, mut request: Request<Body>) -> Page {
        if let Some(cookie) = &*self.cookie.lock() {
            request.headers_mut().insert(COOKIE, cookie.parse().expect("a cookie"));
        }
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        if let Some(cookie) = parts.headers.get(SET_COOKIE) {
            let cookie = cookie.to_str().expect("letters").split(';').next();
            *self.cookie.lock() = cookie.map(str::to_owned);
        }
        let body = to_bytes(body, 1024 * 1024).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("text");
        Page { status: parts.status, headers: parts.headers, text }
    }
}

impl Page {
    /// What the page's script is told.
    fn config(&self) -> Value {
        let begin = self.text.find(r#"<div id="config" hidden>"#).expect("a configuration") + 24;
        let end = begin + self.text[begin..].find("</div>").expect("its end");
        let text = self.text[begin..end].replace("&#x2F;", "/").replace("&amp;", "&");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// A state as Meteor's clients make it.
fn state(value: &Value) -> String {
    let text = STANDARD.encode(value.to_string());
    text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn popup() -> String {
    state(&json!({"loginStyle": "popup", "credentialToken": TOKEN, "isCordova": false}))
}

/// The client's login once it has the page's secret.
fn by_page(page: &Page) -> Value {
    let config = page.config();
    json!({"oauth": {
        "credentialToken": config["credentialToken"], "credentialSecret": config["credentialSecret"]
    }})
}

fn grace() -> Value {
    json!({
        "sub": "7", "email": "grace@example.com", "email_verified": true, "name": "Grace",
        "given_name": "Grace", "picture": "https://example.com/grace.png"
    })
}
