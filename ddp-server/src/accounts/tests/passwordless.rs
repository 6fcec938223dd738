//! Logins by tokens that are mailed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::accounts::second_factor::code_of;

impl Scene {
    /// The token that the next mail says, and who it is for.
    pub(super) async fn mailed_sequence(&mut self) -> (String, String) {
        let mail = self.mails.recv().await.expect("a mail");
        let lines: Vec<&str> = mail.text.lines().collect();
        let is_token = |line: &&&str| line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let token = lines.iter().filter(|line| line.len() == 6).find(is_token);
        (mail.to, (*token.expect("a token")).to_owned())
    }
}

pub(super) fn by_token(email: &str, token: &str) -> Value {
    json!({"selector": {"email": email}, "token": token})
}

pub(super) fn for_email(email: &str) -> Value {
    json!({"selector": {"email": email}, "options": {"userCreationDisabled": true}})
}

#[tokio::test]
async fn a_mailed_token_logs_in_once_and_verifies_the_address() {
    let mut scene = Scene::with(Accounts::passwordless).await;
    let client = scene.client().await;
    let request = json!({"selector": {"email": "ada@example.com"}, "userData": {"x": 1}});
    let answer: Value = client.call("requestLoginTokenForUser", (&request,)).await.unwrap();
    let expected = json!({"selector": {"email": "ada@example.com"}, "userData": {"x": 1},
        "isNewUser": false});
    assert_eq!(answer, expected);
    let mail = scene.mails.recv().await.unwrap();
    assert_eq!(mail.to, "Ada@example.com");
    assert_eq!(mail.subject, "Your login token for app.example");
    let (_, link) = mail.text.split_once("https://app.example/?loginToken=").expect("a link");
    let (token, rest) = link.split_at(6);
    assert!(rest.starts_with("&selector=Ada%40example%2Ecom\n"), "{rest}");
    assert!(mail.text.contains(&format!("\n{token}\n")), "{}", mail.text);

    assert_eq!(token, token.to_uppercase());
    let login = by_token("ada@example.com", &token.to_lowercase());
    let by: LoggedIn = client.call("login", (&login,)).await.unwrap();
    assert_eq!((&by.id, by.r#type.as_str()), (&scene.ada, "passwordless"));
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    let document = client.documents(&USERS).remove(0);
    assert_eq!(
        document.get("emails").unwrap().to_text(),
        r#"[{"address":"Ada@example.com","verified":true}]"#
    );
    let again = refused(&client, "login", (login,)).await;
    assert_eq!(again, "User has no token set [403]");
}

#[tokio::test]
async fn refusals_have_meteors_texts() {
    let mut scene = Scene::with(Accounts::passwordless).await;
    let client = scene.client().await;
    let nobody = by_token("nobody@example.com", "ABCDEF");
    assert_eq!(refused(&client, "login", (nobody,)).await, "User not found [403]");
    let none = by_token("ada@example.com", "ABCDEF");
    assert_eq!(refused(&client, "login", (&none,)).await, "User has no token set [403]");
    let request = for_email("ada@example.com");
    client.call::<Value>("requestLoginTokenForUser", (request,)).await.unwrap();
    let (_, token) = scene.mailed_sequence().await;
    let wrong = if token == "ABCDEF" { "ABCDEE" } else { "ABCDEF" };
    for (login, text) in [
        (by_token("ada@example.com", wrong), "Email or token mismatch [403]"),
        (json!({"selector": {"username": "ada"}, "token": wrong}), "Token mismatch [403]"),
        // What is mailed is for the address.
        (json!({"selector": {"id": scene.ada}, "token": token}), "Token mismatch [403]"),
        (by_token("ada@example.com", "ABCDEF0"), "Match failed [400]"),
        (json!({"selector": {}, "token": "ABCDEF"}), "Match failed [400]"),
        (json!({"selector": "ada", "token": "ABCDEF", "x": 1}), "Match failed [400]"),
        // Nobody's, as there is no selector.
        (json!({"token": "ABCDEF"}), "Unrecognized options for login request [400]"),
    ] {
        assert_eq!(refused(&client, "login", (login,)).await, text);
    }
    for (request, text) in [
        (json!({}), "Match failed [400]"),
        (json!({"selector": {"email": "a@b.c", "id": "x"}}), "Match failed [400]"),
        (json!({"selector": {"email": ""}}), "Match failed [400]"),
        (for_email("nobody@example.com"), "User not found [403]"),
        (json!({"selector": {"email": "new@b.c"}}), "Need to set a username or email [400]"),
        (
            json!({"selector": {"email": "new@b.c"}, "userData": {"email": "other@b.c"}}),
            "Login tokens could not be generated [403]",
        ),
    ] {
        assert_eq!(refused(&client, "requestLoginTokenForUser", (request,)).await, text);
    }
    assert_eq!(scene.accounts.find_user_by_email("other@b.c").await.unwrap(), None);
    let scene = Scene::new().await;
    let client = scene.client().await;
    let unknown = refused(&client, "requestLoginTokenForUser", (for_email("a@b.c"),)).await;
    assert!(unknown.ends_with("[404]"), "{unknown}");
    let unknown = refused(&client, "login", (none,)).await;
    assert_eq!(unknown, "Unrecognized options for login request [400]");
}

#[tokio::test]
async fn a_stranger_becomes_a_user_unless_that_is_forbidden() {
    let new = json!({"selector": {"email": "new@example.com"},
        "userData": {"email": "new@example.com", "password": {"not": "looked at"},
            "profile": {"name": "New"}}});
    let hooked = |accounts: Accounts| {
        accounts
            .passwordless()
            .on_create_user(async |creation| {
                let mut user = creation.user;
                assert!(creation.options.get("password").is_none());
                user.profile = Some([("hooked".to_owned(), true.into())].into_iter().collect());
                Ok(user)
            })
            .validate_new_user(async |user| Ok(user.username.as_deref() != Some("invalid")))
    };
    let mut scene = Scene::with(hooked).await;
    let client = scene.client().await;
    let data = json!({"email": "new@example.com", "profile": {"name": "New"}});
    let invalid = json!({"selector": {"email": "new@example.com"},
        "userData": {"email": "new@example.com", "username": "invalid"}});
    let refusal = refused(&client, "requestLoginTokenForUser", (invalid,)).await;
    assert_eq!(refusal, "User validation failed [403]");
    // What cannot be a password is refused, as by createUser.
    let refusal = refused(&client, "requestLoginTokenForUser", (&new,)).await;
    assert_eq!(refusal, "Match failed [400]");
    let new = json!({"selector": {"email": "new@example.com"}, "userData": data});
    let answer: Value = client.call("requestLoginTokenForUser", (&new,)).await.unwrap();
    assert_eq!(answer["isNewUser"], true);
    let (to, token) = scene.mailed_sequence().await;
    assert_eq!(to, "new@example.com");
    let login: LoggedIn = client.call("login", (by_token(&to, &token),)).await.unwrap();
    let user = scene.accounts.find_user(&login.id).await.unwrap().unwrap();
    assert_eq!(Ejson::Object(user.profile.unwrap()).to_text(), r#"{"hooked":true}"#);
    assert!(user.emails[0].verified);

    let scene = Scene::with(|accounts| accounts.passwordless().forbid_client_account_creation());
    let client = scene.await.client().await;
    let refusal = refused(&client, "requestLoginTokenForUser", (new,)).await;
    assert_eq!(refusal, "User not found [403]");
}

#[tokio::test]
async fn an_application_sends_tokens_by_another_way() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&sent);
    let mut scene = Scene::with(move |accounts| {
        accounts.passwordless().on_create_login_token(move |created| {
            let shown = format!("{created:?}");
            assert!(!shown.contains(&created.token), "{shown}");
            note.lock().push((created.user_id, created.token));
            std::future::ready(Ok(false))
        })
    })
    .await;
    let client = scene.client().await;
    let request = json!({"selector": {"username": "ada"}});
    client.call::<Value>("requestLoginTokenForUser", (request,)).await.unwrap();
    assert!(scene.mails.try_recv().is_err(), "nothing is mailed");
    let (user_id, token) = sent.lock().pop().unwrap();
    assert_eq!(user_id, scene.ada);
    let login = json!({"selector": {"username": "ada"}, "token": token});
    client.call::<LoggedIn>("login", (&login,)).await.unwrap();
    // It was not mailed, so it says nothing of the address.
    let ada = scene.accounts.find_user(&scene.ada).await.unwrap().unwrap();
    assert!(!ada.emails[0].verified);
    assert_eq!(refused(&client, "login", (login,)).await, "User has no token set [403]");
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_the_token_waits_for_it() {
    let both = |accounts| second_factor::second_factor(Accounts::passwordless(accounts));
    let mut scene = Scene::with(both).await;
    let (ada, _) = scene.ada().await;
    let (secret, _) = second_factor::enable(&ada).await;
    let client = scene.client().await;
    let request = for_email("ada@example.com");
    client.call::<Value>("requestLoginTokenForUser", (request,)).await.unwrap();
    let (_, token) = scene.mailed_sequence().await;
    let mut login = by_token("ada@example.com", &token);
    let none = refused(&client, "login", (&login,)).await;
    assert_eq!(none, "2FA code must be informed [no-2fa-code]");
    login["code"] = json!("000000");
    assert_eq!(refused(&client, "login", (&login,)).await, second_factor::INVALID);
    login["code"] = json!(code_of(&secret, 1));
    client.call::<LoggedIn>("login", (&login,)).await.unwrap();
    login["code"] = json!(code_of(&secret, 2));
    assert_eq!(refused(&client, "login", (&login,)).await, "User has no token set [403]");
}

#[tokio::test]
async fn options_are_meteors() {
    let mut scene = Scene::with(|accounts| {
        accounts.passwordless().login_token_expiration(Duration::ZERO).token_sequence_length(9)
    })
    .await;
    let client = scene.client().await;
    let request = json!({"selector": "ada@example.com"});
    client.call::<Value>("requestLoginTokenForUser", (request,)).await.unwrap();
    let mail = scene.mails.recv().await.unwrap();
    let token = mail.text.split("loginToken=").nth(1).unwrap().split('&').next().unwrap();
    assert_eq!(token.len(), 9);
    let login = by_token("ada@example.com", token);
    assert_eq!(refused(&client, "login", (login,)).await, "Expired token [403]");
}
