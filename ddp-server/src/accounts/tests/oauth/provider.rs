//! A provider of OpenID Connect and OAuth 2 that signs by RSA, and can misbehave.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::PrivateSigningKey;
use openidconnect::core::{CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use url::{Url, form_urlencoded};

use crate::accounts::oauth::OAuthService;

/// How the endpoint of tokens answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Well,
    Hangs,
    Huge,
    Html,
    Redirects,
    WithoutIdToken,
    Unsigned,
    SignedByAnother,
}

#[derive(Clone)]
pub(super) struct Provider(Arc<Inner>);

struct Inner {
    url: String,
    codes: Mutex<HashMap<String, Granted>>,
    /// What access tokens are for.
    users: Mutex<HashMap<String, Value>>,
    answer: Mutex<Answer>,
    /// Claims in the place of the usual ones.
    claims: Mutex<Value>,
    key_id: Mutex<&'static str>,
    asked: AtomicUsize,
    followed: AtomicUsize,
    is_asked: Notify,
    next: AtomicUsize,
}

/// What a code is good for.
struct Granted {
    claims: Value,
    nonce: Option<String>,
    challenge: Option<String>,
}

type Form = HashMap<String, String>;

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let provider = Self(Arc::new(Inner {
            url,
            codes: Mutex::default(),
            users: Mutex::default(),
            answer: Mutex::new(Answer::Well),
            claims: Mutex::new(json!({})),
            key_id: Mutex::new("first"),
            asked: AtomicUsize::new(0),
            followed: AtomicUsize::new(0),
            is_asked: Notify::new(),
            next: AtomicUsize::new(0),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(user_info))
            .route("/followed", get(followed))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub(super) fn url(&self) -> &str {
        &self.0.url
    }

    pub(super) fn open_id(&self, name: &str) -> OAuthService {
        OAuthService::open_id_connect(name, &self.0.url, "client", "client secret")
    }

    pub(super) fn plain(&self, name: &str) -> OAuthService {
        let at = |path| format!("{}{path}", self.0.url);
        let (authorize, token, user) = (at("/authorize"), at("/token"), at("/userinfo"));
        OAuthService::oauth2(name, &authorize, &token, &user, "client", "client secret")
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.0.answer.lock() = answer;
    }

    /// Puts these claims into ID tokens, in the place of its own.
    pub(super) fn claims(&self, claims: Value) {
        *self.0.claims.lock() = claims;
    }

    /// Gives its key another id.
    pub(super) fn rotates(&self) {
        *self.0.key_id.lock() = "second";
    }

    /// How often it was asked for a token.
    pub(super) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// How often somebody went where it sent them.
    pub(super) fn followed(&self) -> usize {
        self.0.followed.load(Ordering::Relaxed)
    }

    /// Waits until it was asked for so many tokens.
    pub(super) async fn until_asked(&self, times: usize) {
        loop {
            let asked = self.0.is_asked.notified();
            if self.asked() >= times {
                return;
            }
            asked.await;
        }
    }

    /// A user agrees, and the browser gets a code.
    pub(super) fn code(&self, claims: Value) -> String {
        self.grant(Granted { claims, nonce: None, challenge: None })
    }

    /// The same on the page that a login began at.
    pub(super) fn agree(&self, url: &str, claims: Value) -> (String, String) {
        let query: Form = Url::parse(url).expect("an address").query_pairs().into_owned().collect();
        assert_eq!(query["client_id"], "client");
        assert_eq!(query["response_type"], "code");
        let (nonce, challenge) =
            (query.get("nonce").cloned(), query.get("code_challenge").cloned());
        (self.grant(Granted { claims, nonce, challenge }), query["state"].clone())
    }

    fn grant(&self, granted: Granted) -> String {
        let code = format!("code-{}", self.0.next.fetch_add(1, Ordering::Relaxed));
        self.0.codes.lock().insert(code.clone(), granted);
        code
    }

    fn id_token(&self, granted: &Granted) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let mut claims = granted.claims.clone();
        let all = claims.as_object_mut().expect("claims");
        all.insert("iss".to_owned(), json!(self.0.url));
        all.insert("aud".to_owned(), json!("client"));
        all.insert("iat".to_owned(), json!(now));
        all.insert("exp".to_owned(), json!(now + 300));
        if let Some(nonce) = &granted.nonce {
            all.insert("nonce".to_owned(), json!(nonce));
        }
        all.extend(self.0.claims.lock().as_object().expect("claims").clone());
        let answer = *self.0.answer.lock();
        let algorithm = if answer == Answer::Unsigned { "none" } else { "RS256" };
        let head = json!({"alg": algorithm, "kid": *self.0.key_id.lock(), "typ": "JWT"});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&head), encode(&claims));
        if answer == Answer::Unsigned {
            return format!("{signed}.");
        }
        let key = if answer == Answer::SignedByAnother { OTHER_KEY } else { KEY };
        let key = CoreRsaPrivateSigningKey::from_pem(key, None).expect("a key");
        let algorithm = CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256;
        let signature = key.sign(&algorithm, signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

// Made for these tests, and used nowhere else.
const KEY: &str = include_str!("key.pem");
const OTHER_KEY: &str = include_str!("other_key.pem");

fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(value.to_string())).expect("a response")
}

async fn describe(State(Provider(inner)): State<Provider>) -> Response<Body> {
    let at = |path| format!("{}{path}", inner.url);
    let description = json!({
        "issuer": inner.url,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userinfo"),
        "jwks_uri": at("/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    });
    json_answer(StatusCode::OK, &description)
}

async fn keys(State(Provider(inner)): State<Provider>) -> Response<Body> {
    let key = CoreRsaPrivateSigningKey::from_pem(KEY, None).expect("a key");
    let mut key = serde_json::to_value(key.as_verification_key()).expect("JSON");
    key["kid"] = json!(*inner.key_id.lock());
    json_answer(StatusCode::OK, &json!({"keys": [key]}))
}

async fn token(State(provider): State<Provider>, body: Bytes) -> Response<Body> {
    let inner = &provider.0;
    inner.asked.fetch_add(1, Ordering::Relaxed);
    inner.is_asked.notify_waiters();
    let answer = *inner.answer.lock();
    match answer {
        Answer::Hangs => pending().await,
        Answer::Huge => return Response::new(Body::from(vec![b' '; 10 * 1024 * 1024])),
        Answer::Html => return Response::new(Body::from("<html>Welcome</html>")),
        Answer::Redirects => {
            let response =
                Response::builder().status(302).header("location", "http://127.0.0.1:1/");
            return response.body(Body::empty()).expect("a response");
        }
        _ => {}
    }
    let form: Form = form_urlencoded::parse(&body).into_owned().collect();
    let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if (of("client_id"), of("client_secret")) != ("client", "client secret")
        || !of("redirect_uri").starts_with("https://app.example/_oauth/")
    {
        return json_answer(StatusCode::UNAUTHORIZED, &json!({"error": "invalid_client"}));
    }
    let granted = inner.codes.lock().remove(of("code"));
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(of("code_verifier")));
    let granted = granted.filter(|granted| match &granted.challenge {
        Some(wanted) => *wanted == challenge,
        None => of("code_verifier").is_empty(),
    });
    let Some(granted) = granted else {
        let refusal =
            json!({"error": "invalid_grant", "error_description": "<b>used</b>\r\nbefore"});
        return json_answer(StatusCode::BAD_REQUEST, &refusal);
    };
    let access_token = format!("access-{}", of("code"));
    inner.users.lock().insert(access_token.clone(), granted.claims.clone());
    let mut answered = json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": 3600,
        "scope": "openid email", "refresh_token": "a refresh token",
    });
    if answer != Answer::WithoutIdToken {
        answered["id_token"] = json!(provider.id_token(&granted));
    }
    json_answer(StatusCode::OK, &answered)
}

async fn user_info(State(Provider(inner)): State<Provider>, headers: HeaderMap) -> Response<Body> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|token| token.strip_prefix("Bearer ")).unwrap_or_default();
    match inner.users.lock().get(token) {
        Some(claims) => json_answer(StatusCode::OK, claims),
        None => json_answer(StatusCode::UNAUTHORIZED, &json!({"error": "invalid_token"})),
    }
}

async fn followed(State(Provider(inner)): State<Provider>) -> StatusCode {
    inner.followed.fetch_add(1, Ordering::Relaxed);
    StatusCode::OK
}
