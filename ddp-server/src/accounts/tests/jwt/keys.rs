//! Keys, and sets of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::time::advance;

use super::*;

#[tokio::test]
async fn each_kind_of_key_checks_its_signatures() {
    for signer in [Signer::rsa(), Signer::p256(), Signer::ed25519()] {
        let by_key = Jwt::public_key(signer.pem()).unwrap();
        let set = SetFile::new(&[signer.json_key("a")]);
        for jwt in [by_key, Jwt::jwks_file(&set.0).any_audience()] {
            let scene = Scene::with(|accounts| accounts.jwt(jwt)).await;
            let client = scene.client().await;
            let token = signer.sign_by("a", &claims(&scene.ada));
            log_in_by(&client, &token).await.unwrap();
            let (message, _) = token.rsplit_once('.').unwrap();
            let forged = format!("{message}.{}", encode([0; 64]));
            let error = refusal(&client, &forged).await;
            assert_eq!(error, "This token has a wrong signature [403]");
        }
    }
}

#[test]
fn what_is_no_public_key_says_so() {
    for pem in
        ["", "x", RSA_PRIVATE, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
    {
        let error = Jwt::public_key(pem).unwrap_err().to_string();
        assert!(error.contains("-----BEGIN PUBLIC KEY-----") && !error.contains("AAAA"), "{error}");
    }
    for (url, is_good) in [
        ("https://id.example/jwks.json", true),
        ("http://127.0.0.1:3000/jwks", true),
        ("http://[::1]:3000/jwks", true),
        ("http://localhost/jwks", true),
        ("http://id.example/jwks", false),
        ("http://localhost.example/jwks", false),
        ("http://127.0.0.1@id.example/jwks", false),
        ("https://user:password@id.example/", false),
        ("ftp://id.example/", false),
        ("/jwks", false),
        ("", false),
    ] {
        assert_eq!(Jwt::jwks_url(url).is_ok(), is_good, "{url}");
    }
}

/// A set of keys in a file, which goes with it.
struct SetFile(PathBuf);

impl SetFile {
    fn new(keys: &[Value]) -> Self {
        let name = format!("ddp-jwks-{}-{}.json", std::process::id(), crate::random::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(keys);
        file
    }

    fn write(&self, keys: &[Value]) {
        std::fs::write(&self.0, json!({"keys": keys}).to_string()).unwrap();
    }
}

impl Drop for SetFile {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_known_within_a_minute_and_an_old_one_ends() {
    let (old, new) = (Signer::ed25519(), Signer::p256());
    let set = SetFile::new(&[old.json_key("old")]);
    let jwt = Jwt::jwks_file(&set.0).audience("todos");
    let scene = Scene::with(|accounts| accounts.jwt(jwt)).await;
    let client = scene.client().await;
    let claims = json!({"sub": scene.ada, "aud": "todos", "exp": seconds_from_now(7200)});
    let (by_old, by_new) = (old.sign_by("old", &claims), new.sign_by("new", &claims));
    log_in_by(&client, &by_old).await.unwrap();
    set.write(&[new.json_key("new")]);
    // It was read just now, so it is not read again.
    assert!(refusal(&client, &by_new).await.starts_with("This token is signed"));
    advance(Duration::from_secs(61)).await;
    log_in_by(&client, &by_new).await.unwrap();
    assert!(refusal(&client, &by_old).await.starts_with("This token is signed"));
    // A key that is taken back, without a new one, ends within ten minutes.
    set.write(&[old.json_key("old")]);
    log_in_by(&client, &by_new).await.unwrap();
    advance(Duration::from_secs(601)).await;
    assert!(refusal(&client, &by_new).await.starts_with("This token is signed"));
    // While there is nothing to read, those last read stay.
    std::fs::remove_file(&set.0).unwrap();
    advance(Duration::from_secs(601)).await;
    log_in_by(&client, &by_old).await.unwrap();
}

#[tokio::test]
async fn a_set_has_no_secrets_and_no_keys_for_other_things() {
    let (secret, signer) = (Signer::secret(SECRET), Signer::ed25519());
    let mut of_encryption = signer.json_key("a");
    of_encryption["use"] = json!("enc");
    let mut of_other = Signer::rsa().json_key("a");
    of_other["alg"] = json!("RS512");
    let odd = [json!(7), json!({}), json!({"kty": "EC", "crv": "P-256", "x": "", "y": "!"})];
    let keys = [vec![secret.json_key("a"), of_encryption, of_other], odd.to_vec()].concat();
    let set = SetFile::new(&keys);
    let jwt = Jwt::jwks_file(&set.0).any_audience();
    let scene = Scene::with(|accounts| accounts.jwt(jwt)).await;
    let client = scene.client().await;
    let claims = claims(&scene.ada);
    let error = refusal(&client, &secret.sign_by("a", &claims)).await;
    assert!(error.starts_with("This token is signed in a way"), "{error}");
    for signer in [signer, Signer::rsa()] {
        let error = refusal(&client, &signer.sign_by("a", &claims)).await;
        assert!(error.starts_with("The keys of tokens are out of reach"), "{error}");
    }
}

/// Serves an answer on this machine, and counts how often.
async fn serve(status: StatusCode, body: String) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = get(async move || {
        count.fetch_add(1, Ordering::Relaxed);
        (status, [(header::LOCATION, "http://127.0.0.1:9/")], body.clone())
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/jwks", answer)).await });
    (address, asked)
}

fn at(address: SocketAddr) -> Jwt {
    Jwt::jwks_url(format!("http://{address}/jwks")).unwrap().any_audience()
}

#[tokio::test]
async fn unknown_keys_of_many_clients_are_asked_for_once() {
    let signer = Signer::ed25519();
    let body = json!({"keys": [signer.json_key("a")]}).to_string();
    let (address, asked) = serve(StatusCode::OK, body).await;
    let scene = Scene::with(|accounts| accounts.jwt(at(address))).await;
    let clients = join_all((0..40).map(|_| scene.client())).await;
    let claims = claims(&scene.ada);
    let tokens = (0..).map(|number| signer.sign_by(&format!("unknown {number}"), &claims));
    let logins = clients.iter().zip(tokens).map(async |(client, token)| {
        let error = refusal(client, &token).await;
        assert_eq!(error, "This token is signed with a key that is not known here [403]");
    });
    join_all(logins).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    log_in_by(&clients[0], &signer.sign_by("a", &claims)).await.unwrap();
    // A token need not say which key it is.
    log_in_by(&clients[0], &signer.sign(&claims)).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_set_of_keys_is_none() {
    let set = |text: String| format!(r#"{{"keys":[],"text":"{text}"}}"#);
    let signer = Signer::ed25519();
    let good = json!({"keys": [signer.json_key("a")]}).to_string();
    for (status, body) in [
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, "[]".to_owned()),
        (StatusCode::OK, set(String::new())),
        (StatusCode::OK, format!("{good}{}", " ".repeat(300 * 1024))),
        (StatusCode::OK, "[".repeat(100_000)),
        (StatusCode::FOUND, good.clone()),
        (StatusCode::INTERNAL_SERVER_ERROR, good.clone()),
    ] {
        let (address, asked) = serve(status, body).await;
        let scene = Scene::with(|accounts| accounts.jwt(at(address))).await;
        let client = scene.client().await;
        for _ in 0..3 {
            let error = refusal(&client, &signer.sign_by("a", &claims(&scene.ada))).await;
            assert!(error.starts_with("The keys of tokens are out of reach"), "{error}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_not_waited_for_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let jwt = at(listener.local_addr().unwrap());
    let begin = tokio::time::Instant::now();
    let refused = jwt.verify(&Signer::ed25519().sign(&claims("7"))).await.map(drop);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "The keys of tokens are out of reach. Please try again later."
    );
    assert_eq!(begin.elapsed().as_secs(), 10);
}

/// Made by PyJWT, for `{"sub": "7", "aud": "todos", "exp": 4102444800}`.
const PYJWT: [(&str, &str); 4] = [
    (
        SECRET,
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI3IiwiYXVkIjoidG9kb3MiLCJleHAiOjQxMDI0NDQ4MDB9.7ioMpjbvneHnAKFH8e76zl_5VCfBy21He4UNs-2rFwE",
    ),
    (
        RSA_PUBLIC,
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI3IiwiYXVkIjoidG9kb3MiLCJleHAiOjQxMDI0NDQ4MDB9.Y3tfCkluVubhpgLzbFeceQ4OQuG_tWeN-6dYEdfMaMyxxIcJd-_cs0vkb6-yOlhbw2T5OK5ZADL9u1UmwLMYuzE-oWKr8o6WQOKsSY2w-oSz-xfOsgkP-Y7xzakcf6FvejknPNKjJPCk7p2ECi9TcePyWN_AIQelZWESaFH3yQZtKnPrZQ9W0hk_QvMf736iYLAWkt6g8k_OA8a8hjGQoJX9PlBpYg4aEo1-ruigpSrQi-xDjO0v6gMqRiMvtt8s449jp7dxaVLgVuUxAEOMgIyIwy6Q-Kqiu78GmYGOKqyv6ZkpS3pqIzmJzglK_vKee-XUSRFKN_48kShPdRVv2g",
    ),
    (
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3v09nyS0/e6IJ5MJqsW7FJVWZP7w\nZjMi2lwyueb+phRazBt6DngznJ8kpVeyr9m43z3hCs/Z+FBznFXsGXZtfQ==\n-----END PUBLIC KEY-----\n",
        "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI3IiwiYXVkIjoidG9kb3MiLCJleHAiOjQxMDI0NDQ4MDB9.kQIRcxV1i2JVJBSDmXJbyQdQrYIF4SxhdwEzrCcHDyQbB-m5WhVpB0HQoNLlpHqQbALpFvTWoNDX2LHWxjZ7-A",
    ),
    (
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA33ilfq/H/lRHv0akrz7KVVkSZnrBVVvTDOyGmTZXzPs=\n-----END PUBLIC KEY-----\n",
        "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI3IiwiYXVkIjoidG9kb3MiLCJleHAiOjQxMDI0NDQ4MDB9.yqHYJqJTNoAHsXsnv-Ut36WmuFPFuAk7I-BGpGSqmkLYYJBnayqaNQbMn97IeJqgIBZf4XIDiAgaXz9yMf6FCQ",
    ),
];

#[tokio::test]
async fn tokens_of_pyjwt_are_right() {
    for (key, token) in PYJWT {
        let jwt = if key == SECRET { Jwt::hs256(key) } else { Jwt::public_key(key) };
        let jwt = jwt.unwrap().audience("todos");
        let verified = jwt.verify(token).await.map(|verified| verified.user_id);
        assert_eq!(verified, Ok("7".to_owned()), "{token}");
    }
}
