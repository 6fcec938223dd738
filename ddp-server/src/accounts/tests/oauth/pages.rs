//! What browsers get to see.

use super::*;

#[tokio::test]
async fn the_page_is_as_meteors_and_nobody_keeps_or_frames_it() {
    let all = OAuthScene::new().await;
    let page = all.come_back(&all.provider.code(grace())).await;
    assert!(page.text.contains(r#"src="/packages/oauth/end_of_popup_response.js""#));
    let keys: Vec<String> = page.config().as_object().unwrap().keys().cloned().collect();
    let expected = [
        "setCredentialToken",
        "credentialToken",
        "credentialSecret",
        "storagePrefix",
        "redirectUrl",
        "isCordova",
    ];
    assert_eq!(keys, expected);
    assert_eq!(page.config()["storagePrefix"], "Meteor.oauth.credentialSecret-");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.headers[name], value);
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"));
    for name in ["popup", "redirect"] {
        let script = all.browser.get(&format!("/packages/oauth/end_of_{name}_response.js")).await;
        assert_eq!(script.headers["content-type"], "application/javascript; charset=utf-8");
        assert!(script.text.contains("storagePrefix"));
    }
}

#[tokio::test]
async fn a_redirect_goes_back_to_where_it_began_within_the_application() {
    let all = OAuthScene::new().await;
    for (wanted, ends) in [
        ("https://app.example/rooms?a=1&b=2", "https://app.example/rooms?a=1&b=2"),
        ("https://evil.example/", "https://app.example/"),
        ("javascript:alert(document.domain)", "https://app.example/"),
        ("https://app.example/\"><script>alert(1)</script>", ""),
    ] {
        let state = json!({
            "loginStyle": "redirect", "credentialToken": TOKEN, "redirectUrl": wanted
        });
        let code = all.provider.code(grace());
        let path = format!("/_oauth/example?state={}&code={code}", state_of(&state));
        let page = all.browser.get(&path).await;
        assert!(page.text.contains("end_of_redirect_response.js"));
        assert!(!page.text.contains("<script>") && !page.text.contains("alert(d"), "{}", page.text);
        if !ends.is_empty() {
            assert_eq!(page.config()["redirectUrl"], ends);
        }
        assert_eq!(page.config()["setCredentialToken"], true);
    }
}

fn state_of(value: &Value) -> String {
    state(value)
}

#[tokio::test]
async fn a_post_brings_the_same_as_json_or_as_a_form() {
    let all = OAuthScene::new().await;
    let state =
        STANDARD.encode(json!({"loginStyle": "popup", "credentialToken": TOKEN}).to_string());
    for is_json in [true, false] {
        let code = all.provider.code(grace());
        let (kind, body) = if is_json {
            ("application/json", json!({"state": state, "code": code}).to_string())
        } else {
            let form = [("state", &state), ("code", &code)];
            let mut text = url::form_urlencoded::Serializer::new(String::new());
            ("application/x-www-form-urlencoded", text.extend_pairs(form).finish())
        };
        let request = Request::post("/_oauth/example").header("content-type", kind);
        let page = all.browser.send(request.body(Body::from(body)).unwrap()).await;
        let client = all.scene.client().await;
        client.call::<LoggedIn>("login", (by_page(&page),)).await.unwrap();
    }
}

#[tokio::test]
async fn clients_without_a_window_can_have_the_bare_secret() {
    let all = OAuthScene::new().await;
    let code = all.provider.code(grace());
    let path = "only_credential_secret_for_test=1";
    let path = format!("/_oauth/example?state={}&code={code}&{path}", popup());
    let secret = all.browser.get(&path).await.text;
    let login = json!({"oauth": {"credentialToken": TOKEN, "credentialSecret": secret}});
    all.scene.client().await.call::<LoggedIn>("login", (login,)).await.unwrap();
}

#[tokio::test]
async fn an_application_below_a_path_has_its_routes_there_too() {
    let provider = Provider::start().await;
    let service = provider.open_id("example");
    let scene =
        Scene::with(|accounts| accounts.root_url("https://app.example/chat").oauth(service)).await;
    let browser = Browser::new(scene.server.router());
    for prefix in ["", "/chat"] {
        let page = browser.get(&format!("{prefix}/_oauth/example?state={}", popup())).await;
        assert!(page.text.contains(r#"src="/chat/packages/oauth/end_of_popup_response.js""#));
        let script = format!("{prefix}/packages/oauth/end_of_popup_response.js");
        assert_eq!(browser.get(&script).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn without_services_there_are_no_routes() {
    let scene = Scene::new().await;
    let browser = Browser::new(scene.server.router());
    assert_eq!(browser.get("/_oauth/google").await.status, StatusCode::NOT_FOUND);
}
