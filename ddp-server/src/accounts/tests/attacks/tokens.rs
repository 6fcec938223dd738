//! Attacks by tokens. Each fails.

use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::Notify;

use super::super::*;
use crate::accounts::core::Core;
use crate::accounts::store::{AccountsStore, Revocation, TokenGuard};
use crate::accounts::token::Token;

#[tokio::test]
async fn a_token_stolen_before_the_logout() {
    let scene = Scene::new().await;
    let (client, login) = scene.ada().await;
    let thief = scene.client().await;
    resume(&thief, &login.token).await.unwrap();
    client.call::<()>("logout", ()).await.unwrap();
    thief.closed().await;
    let thief = scene.client().await;
    assert_eq!(resume(&thief, &login.token).await.unwrap_err().reason.as_deref(), Some(LOGGED_OUT));
}

#[tokio::test]
async fn the_hash_of_a_token_in_its_place() {
    let scene = Scene::new().await;
    let (_client, login) = scene.ada().await;
    let hash = Token::sent(login.token).hash();
    assert!(resume(&scene.client().await, hash.as_str()).await.is_err());
}

#[tokio::test]
async fn a_token_for_another_purpose() {
    let scene = Scene::new().await;
    let (client, login) = scene.ada().await;
    let verify = scene.accounts.generate_verification_token(&scene.ada, None).await.unwrap();
    let reset = scene.accounts.generate_reset_token(&scene.ada, None).await.unwrap();
    for token in [&verify, &login.token] {
        assert_eq!(refused(&client, "resetPassword", (token, "x")).await, "Token expired [403]");
    }
    for token in [&reset, &login.token] {
        let error = refused(&client, "verifyEmail", (token,)).await;
        assert_eq!(error, "Verify email link expired [403]");
    }
    for token in [&verify, &reset] {
        assert!(resume(&scene.client().await, token).await.is_err());
    }
    // Each still does what it is for.
    client.call::<LoggedIn>("verifyEmail", (verify,)).await.unwrap();
    client.call::<LoggedIn>("resetPassword", (reset, "x")).await.unwrap();
}

#[tokio::test]
async fn a_reset_token_replayed_or_raced() {
    let scene = Scene::new().await;
    let token = scene.accounts.generate_reset_token(&scene.ada, None).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(scene.client().await);
    }
    let calls = clients.iter().zip(0..).map(|(client, number)| {
        client.call::<LoggedIn>("resetPassword", (&token, format!("password {number}")))
    });
    let ended = join_all(calls).await;
    assert_eq!(ended.iter().filter(|one| one.is_ok()).count(), 1);
    let client = scene.client().await;
    assert_eq!(refused(&client, "resetPassword", (&token, "x")).await, "Token expired [403]");
    // A newer token ends an older one, and so does any change of the password.
    let old = scene.accounts.generate_reset_token(&scene.ada, None).await.unwrap();
    let new = scene.accounts.generate_reset_token(&scene.ada, None).await.unwrap();
    assert_eq!(refused(&client, "resetPassword", (&old, "x")).await, "Token expired [403]");
    scene.accounts.set_password(&scene.ada, "y", true).await.unwrap();
    assert_eq!(refused(&client, "resetPassword", (&new, "x")).await, "Token expired [403]");
}

#[tokio::test]
async fn a_reset_token_that_is_too_old() {
    let none = std::time::Duration::ZERO;
    let scene = Scene::with(|accounts| accounts.password_reset_token_expiration(none)).await;
    let token = scene.accounts.generate_reset_token(&scene.ada, None).await.unwrap();
    let client = scene.client().await;
    assert_eq!(refused(&client, "resetPassword", (token, "x")).await, "Token expired [403]");
}

#[tokio::test]
async fn a_session_fixed_by_another_login() {
    let scene = Scene::new().await;
    let alan = json!({"username": "alan", "password": "bletchley"});
    let alan = scene.accounts.create_user(&alan).await.unwrap();
    // The victim's connection holds the attacker's token, until the victim logs in.
    let (attacker, token) = scene.ada().await;
    let victim = scene.client().await;
    resume(&victim, &token.token).await.unwrap();
    let login = json!({"user": "alan", "password": "bletchley"});
    let own: LoggedIn = victim.call("login", (login,)).await.unwrap();
    assert_eq!(own.id, alan);
    assert_ne!(own.token, token.token);
    assert_eq!(resume(&attacker, &token.token).await.unwrap().id, scene.ada);
    // The old token has no power over the connection any longer.
    scene.accounts.logout_user(&scene.ada).await.unwrap();
    attacker.closed().await;
    assert_eq!(whoami(&victim).await, Some(alan));
}

#[tokio::test]
async fn a_token_that_went_while_the_store_was_out_of_reach() {
    for revocation in [None, Some(())] {
        let store = MemoryAccounts::new();
        let scene = Scene::of(store.clone(), |accounts| accounts).await;
        let alan = json!({"username": "alan", "password": "bletchley"});
        scene.accounts.create_user(&alan).await.unwrap();
        let ((client, _), other) = (scene.ada().await, scene.client().await);
        let login = json!({"user": "alan", "password": "bletchley"});
        other.call::<LoggedIn>("login", (login,)).await.unwrap();
        store.fall_silent();
        scene.accounts.logout_user(&scene.ada).await.unwrap();
        assert_eq!(whoami(&client).await, Some(scene.ada.clone()), "nobody has been told");
        scene.accounts.core.hear(match revocation {
            None => Revocation::All,
            Some(()) => Revocation::User(scene.ada.clone()),
        });
        client.closed().await;
        assert!(whoami(&other).await.is_some(), "others stay");
    }
}

#[tokio::test]
async fn a_verification_mail_of_before_the_password_was_set() {
    let scene = Scene::new().await;
    let token = scene.accounts.generate_verification_token(&scene.ada, None).await.unwrap();
    scene.accounts.set_password(&scene.ada, "another", true).await.unwrap();
    let thief = scene.client().await;
    let error = refused(&thief, "verifyEmail", (token,)).await;
    assert!(error.contains("Verify email link expired"), "{error}");
}

#[tokio::test]
async fn a_login_raced_with_revocation() {
    // Whenever the revocation comes, the connection ends closed or not logged in.
    for at in ["validated", "logged in"] {
        let revoked = Arc::new(tokio::sync::OnceCell::<AccountsHandle>::new());
        let handle = Arc::clone(&revoked);
        let scene = Scene::with(move |accounts| {
            let revoke = move |user: Option<crate::accounts::User>| {
                let handle = Arc::clone(&handle);
                async move {
                    if let (Some(accounts), Some(user)) = (handle.get(), user) {
                        accounts.logout_user(&user.id).await.unwrap();
                    }
                }
            };
            if at == "validated" {
                accounts.validate_login_attempt(move |attempt| {
                    let revoke = revoke(attempt.user);
                    async move {
                        revoke.await;
                        Ok(true)
                    }
                })
            } else {
                accounts.on_login(move |attempt| revoke(attempt.user))
            }
        })
        .await;
        let (_client, login) = scene.ada().await;
        let _ = revoked.set(scene.accounts.clone());
        let thief = scene.client().await;
        // Not awaited: the connection may end before the result is there.
        let call = thief.call::<Ejson>("login", (json!({"resume": login.token}),));
        tokio::select! {
            biased;
            _ = thief.closed() => {}
            _ = call => {}
        }
        thief.closed().await;
    }
}

#[tokio::test]
async fn a_token_that_went_unheard_between_its_look_up_and_its_use() {
    let store = MemoryAccounts::new();
    let (looked_up, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let events = (Arc::clone(&looked_up), Arc::clone(&go_on));
    let scene = Scene::of(store.clone(), |accounts| {
        accounts.validate_login_attempt(move |attempt| {
            let (looked_up, go_on) = events.clone();
            async move {
                if &*attempt.r#type == "resume" {
                    looked_up.notify_one();
                    go_on.notified().await;
                }
                Ok(true)
            }
        })
    })
    .await;
    let ((client, _), thief) = (scene.ada().await, scene.client().await);
    // Held by nobody yet.
    let token = Token::random();
    let stored = Core::login_token(token.hash(), None);
    assert!(store.add_login_token(&scene.ada, &stored, &TokenGuard::Active).await.unwrap());
    let call = thief.call::<Ejson>("login", (json!({"resume": token.reveal()}),));
    let revoke = async {
        looked_up.notified().await;
        store.fall_silent();
        scene.accounts.logout_user(&scene.ada).await.unwrap();
        scene.accounts.core.hear(Revocation::All);
        // Then all tokens that were held have been looked at.
        client.closed().await;
        go_on.notify_one();
    };
    // The connection may end before the result is there.
    let call = async {
        tokio::select! {
            biased;
            _ = thief.closed() => {}
            _ = call => {}
        }
    };
    let ((), ()) = futures::join!(call, revoke);
    thief.closed().await;
}
