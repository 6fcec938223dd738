//! Attacks on logins by services. Each fails.

use super::provider::Answer;
use super::*;

fn by(token: &str, secret: Option<&str>) -> Value {
    json!({"oauth": {"credentialToken": token, "credentialSecret": secret}})
}

/// The error of the login that a failed page leads to.
async fn failed(all: &OAuthScene, page: &Page) -> String {
    let config = page.config();
    assert_eq!(
        (&config["setCredentialToken"], &config["credentialSecret"]),
        (&json!(false), &json!(null))
    );
    refused(&all.scene.client().await, "login", (by(TOKEN, None),)).await
}

#[tokio::test]
async fn a_foreign_or_malformed_state() {
    let all = OAuthScene::new().await;
    let code = all.provider.code(grace());
    for state in [
        "",
        "state=x",
        "state=e30%3D",
        "state=%FF%00",
        &format!("state={}", state(&json!({"loginStyle": "popup", "credentialToken": "<script>"}))),
        &format!("state={}", state(&json!({"loginStyle": {"$gt": ""}, "credentialToken": TOKEN}))),
    ] {
        let page = all.browser.get(&format!("/_oauth/example?code={code}&{state}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{state}");
    }
    for method in ["HEAD", "PUT"] {
        let path = format!("/_oauth/example?code={code}&state={}", popup());
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        assert_eq!(all.browser.send(request).await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    // None of these was taken to the provider: the code is still good.
    assert_eq!(all.provider.asked(), 0);
    assert_eq!(all.come_back(&code).await.config()["setCredentialToken"], true);
}

#[tokio::test]
async fn a_code_is_used_again() {
    let all = OAuthScene::new().await;
    let code = all.provider.code(grace());
    all.come_back(&code).await;
    let page = all.come_back(&code).await;
    let error = failed(&all, &page).await;
    let text =
        "Failed to complete OAuth handshake with example: invalid_grant: <b>used</b>  before [403]";
    assert_eq!(error, text);
    assert!(!page.text.contains("<b>"));
    // An error is told once.
    assert_eq!(refused(&all.scene.client().await, "login", (by(TOKEN, None),)).await, NO_ATTEMPT);
}

#[tokio::test]
async fn who_declines_has_no_matching_attempt() {
    let all = OAuthScene::new().await;
    let path = format!("/_oauth/example?state={}&error=access_denied", popup());
    let page = all.browser.get(&path).await;
    assert_eq!(failed(&all, &page).await, NO_ATTEMPT);
    assert_eq!(all.provider.asked(), 0);
}

#[tokio::test]
async fn a_credential_is_taken_twice_or_with_a_wrong_secret() {
    let all = OAuthScene::new().await;
    let page = all.come_back(&all.provider.code(grace())).await;
    let secret = page.config()["credentialSecret"].as_str().unwrap().to_owned();
    let client = all.scene.client().await;
    for login in [
        by(TOKEN, None),
        by(TOKEN, Some("another secret")),
        by(TOKEN, Some(&secret[1..])),
        by("another-credential-token", Some(&secret)),
        by(&secret, Some(TOKEN)),
    ] {
        assert_eq!(refused(&client, "login", (login,)).await, NO_ATTEMPT);
    }
    for malformed in [
        json!({"oauth": "x"}),
        json!({"oauth": {"credentialToken": {"$ne": null}, "credentialSecret": secret}}),
        json!({"oauth": {"credentialToken": TOKEN, "credentialSecret": {"$ne": null}}}),
        json!({"oauth": {"credentialToken": TOKEN, "credentialSecret": secret, "more": 1}}),
        json!({"oauth": {}}),
    ] {
        assert_eq!(refused(&client, "login", (malformed,)).await, "Match failed [400]");
    }
    let login = by(TOKEN, Some(&secret));
    client.call::<LoggedIn>("login", (&login,)).await.unwrap();
    assert_eq!(refused(&client, "login", (login,)).await, NO_ATTEMPT);
}

#[tokio::test]
async fn a_code_of_another_provider() {
    let (a, b) = (Provider::start().await, Provider::start().await);
    let (service_a, service_b) = (a.open_id("a"), b.open_id("b"));
    let scene = Scene::with(|accounts| accounts.oauth(service_a).oauth(service_b)).await;
    let browser = Browser::new(scene.server.router());
    let client = scene.client().await;
    let code = a.code(grace());
    let page = browser.get(&format!("/_oauth/b?state={}&code={code}", popup())).await;
    assert_eq!(page.config()["setCredentialToken"], false);
    assert!(refused(&client, "login", (by(TOKEN, None),)).await.contains("invalid_grant"));
    // If the provider says who it is, its code goes nowhere else.
    let asked = b.asked();
    let path = format!("/_oauth/b?state={}&code={code}&iss={}", popup(), a.url());
    assert_eq!(browser.get(&path).await.config()["setCredentialToken"], false);
    assert_eq!(b.asked(), asked);
    // A provider that answers with an ID token of the other.
    b.claims(json!({"iss": a.url()}));
    let path = format!("/_oauth/b?state={}&code={}", popup(), b.code(grace()));
    assert_eq!(browser.get(&path).await.config()["setCredentialToken"], false);
}

#[tokio::test]
async fn an_id_token_that_is_not_for_this() {
    let all = OAuthScene::new().await;
    let wrong = [
        json!({"iss": "https://evil.example"}),
        json!({"aud": "another client"}),
        json!({"aud": ["another client"]}),
        json!({"exp": 1_000_000_000}),
        json!({"exp": null}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "x".repeat(300)}),
    ];
    for claims in wrong {
        all.provider.claims(claims.clone());
        let page = all.come_back(&all.provider.code(grace())).await;
        let error = failed(&all, &page).await;
        assert!(error.ends_with("[403]") && !error.contains("evil"), "{claims}: {error}");
    }
    all.provider.claims(json!({}));
    for answer in [Answer::Unsigned, Answer::SignedByAnother, Answer::WithoutIdToken] {
        all.provider.answers(answer);
        let page = all.come_back(&all.provider.code(grace())).await;
        assert!(failed(&all, &page).await.ends_with("[403]"), "{answer:?}");
    }
    all.provider.answers(Answer::Well);
    all.log_in(grace()).await.unwrap();
}

#[tokio::test]
async fn a_login_that_began_in_another_browser_or_for_another_token() {
    let all = OAuthScene::with(|accounts| accounts, OAuthService::only_from_start).await;
    // Without the start there is nothing at all.
    let page = all.come_back(&all.provider.code(grace())).await;
    assert!(failed(&all, &page).await.contains("the login must begin at"));
    assert_eq!(all.provider.asked(), 0);

    let begin = || all.browser.get("/_oauth/example/start");
    assert_eq!(begin().await.status, StatusCode::BAD_REQUEST);
    let begin = format!("/_oauth/example/start?state={}", popup());
    let begun = all.browser.get(&begin).await;
    let url = begun.headers["location"].to_str().unwrap();
    let (code, _) = all.provider.agree(url, grace());
    // Another browser has another cookie.
    let other = Browser::new(all.scene.server.router());
    other.get(&begin).await;
    let page = other.get(&format!("/_oauth/example?state={}&code={code}", popup())).await;
    assert!(failed(&all, &page).await.contains("invalid_grant"));
    // The right cookie, but an ID token for another login.
    let (code, _) = all.provider.agree(url, grace());
    all.provider.claims(json!({"nonce": "another nonce"}));
    let page = all.come_back(&code).await;
    assert!(failed(&all, &page).await.contains("was refused"));
}

#[tokio::test]
async fn the_cookie_of_another_credential_token() {
    let all = OAuthScene::with(|accounts| accounts, OAuthService::only_from_start).await;
    let other =
        state(&json!({"loginStyle": "popup", "credentialToken": "another-credential-token"}));
    let begun = all.browser.get(&format!("/_oauth/example/start?state={other}")).await;
    let url = begun.headers["location"].to_str().unwrap();
    let (code, _) = all.provider.agree(url, grace());
    let page = all.come_back(&code).await;
    assert!(failed(&all, &page).await.contains("the login must begin at"));
}
