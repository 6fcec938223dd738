//! Tokens that are mailed.

use super::*;
use crate::accounts::{MailTemplates, Selector};

#[tokio::test]
async fn a_forgotten_password_is_reset_by_a_mailed_token() {
    let mut scene = Scene::new().await;
    let (other, _) = scene.ada().await;
    let client = scene.client().await;
    let nobody = json!({"email": "nobody@example.com"});
    assert_eq!(refused(&client, "forgotPassword", (nobody,)).await, "User not found [403]");
    client.call::<()>("forgotPassword", (json!({"email": "ADA@example.com"}),)).await.unwrap();
    let mail = scene.mails.recv().await.unwrap();
    // To the address as it is stored.
    assert_eq!(mail.to, "Ada@example.com");
    assert_eq!(mail.subject, "How to reset your password on app.example");
    assert!(mail.text.starts_with("Hello Ada,\n"), "{}", mail.text);
    let link = "https://app.example/#/reset-password/";
    let (_, token) = mail.text.split_once(link).expect("a link");
    let token = &token[..43];
    assert!(!format!("{mail:?}").contains(token));

    let new = json!({"digest": "0".repeat(64), "algorithm": "sha-256"});
    let login: LoggedIn = client.call("resetPassword", (token, &new)).await.unwrap();
    assert_eq!((&login.id, login.r#type.as_str()), (&scene.ada, "password"));
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    other.closed().await;
    // Whoever reads the mail has the address.
    let ada = scene.accounts.find_user(&scene.ada).await.unwrap().unwrap();
    assert!(ada.emails[0].verified);
    let error = refused(&scene.client().await, "login", (by_digest(DIGEST),)).await;
    assert_eq!(error, "Incorrect password [403]");
}

#[tokio::test]
async fn a_name_that_is_no_name_is_not_in_mails_to_strangers() {
    let mut scene = Scene::with(Accounts::send_verification_email).await;
    for (number, name) in ["x".repeat(101), "Buy this\nnow".to_owned()].into_iter().enumerate() {
        let user = json!({
            "email": format!("{number}@example.com"), "password": PASSWORD, "profile": {"name": name}
        });
        scene.client().await.call::<LoggedIn>("createUser", (user,)).await.unwrap();
        let mail = scene.mails.recv().await.unwrap();
        assert!(mail.text.starts_with("Hello,\n"), "{}", mail.text);
    }
}

#[tokio::test]
async fn the_connection_that_resets_stays_and_gets_a_new_token() {
    let scene = Scene::new().await;
    let (client, old) = scene.ada().await;
    let token = scene.accounts.generate_reset_token(&scene.ada, None).await.unwrap();
    let new: LoggedIn = client.call("resetPassword", (token, "another")).await.unwrap();
    assert_ne!(new.token, old.token);
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    assert!(resume(&scene.client().await, &old.token).await.is_err());
}

#[tokio::test]
async fn a_mailed_token_verifies_an_address_once_and_logs_in() {
    let mut scene = Scene::with(Accounts::send_verification_email).await;
    let client = scene.client().await;
    let alan = json!({"email": "alan@example.com", "password": "bletchley"});
    let alan: LoggedIn = client.call("createUser", (alan,)).await.unwrap();
    let token = scene.mailed_token().await;
    let reader = scene.client().await;
    let login: LoggedIn = reader.call("verifyEmail", (&token,)).await.unwrap();
    assert_eq!(login.id, alan.id);
    client.wait_until(|client| client.documents(&USERS)[0].to_text().contains("true")).await;
    let error = refused(&reader, "verifyEmail", (&token,)).await;
    assert_eq!(error, "Verify email link expired [403]");
    // Without a password, the mail is for setting one.
    client.call::<LoggedIn>("createUser", (json!({"email": "b@c.d"}),)).await.unwrap();
    let mail = scene.mails.recv().await.unwrap();
    assert_eq!(mail.subject, "An account has been created for you on app.example");
}

#[tokio::test]
async fn an_address_that_is_gone_takes_its_tokens_along() {
    let scene = Scene::new().await;
    let (accounts, ada) = (&scene.accounts, &scene.ada);
    accounts.add_email(ada, "old@example.com", false).await.unwrap();
    let verify = accounts.generate_verification_token(ada, Some("old@example.com")).await.unwrap();
    let reset = accounts.generate_reset_token(ada, Some("old@example.com")).await.unwrap();
    accounts.remove_email(ada, "old@example.com").await.unwrap();
    let client = scene.client().await;
    let error = refused(&client, "verifyEmail", (verify,)).await;
    assert_eq!(error, "Verify email link expired [403]");
    assert_eq!(refused(&client, "resetPassword", (reset, "x")).await, "Token expired [403]");
    let error = accounts.generate_reset_token(ada, Some("old@example.com")).await.unwrap_err();
    assert_eq!(error.to_string(), "No such email for user. [403]");
}

#[tokio::test]
async fn enrolment_sets_the_first_password() {
    let mut scene = Scene::new().await;
    let alan = json!({"email": "alan@example.com", "profile": {"name": 7}});
    let alan = scene.accounts.create_user(&alan).await.unwrap();
    scene.accounts.send_enrollment_email(&alan, None).await.unwrap();
    let token = scene.mailed_token().await;
    let client = scene.client().await;
    let login: LoggedIn = client.call("resetPassword", (&token, "bletchley")).await.unwrap();
    assert_eq!(login.id, alan);
    let login = json!({"user": {"email": "alan@example.com"}, "password": "bletchley"});
    scene.client().await.call::<LoggedIn>("login", (login,)).await.unwrap();
}

#[tokio::test]
async fn templates_can_be_replaced() {
    let mut templates = MailTemplates { from: "test@meteor.com".to_owned(), ..Default::default() };
    templates.site_name = Some("The Site".to_owned());
    templates.headers.push(("My-Custom-Header".to_owned(), "Cool".to_owned()));
    templates.verify_email = std::sync::Arc::new(|mail| crate::accounts::Letter {
        subject: format!("{}\r\nBcc: x", mail.greeting()),
        text: mail.url.to_owned(),
        html: Some(format!("<a href={}>", mail.url)),
        ..Default::default()
    });
    let mut scene = Scene::with(|accounts| accounts.email_templates(templates)).await;
    scene.accounts.send_verification_email(&scene.ada, None).await.unwrap();
    let mail = scene.mails.recv().await.unwrap();
    assert_eq!(mail.subject, "Hello Ada,  Bcc: x", "a template cannot break the head");
    assert_eq!((mail.from.as_str(), mail.headers[0].1.as_str()), ("test@meteor.com", "Cool"));
    assert!(mail.html.unwrap().contains("#/verify-email/"));
}

#[tokio::test]
async fn what_is_mailed_is_stored_only_as_a_hash() {
    let store = MemoryAccounts::new();
    let scene = Scene::of(store.clone(), |accounts| accounts).await;
    let (_client, login) = scene.ada().await;
    let token = scene.accounts.generate_reset_token(&scene.ada, None).await.unwrap();
    let by = Selector::Id(scene.ada.clone());
    let shown = format!(
        "{store:?}{:?}{:?}{}",
        scene.accounts,
        crate::accounts::AccountsStore::find_login_user(&store, &by).await.unwrap(),
        store.save().unwrap()
    );
    for secret in [&token, &login.token, PASSWORD, DIGEST] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
