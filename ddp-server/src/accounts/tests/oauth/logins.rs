//! Logins that end well.

use std::sync::Arc;

use super::*;
use crate::accounts::oauth::ExternalLogin;
use crate::ejson::Object;

fn service_of(scene: &Scene, user: &str, name: &str) -> impl Future<Output = Object> {
    let (core, user, name) = (Arc::clone(&scene.accounts.core), user.to_owned(), name.to_owned());
    async move {
        let found = core.store.find_service(&user, &name).await.expect("a store");
        found.expect("a record").0.data
    }
}

#[tokio::test]
async fn a_popup_logs_in_as_a_new_user_and_then_as_the_same() {
    let all = OAuthScene::new().await;
    let page = all.come_back(&all.provider.code(grace())).await;
    let config = page.config();
    assert_eq!(config["setCredentialToken"], true);
    assert_eq!(config["credentialToken"], TOKEN);
    assert_eq!(config["credentialSecret"].as_str().map(str::len), Some(43));
    let client = all.scene.client().await;
    let login: LoggedIn = client.call("login", (by_page(&page),)).await.unwrap();
    assert_eq!(login.r#type, "example");
    assert_eq!(whoami(&client).await, Some(login.id.clone()));
    let document = client.documents(&USERS).remove(0);
    assert_eq!(document.as_object().unwrap()["profile"].to_text(), r#"{"name":"Grace"}"#);

    // The token is as good as any other.
    assert_eq!(resume(&all.scene.client().await, &login.token).await.unwrap().id, login.id);
    let mut renamed = grace();
    renamed["name"] = json!("Grace Hopper");
    let again = all.log_in(renamed).await.unwrap();
    assert_eq!(again.id, login.id);
    assert_ne!(all.scene.ada, login.id);
    let data = service_of(&all.scene, &login.id, "example").await;
    assert_eq!(data["name"].as_str(), Some("Grace Hopper"));
    assert_eq!(data["email_verified"].as_bool(), Some(true));
    // The profile is the user's own by now.
    let user = all.scene.accounts.find_user(&login.id).await.unwrap().unwrap();
    assert_eq!(user.profile.unwrap()["name"].as_str(), Some("Grace"));
    assert!(user.emails.is_empty());
}

#[tokio::test]
async fn no_token_of_the_provider_is_stored_and_hooks_see_them() {
    let (seen, mut logins) = unbounded_channel::<ExternalLogin>();
    let all = OAuthScene::with(
        |accounts| {
            accounts.on_external_login(move |login| {
                let options = login.options.clone();
                seen.send(login).unwrap();
                async move { Ok(options) }
            })
        },
        |service| service,
    )
    .await;
    let login = all.log_in(grace()).await.unwrap();
    let seen = logins.recv().await.unwrap();
    assert!(seen.user.is_none() && !format!("{seen:?}").contains("access"));
    assert_eq!(seen.data["id"].as_str(), Some("7"));
    assert!(seen.data["accessToken"].as_str().unwrap().starts_with("access-code"));
    assert!(seen.data["idToken"].as_str().unwrap().starts_with("ey"));
    assert_eq!(seen.data["refreshToken"].as_str(), Some("a refresh token"));
    assert_eq!(seen.data["scope"].to_text(), r#"["openid","email"]"#);
    let data = service_of(&all.scene, &login.id, "example").await;
    let text = Ejson::Object(data).to_text();
    assert!(!text.contains("oken") && text.contains("expiresAt"), "{text}");
    // For a user who is there, the service has no options.
    all.log_in(grace()).await.unwrap();
    let seen = logins.recv().await.unwrap();
    assert!(seen.options.is_empty());
    assert_eq!(seen.user.unwrap().id, login.id);
}

#[tokio::test]
async fn hooks_decide_on_logins_and_on_new_users() {
    let all = OAuthScene::with(
        |accounts| {
            accounts
                .before_external_login(async |login: ExternalLogin| {
                    Ok(login.data.get("name").is_some_and(|name| name.as_str() != Some("Mallory")))
                })
                .on_create_user(async |creation| {
                    // A user with a password has none.
                    let Some(service) = creation.services.get("example") else {
                        return Ok(creation.user);
                    };
                    let service = service.as_object().expect("a record");
                    assert!(!service.contains_key("accessToken"));
                    let username = service["given_name"].as_str().map(str::to_lowercase);
                    Ok(crate::accounts::User { username, ..creation.user })
                })
                .validate_new_user(async |user| Ok(user.username.as_deref() != Some("eve")))
        },
        |service| service,
    )
    .await;
    let with = |name: &str, id: &str| json!({"sub": id, "name": name, "given_name": name});
    let error = all.log_in(with("Mallory", "1")).await.unwrap_err();
    assert_eq!(error.to_string(), "Login forbidden [403]");
    let error = all.log_in(with("Eve", "2")).await.unwrap_err();
    assert_eq!(error.to_string(), "User validation failed [403]");
    let error = all.log_in(with("Ada", "3")).await.unwrap_err();
    assert_eq!(error.to_string(), "Username already exists. [403]");
    let login = all.log_in(with("Grace", "4")).await.unwrap();
    let user = all.scene.accounts.find_user_by_username("grace").await.unwrap();
    assert_eq!(user.unwrap().id, login.id);
}

#[tokio::test]
async fn new_users_are_restricted_by_what_the_service_has_verified() {
    let all = OAuthScene::with(
        |accounts| accounts.restrict_creation_by_email_domain("example.com"),
        |service| service,
    )
    .await;
    let with = |id: &str, email: &str, verified: bool| json!({"sub": id, "name": "x", "email": email, "email_verified": verified});
    let refused = Some("@example.com email required [403]".to_owned());
    for (claims, error) in [
        (with("1", "a@other.com", true), refused.clone()),
        (with("2", "a@example.com", false), refused),
        (with("3", "a@example.com", true), None),
    ] {
        let ended = all.log_in(claims).await;
        assert_eq!(ended.err().map(|error| error.to_string()), error);
    }
}

#[tokio::test]
async fn plain_oauth2_asks_for_the_user() {
    let provider = Provider::start().await;
    let service = provider.plain("plain");
    let scene = Scene::with(|accounts| accounts.oauth(service)).await;
    let browser = Browser::new(scene.server.router());
    let code =
        provider.code(json!({"id": 42, "login": "grace", "email": "g@example.com", "a": {}}));
    let page = browser.get(&format!("/_oauth/plain?state={}&code={code}", popup())).await;
    let login: LoggedIn = scene.client().await.call("login", (by_page(&page),)).await.unwrap();
    let found = scene.accounts.core.store.find_user_by_service("plain", "42").await.unwrap();
    let found = found.unwrap();
    assert_eq!(found.id, login.id);
    assert_eq!(found.profile.unwrap()["name"].as_str(), Some("grace"));
}

#[tokio::test]
async fn a_login_that_begins_here_has_pkce_and_a_nonce() {
    let all = OAuthScene::with(|accounts| accounts, OAuthService::only_from_start).await;
    let begun = all.browser.get(&format!("/_oauth/example/start?state={}", popup())).await;
    assert_eq!(begun.status, StatusCode::FOUND);
    let url = begun.headers["location"].to_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("{}/authorize?", all.provider.url())), "{url}");
    for part in [
        "code_challenge_method=S256",
        "scope=openid+email+profile",
        "redirect_uri=https%3A%2F%2Fapp.example%2F_oauth%2Fexample",
    ] {
        assert!(url.contains(part), "{url} has no {part}");
    }
    let cookie = begun.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.ends_with("; Path=/_oauth/example; Max-Age=600; HttpOnly; SameSite=Lax; Secure")
    );
    let (code, state) = all.provider.agree(&url, grace());
    let state: String = url::form_urlencoded::byte_serialize(state.as_bytes()).collect();
    let page = all.browser.get(&format!("/_oauth/example?state={state}&code={code}")).await;
    assert!(page.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let client = all.scene.client().await;
    client.call::<LoggedIn>("login", (by_page(&page),)).await.unwrap();
}

#[tokio::test]
async fn a_new_key_of_the_provider_is_fetched_when_it_is_needed() {
    let all = OAuthScene::new().await;
    all.log_in(grace()).await.unwrap();
    all.provider.rotates();
    // It was asked just now; nobody can make it be asked for every forged token.
    let error = all.log_in(grace()).await.unwrap_err();
    assert!(error.to_string().contains("was refused"), "{error}");
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    tokio::time::resume();
    all.log_in(grace()).await.unwrap();
}

#[tokio::test]
async fn clients_are_told_of_services_without_their_secrets() {
    let extra = [("loginUrlParameters", "x"), ("secret", "client secret")];
    let extra = extra.map(|(name, value)| (name.to_owned(), Ejson::from(value)));
    let all = OAuthScene::with(
        |accounts| accounts,
        |service| service.configuration(extra.into_iter().collect()),
    )
    .await;
    let client = all.scene.client().await;
    client.subscribe("meteor.loginServiceConfiguration", ()).await.unwrap();
    let services = Collection::<Ejson>::new("meteor_accounts_loginServiceConfiguration");
    let text = client.documents(&services).remove(0).to_text();
    let expected = json!({
        "_id": "example", "service": "example", "clientId": "client", "loginStyle": "popup",
        "startUrl": "https://app.example/_oauth/example/start", "loginUrlParameters": "x"
    });
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
}
