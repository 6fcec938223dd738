//! A second factor: setting it up, and logging in with it.

use super::*;
use crate::accounts::second_factor::code_of;
use crate::accounts::{AccountsStore, Service};

pub(super) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
pub(super) const INVALID: &str = "Invalid 2FA code [invalid-2fa-code]";

#[derive(serde::Deserialize)]
struct Activation {
    svg: String,
    secret: String,
    uri: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Enabled {
    recovery_codes: Vec<String>,
}

impl Scene {
    pub(super) async fn with_second_factor() -> Self {
        Self::with(second_factor).await
    }
}

pub(super) fn second_factor(accounts: Accounts) -> Accounts {
    accounts.two_factor_authentication().oauth_secret_key(KEY)
}

/// A new secret for whoever is logged in, which is not active yet.
pub(super) async fn generate(client: &Client) -> String {
    let activation: Activation =
        client.call("generate2faActivationQrCode", ("App",)).await.expect("a secret");
    activation.secret
}

/// The secret and the recovery codes of whoever is logged in. The code of this step has been used.
pub(super) async fn enable(client: &Client) -> (String, Vec<String>) {
    let secret = generate(client).await;
    let enabled: Enabled =
        client.call("enableUser2fa", (code_of(&secret, 0),)).await.expect("it is active");
    (secret, enabled.recovery_codes)
}

pub(super) fn with_code(code: &str) -> Value {
    json!({"user": "ada", "password": PASSWORD, "code": code})
}

#[tokio::test]
async fn an_app_is_set_up_and_then_asked_for() {
    let scene = Scene::with_second_factor().await;
    let (client, login) = scene.ada().await;
    assert!(!client.call::<bool>("has2faEnabled", ()).await.unwrap());
    let app = "My App ";
    let Activation { svg, secret, uri } =
        client.call("generate2faActivationQrCode", (app,)).await.unwrap();
    assert_eq!(secret.len(), 32);
    assert_eq!(uri, format!("otpauth://totp/My%20App%3Aada?secret={secret}&issuer=My%20App"));
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{svg}");
    // Nothing is asked for before the first code.
    assert!(!client.call::<bool>("has2faEnabled", ()).await.unwrap());
    log_in(&scene.client().await).await;
    let wrong = refused(&client, "enableUser2fa", ("000000",)).await;
    assert_eq!(wrong, INVALID);
    let code = code_of(&secret, 0);
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let enabled: Enabled = client.call("enableUser2fa", (spaced,)).await.unwrap();
    assert_eq!(enabled.recovery_codes.len(), 10);
    assert!(client.call::<bool>("has2faEnabled", ()).await.unwrap());

    let other = scene.client().await;
    let no_code = refused(&other, "login", (by_digest(DIGEST),)).await;
    assert_eq!(no_code, "2FA code must be informed [no-2fa-code]");
    let wrong = json!({"user": "ada", "password": "x", "code": code_of(&secret, 1)});
    assert_eq!(refused(&other, "login", (wrong,)).await, "Incorrect password [403]");
    assert_eq!(refused(&other, "login", (with_code("000000"),)).await, INVALID);
    let right = with_code(&code_of(&secret, 1));
    let with: LoggedIn = other.call("login", (right,)).await.unwrap();
    assert_eq!((&with.id, with.r#type.as_str()), (&scene.ada, "password"));
    assert_eq!(whoami(&other).await, Some(scene.ada.clone()));
    // Who is logged in stays so, and resumes without a code.
    assert_eq!(resume(&scene.client().await, &login.token).await.unwrap().id, scene.ada);

    let again = refused(&client, "generate2faActivationQrCode", ("App",)).await;
    assert!(again.ends_with("[2fa-activated]"), "{again}");
    client.call::<()>("disableUser2fa", ()).await.unwrap();
    log_in(&scene.client().await).await;
}

#[tokio::test]
async fn a_recovery_code_takes_the_place_of_the_app() {
    let scene = Scene::with_second_factor().await;
    let (client, _) = scene.ada().await;
    let (secret, codes) = enable(&client).await;
    let other = scene.client().await;
    let first = with_code(&codes[0].to_lowercase());
    other.call::<LoggedIn>("login", (&first,)).await.unwrap();
    // Another code of the app brings new ones.
    let enabled: Enabled = client.call("enableUser2fa", (code_of(&secret, 1),)).await.unwrap();
    assert_eq!(refused(&other, "login", (with_code(&codes[1]),)).await, INVALID);
    let new = with_code(&enabled.recovery_codes[1]);
    other.call::<LoggedIn>("login", (new,)).await.unwrap();
    assert!(scene.accounts.disable_2fa(&scene.ada).await.unwrap());
    log_in(&other).await;
}

#[tokio::test]
async fn who_is_not_logged_in_sets_up_nothing() {
    let scene = Scene::with_second_factor().await;
    let client = scene.client().await;
    let generate = "There must be a user logged in to generate the QR code. [400]";
    for (method, params, text) in [
        ("generate2faActivationQrCode", json!(["App"]), generate),
        ("enableUser2fa", json!(["123456"]), "No user logged in. [400]"),
        ("disableUser2fa", json!([]), "No user logged in. [400]"),
        ("has2faEnabled", json!([]), "No user logged in. [no-logged-user]"),
        ("generate2faActivationQrCode", json!([]), "Match failed [400]"),
        ("generate2faActivationQrCode", json!(["x".repeat(65)]), "Match failed [400]"),
        ("generate2faActivationQrCode", json!(["a\nb"]), "Match failed [400]"),
        ("enableUser2fa", json!([]), "Match failed [400]"),
    ] {
        assert_eq!(refused(&client, method, params).await, text);
    }
    let (client, _) = scene.ada().await;
    let none = refused(&client, "enableUser2fa", ("123456",)).await;
    assert!(none.starts_with("The user does not have a secret generated."), "{none}");
    // Whoever has not asked for it has no such methods.
    let scene = Scene::new().await;
    let (client, _) = scene.ada().await;
    let unknown = refused(&client, "has2faEnabled", ()).await;
    assert!(unknown.ends_with("[404]"), "{unknown}");
}

#[tokio::test]
async fn what_meteor_has_stored_is_read() {
    let store = MemoryAccounts::new();
    let scene = Scene::of(store.clone(), second_factor).await;
    let secret = "jbswy3dpehpk3pxpjbswy3dpehpk3pxp";
    let data = [("secret", secret), ("type", "otp"), ("note", "kept")];
    let data = data.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect();
    let service = Service { service_id: None, data };
    store.put_service(&scene.ada, "twoFactorAuthentication", 0, Some(&service)).await.unwrap();
    let client = scene.client().await;
    let right = with_code(&code_of(secret, 0));
    client.call::<LoggedIn>("login", (&right,)).await.unwrap();
    assert_eq!(refused(&client, "login", (&right,)).await, INVALID);
    let kept = store.find_service(&scene.ada, "twoFactorAuthentication").await.unwrap().unwrap();
    assert_eq!(kept.0.data.get("note").and_then(Ejson::as_str), Some("kept"));
}
