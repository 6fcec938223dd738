//! Attacks on tokens that are mailed. Each fails.

use futures::future::join_all;

use super::super::passwordless::{by_token, for_email};
use super::super::*;
use crate::accounts::passwordless::{Sent, log_in};
use crate::accounts::{AccountsStore, Selector};
use crate::write_fence::WriteFence;

const ADA: &str = "ada@example.com";
const NO_TOKEN: &str = "User has no token set [403]";

async fn request(client: &Client) {
    client.call::<Value>("requestLoginTokenForUser", (for_email(ADA),)).await.unwrap();
}

/// Another one than this.
fn wrong(token: &str, number: usize) -> String {
    let guess = format!("{number:06}");
    if guess == token { "FFFFFF".to_owned() } else { guess }
}

#[tokio::test(start_paused = true)]
async fn guesses_through_many_connections() {
    let mut scene = Scene::with(Accounts::passwordless).await;
    request(&scene.client().await).await;
    let (_, token) = scene.mailed_sequence().await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(scene.client().await);
    }
    let calls = clients.iter().enumerate().map(async |(number, client)| {
        let login = by_token(ADA, &wrong(&token, number));
        refused(client, "login", (login,)).await
    });
    let errors = join_all(calls).await;
    let count = |text: &str| errors.iter().filter(|error| *error == text).count();
    assert_eq!((count("Email or token mismatch [403]"), count(NO_TOKEN)), (10, 6));
    // The right one does not work any longer, and has to wait with the others.
    let begun = tokio::time::Instant::now();
    let sent = Sent { by: Selector::Email(ADA.to_owned()), token, code: None };
    let login = log_in(&scene.accounts.core, sent, &WriteFence::detached()).await.unwrap();
    assert_eq!(login.error.map(|error| error.to_string()).as_deref(), Some(NO_TOKEN));
    assert!(begun.elapsed().as_secs() >= 10, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_new_token_for_each_ten_guesses() {
    let mut scene = Scene::with(Accounts::passwordless).await;
    let client = scene.client().await;
    for _ in 0..10 {
        request(&client).await;
        scene.mailed_sequence().await;
    }
    let error = refused(&client, "requestLoginTokenForUser", (for_email(ADA),)).await;
    assert!(error.ends_with("[too-many-requests]"), "{error}");
    assert!(scene.mails.try_recv().is_err());
    // Others are not concerned.
    let eve = json!({"selector": {"email": "eve@b.c"}, "userData": {"email": "eve@b.c"}});
    client.call::<Value>("requestLoginTokenForUser", (eve,)).await.unwrap();
}

#[tokio::test]
async fn one_token_on_many_connections_at_once() {
    let mut scene = Scene::with(Accounts::passwordless).await;
    request(&scene.client().await).await;
    let (to, token) = scene.mailed_sequence().await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(scene.client().await);
    }
    let login = by_token(&to, &token);
    let calls = clients.iter().map(|client| client.call::<LoggedIn>("login", (&login,)));
    let ended = join_all(calls).await;
    assert_eq!(ended.iter().filter(|one| one.is_ok()).count(), 1);
}

#[tokio::test]
async fn tokens_for_others_and_those_that_were_replaced() {
    let mut scene = Scene::with(Accounts::passwordless).await;
    let eve = json!({"username": "eve", "email": "eve@example.com"});
    scene.accounts.create_user(&eve).await.unwrap();
    let client = scene.client().await;
    request(&client).await;
    let (_, first) = scene.mailed_sequence().await;
    request(&client).await;
    let (_, second) = scene.mailed_sequence().await;
    let eve = for_email("eve@example.com");
    client.call::<Value>("requestLoginTokenForUser", (eve,)).await.unwrap();
    let (_, eves) = scene.mailed_sequence().await;
    let mismatch = "Email or token mismatch [403]";
    for (email, token) in [(ADA, &eves), ("eve@example.com", &second), (ADA, &first)] {
        if [&first, &second, &eves].iter().filter(|other| **other == token).count() == 1 {
            assert_eq!(refused(&client, "login", (by_token(email, token),)).await, mismatch);
        }
    }
    // An address that the user has no longer is nobody's.
    scene
        .accounts
        .replace_email(&scene.ada, "Ada@example.com", "new@example.com", true)
        .await
        .unwrap();
    let gone = refused(&client, "login", (by_token(ADA, &second),)).await;
    assert_eq!(gone, "User not found [403]");
    let other = refused(&client, "login", (by_token("new@example.com", &second),)).await;
    assert_eq!(other, mismatch);
}

#[tokio::test]
async fn objects_and_arrays_where_strings_are_expected() {
    let scene =
        Scene::with(|accounts| super::super::second_factor::second_factor(accounts.passwordless()))
            .await;
    let (client, _) = scene.ada().await;
    request(&client).await;
    for bad in [json!({"$gt": ""}), json!({"$ne": null}), json!(["ADA"]), json!(7), json!(true)] {
        for (method, params) in [
            ("login", json!([{"selector": {"email": ADA}, "token": bad}])),
            ("login", json!([{"selector": {"email": bad}, "token": "ABCDEF"}])),
            ("login", json!([{"selector": {"id": bad}, "token": "ABCDEF"}])),
            ("login", json!([{"selector": {"email": ADA, "x": bad}, "token": "ABCDEF"}])),
            ("login", json!([{"selector": {"email": ADA}, "token": "ABCDEF", "code": bad}])),
            ("login", json!([{"selector": bad, "token": "ABCDEF"}])),
            ("requestLoginTokenForUser", json!([bad])),
            ("requestLoginTokenForUser", json!([{"selector": bad}])),
            ("requestLoginTokenForUser", json!([{"selector": {"email": bad}}])),
            (
                "requestLoginTokenForUser",
                json!([{"selector": {"email": "x@b.c"}, "userData":
                {"email": bad}}]),
            ),
            ("enableUser2fa", json!([bad])),
            ("generate2faActivationQrCode", json!([bad])),
        ] {
            let error = refused(&client, method, &params).await;
            assert_eq!(error, "Match failed [400]", "{method} {params}");
        }
    }
    assert_eq!(scene.accounts.find_user_by_email("x@b.c").await.unwrap(), None);
    let long = json!([{"selector": {"email": ADA}, "userData": {"x": "x".repeat(20_000)}}]);
    assert_eq!(refused(&client, "requestLoginTokenForUser", long).await, "Match failed [400]");
}

#[tokio::test(start_paused = true)]
async fn who_exists_by_what_is_answered() {
    let mut scene =
        Scene::with(|accounts| accounts.passwordless().ambiguous_error_messages(true)).await;
    let client = scene.client().await;
    let mut answers = Vec::new();
    for email in ["nobody@example.com", ADA] {
        let answer: Value =
            client.call("requestLoginTokenForUser", (for_email(email),)).await.unwrap();
        answers.push(answer["isNewUser"].clone());
        let begun = tokio::time::Instant::now();
        let error = refused(&client, "login", (by_token(email, "ABCDEF"),)).await;
        assert_eq!(error, format!("{AMBIGUOUS} [403]"));
        assert!(begun.elapsed().as_millis() >= 250, "{:?}", begun.elapsed());
    }
    assert_eq!(answers, [false, false]);
    assert_eq!(scene.mailed_sequence().await.0, "Ada@example.com");
    assert!(scene.mails.try_recv().is_err(), "nobody gets a mail");
}

#[tokio::test]
async fn what_is_stored_in_the_place_of_a_token() {
    let store = MemoryAccounts::new();
    let mut scene = Scene::of(store.clone(), Accounts::passwordless).await;
    let client = scene.client().await;
    request(&client).await;
    let (_, token) = scene.mailed_sequence().await;
    let (kept, _) = store.find_service(&scene.ada, "passwordless").await.unwrap().unwrap();
    let text = Ejson::Object(kept.data.clone()).to_text();
    assert!(!text.contains(&token), "{text}");
    let hash = kept.data["tokens"].as_array().unwrap()[0].get("token").unwrap();
    let login = json!({"selector": {"email": ADA}, "token": hash.as_str()});
    assert_eq!(refused(&client, "login", (login,)).await, "Match failed [400]");
    assert!(store.find_user(&Selector::Id(scene.ada.clone())).await.unwrap().is_some());
}

#[tokio::test]
async fn a_token_of_before_everything_was_ended() {
    let mut scene = Scene::with(Accounts::passwordless).await;
    for end in 0..4 {
        let (own, _) = scene.ada().await;
        request(&scene.client().await).await;
        let (_, token) = scene.mailed_sequence().await;
        match end {
            0 => scene.accounts.set_password(&scene.ada, PASSWORD, false).await.unwrap(),
            1 => {
                own.call::<Value>("changePassword", (PASSWORD, PASSWORD)).await.unwrap();
            }
            2 => {
                scene.accounts.logout_user(&scene.ada).await.unwrap();
            }
            _ => {
                scene.accounts.deactivate(&scene.ada).await.unwrap();
                scene.accounts.activate(&scene.ada).await.unwrap();
            }
        }
        let login = (by_token(ADA, &token),);
        assert_eq!(refused(&scene.client().await, "login", login).await, NO_TOKEN, "{end}");
    }
}
