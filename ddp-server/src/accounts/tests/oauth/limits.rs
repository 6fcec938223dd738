//! Providers and clients that do too much, or nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::provider::Answer;
use super::*;

async fn error_of(all: &OAuthScene) -> String {
    let login = json!({"oauth": {"credentialToken": TOKEN, "credentialSecret": null}});
    refused(&all.scene.client().await, "login", (login,)).await
}

#[tokio::test]
async fn a_provider_that_answers_too_much_or_something_else() {
    let all = OAuthScene::new().await;
    for (answer, text) in [
        (Answer::Huge, "example does not answer. Please try again later. [503]"),
        (Answer::Html, "The answer of example was refused: the server's log says why [403]"),
        (Answer::Redirects, "example does not answer. Please try again later. [503]"),
    ] {
        all.provider.answers(answer);
        all.come_back(&all.provider.code(grace())).await;
        assert_eq!(error_of(&all).await, text, "{answer:?}");
    }
    assert_eq!(all.provider.followed(), 0);
}

#[tokio::test]
async fn a_provider_that_is_gone() {
    let scene = Scene::with(|accounts| {
        let gone = "http://127.0.0.1:9";
        accounts.oauth(OAuthService::open_id_connect("example", gone, "client", "secret"))
    })
    .await;
    let browser = Browser::new(scene.server.router());
    let page = browser.get(&format!("/_oauth/example?state={}&code=x", popup())).await;
    assert_eq!(page.config()["setCredentialToken"], false);
    let begun = browser.get(&format!("/_oauth/example/start?state={}", popup())).await;
    assert_eq!(begun.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_flood_of_logins_asks_the_provider_for_32_at_a_time() {
    let all = Arc::new(OAuthScene::new().await);
    all.log_in(grace()).await.unwrap();
    all.provider.answers(Answer::Hangs);
    let come_back = |number: usize| {
        let all = Arc::clone(&all);
        async move {
            let token = format!("credential-token-{number}");
            let state = state(&json!({"loginStyle": "popup", "credentialToken": token}));
            all.browser.get(&format!("/_oauth/example?state={state}&code=x")).await
        }
    };
    let mut flood: Vec<_> = (0..256).map(|number| tokio::spawn(come_back(number))).collect();
    all.provider.until_asked(33).await;
    // All the others wait, so that the next one is refused at once.
    let all_wait = async {
        while !all.is_full() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_wait).await.expect("all places are taken");
    all.come_back("x").await;
    let error = error_of(&all).await;
    assert!(error.ends_with("[too-many-requests]"), "{error}");
    assert_eq!(all.provider.asked(), 33);
    // None of them waits for ever.
    for one in &mut flood {
        assert!(one.now_or_never().is_none());
    }
    tokio::time::pause();
    for one in flood {
        let page = tokio::time::timeout(Duration::from_secs(600), one).await;
        assert_eq!(page.expect("an end").expect("a page").status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_address_has_its_share_of_logins() {
    let all = Arc::new(OAuthScene::new().await);
    all.log_in(grace()).await.unwrap();
    all.provider.answers(Answer::Hangs);
    let from = |address: [u8; 4], path: &str| {
        let request = Request::get(format!("/_oauth/example{path}")).body(Body::empty());
        let mut request = request.unwrap();
        let address = std::net::SocketAddr::from((address, 1));
        request.extensions_mut().insert(axum::extract::ConnectInfo(address));
        let all = Arc::clone(&all);
        async move { all.browser.send(request).await }
    };
    let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let query = format!("?state={}&code=x", popup());
    let mut flood: Vec<_> = (0..16).map(|_| tokio::spawn(from(one, &query))).collect();
    all.provider.until_asked(17).await;
    for path in [&query, &format!("/start{query}")] {
        assert_eq!(from(one, path).await.status, StatusCode::TOO_MANY_REQUESTS);
    }
    flood.push(tokio::spawn(from(other, &query)));
    all.provider.until_asked(18).await;
    for one in &flood {
        one.abort();
    }
    for one in flood {
        assert!(one.await.is_err());
    }
    // Whoever leaves gives its place back.
    tokio::spawn(from(one, &query));
    all.provider.until_asked(19).await;
}

#[tokio::test]
async fn a_huge_query_or_body() {
    let all = OAuthScene::new().await;
    let huge = "x".repeat(20 * 1024);
    let page = all.browser.get(&format!("/_oauth/example?state={huge}")).await;
    assert_eq!(page.status, StatusCode::URI_TOO_LONG);
    let body = format!("state={}&code={}", popup(), "x".repeat(100 * 1024));
    let request = Request::post("/_oauth/example").body(Body::from(body)).unwrap();
    assert_eq!(all.browser.send(request).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    for json in ["[]", "{", "null", &"[".repeat(10_000)] {
        let request = Request::post("/_oauth/example").header("content-type", "application/json");
        let request = request.body(Body::from(json.to_owned())).unwrap();
        assert_eq!(all.browser.send(request).await.status, StatusCode::BAD_REQUEST);
    }
    let path = format!("/_oauth/example?state={}&code={}", popup(), "x".repeat(5000));
    assert_eq!(all.browser.get(&path).await.config()["setCredentialToken"], false);
    assert_eq!(
        error_of(&all).await,
        "Failed to complete OAuth handshake with example: there is no code [403]"
    );
    assert_eq!(all.provider.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes() {
    let scene =
        Scene::with(|accounts| accounts.oauth(OAuthService::google("client", "secret"))).await;
    let browser = Browser::new(scene.server.router());
    let body = Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>());
    let request = Request::post("/_oauth/google").body(body).unwrap();
    let page = tokio::time::timeout(Duration::from_secs(60), browser.send(request)).await;
    let page = page.expect("an answer within a minute");
    assert_eq!(page.status, StatusCode::REQUEST_TIMEOUT);
}

impl OAuthScene {
    fn is_full(&self) -> bool {
        self.scene.accounts.core.oauth.places_left() == 0
    }
}
