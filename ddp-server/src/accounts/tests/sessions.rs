//! Tokens, and the connections that hold them.

use std::time::Duration;

use super::*;
use crate::accounts::core::ago;
use crate::accounts::store::{LoginToken, TokenGuard};
use crate::accounts::token::Token;

#[tokio::test]
async fn logout_closes_those_who_share_the_token_and_nobody_else() {
    let scene = Scene::new().await;
    let (client, login) = scene.ada().await;
    let (sharing, (other, _)) = (scene.client().await, scene.ada().await);
    resume(&sharing, &login.token).await.unwrap();
    client.call::<()>("logout", ()).await.unwrap();
    sharing.closed().await;
    assert_eq!(whoami(&client).await, None);
    assert!(client.documents(&USERS).is_empty());
    assert_eq!(whoami(&other).await, Some(scene.ada.clone()));
    assert!(resume(&client, &login.token).await.is_err());
    // Nothing is wrong with logging out again.
    client.call::<()>("logout", ()).await.unwrap();
}

#[tokio::test]
async fn a_new_token_lasts_as_long_as_the_old_one_which_stays() {
    let scene = Scene::new().await;
    let (client, login) = scene.ada().await;
    let new: LoggedIn = client.call("getNewToken", ()).await.unwrap();
    assert_eq!((&new.id, new.token_expires), (&login.id, login.token_expires));
    assert_ne!(new.token, login.token);
    let other = scene.client().await;
    resume(&other, &login.token).await.unwrap();
    client.call::<()>("removeOtherTokens", ()).await.unwrap();
    other.closed().await;
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    let third = scene.client().await;
    assert!(resume(&third, &login.token).await.is_err());
    resume(&third, &new.token).await.unwrap();
}

#[tokio::test]
async fn who_is_not_logged_in_has_no_tokens() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    for method in ["getNewToken", "removeOtherTokens", "logoutOtherClients", "logoutAllClients"] {
        let error = client.call::<Ejson>(method, ()).await.unwrap_err();
        assert_eq!(error.error, "You are not logged in.".into(), "{method}");
    }
}

#[tokio::test]
async fn others_or_all_are_logged_out() {
    let scene = Scene::new().await;
    let (client, old) = scene.ada().await;
    let (other, _) = scene.ada().await;
    let new: Ejson = client.call("logoutOtherClients", ()).await.unwrap();
    other.closed().await;
    let new = new.as_object().unwrap()["token"].as_str().unwrap().to_owned();
    assert!(resume(&scene.client().await, &old.token).await.is_err());
    let other = scene.client().await;
    resume(&other, &new).await.unwrap();
    client.call::<()>("logoutAllClients", ()).await.unwrap();
    other.closed().await;
    assert_eq!(whoami(&client).await, None);
    assert!(resume(&client, &new).await.is_err());
}

#[tokio::test]
async fn a_changed_password_ends_all_other_logins() {
    let scene = Scene::new().await;
    let (client, _) = scene.ada().await;
    let (other, _) = scene.ada().await;
    let new = json!({"digest": "0".repeat(64), "algorithm": "sha-256"});
    let error = refused(&client, "changePassword", ("x", &new)).await;
    assert_eq!(error, "Incorrect password [403]");
    let error = refused(&client, "changePassword", ((), &new)).await;
    assert_eq!(error, "Match failed [400]");
    let changed: Value = client.call("changePassword", (PASSWORD, &new)).await.unwrap();
    assert_eq!(changed, json!({"passwordChanged": true}));
    other.closed().await;
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    let (nobody, old) = (scene.client().await, by_digest(DIGEST));
    assert_eq!(refused(&nobody, "login", (old,)).await, "Incorrect password [403]");
    let error = refused(&nobody, "changePassword", (PASSWORD, &new)).await;
    assert_eq!(error, "Must be logged in [401]");
    let login = by_digest(&"0".repeat(64));
    nobody.call::<LoggedIn>("login", (login,)).await.unwrap();
}

#[tokio::test]
async fn who_is_deactivated_or_removed_is_out() {
    let scene = Scene::new().await;
    let (client, login) = scene.ada().await;
    scene.accounts.deactivate(&scene.ada).await.unwrap();
    client.closed().await;
    let client = scene.client().await;
    assert!(resume(&client, &login.token).await.is_err());
    assert_eq!(refused(&client, "login", (by_digest(DIGEST),)).await, "Login forbidden [403]");
    scene.accounts.activate(&scene.ada).await.unwrap();
    log_in(&client).await;
    scene.accounts.remove_user(&scene.ada).await.unwrap();
    client.closed().await;
    let client = scene.client().await;
    assert_eq!(refused(&client, "login", (by_digest(DIGEST),)).await, "User not found [403]");
}

#[tokio::test]
async fn expired_tokens_end_and_are_forgotten() {
    let scene = Scene::new().await;
    let day = Duration::from_secs(24 * 60 * 60);
    let token = Token::random();
    let old = LoginToken { hash: token.hash(), when: ago(90 * day), expires: None };
    let core = &scene.accounts.core;
    let client = scene.client().await;
    // With the first connection, what had expired before was forgotten.
    assert_eq!(whoami(&client).await, None);
    core.store.add_login_token(&scene.ada, &old, &TokenGuard::Active).await.unwrap();
    let error = resume(&client, &token.reveal()).await.unwrap_err();
    assert_eq!(error.to_string(), "Your session has expired. Please log in again. [403]");
    let (fresh, _) = scene.ada().await;
    assert_eq!(core.remove_expired().await.unwrap(), 1);
    assert!(core.store.find_login_token(&old.hash).await.unwrap().is_none());
    assert_eq!(whoami(&fresh).await, Some(scene.ada.clone()));
    // One that is held when it expires ends its connection.
    let held = core.held.of_users(|_| true).remove(0);
    let (_, stored) = core.store.find_login_token(&held).await.unwrap().unwrap();
    let expired = LoginToken { when: ago(91 * day), ..stored };
    scene.accounts.logout_user(&scene.ada).await.unwrap();
    fresh.closed().await;
    core.store.add_login_token(&scene.ada, &expired, &TokenGuard::Active).await.unwrap();
    assert_eq!(core.remove_expired().await.unwrap(), 1);
}

#[tokio::test]
async fn connections_that_end_are_forgotten() {
    let scene = Scene::new().await;
    let (client, _) = scene.ada().await;
    // Another login takes the place of the first.
    log_in(&client).await;
    assert_eq!(scene.accounts.core.held.count(), 1);
    client.close().await;
    assert_eq!(scene.accounts.core.held.count(), 0);
}
