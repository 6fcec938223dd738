//! The end of a token.

use std::time::Duration;

use tokio::time::sleep;

use super::*;

fn ending_in(user_id: &str, seconds: i64) -> String {
    Signer::secret(SECRET).sign(&json!({"sub": user_id, "exp": seconds_from_now(seconds)}))
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_as_its_token_ends() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256())).await;
    let (client, other) = (scene.client().await, scene.client().await);
    log_in_by(&client, &ending_in(&scene.ada, 9)).await.unwrap();
    log_in_by(&other, &ending_in(&scene.ada, 18)).await.unwrap();
    sleep(Duration::from_secs(4)).await;
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    client.closed().await;
    assert_eq!(whoami(&other).await, Some(scene.ada.clone()));
    sleep(Duration::from_secs(4)).await;
    assert_eq!(whoami(&other).await, Some(scene.ada.clone()));
    other.closed().await;
}

#[tokio::test(start_paused = true)]
async fn another_login_takes_the_place_of_an_end() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256())).await;
    let (renewed, out) = (scene.client().await, scene.client().await);
    for client in [&renewed, &out] {
        log_in_by(client, &ending_in(&scene.ada, 6)).await.unwrap();
    }
    log_in_by(&renewed, &ending_in(&scene.ada, 14)).await.unwrap();
    // Who has logged out has no end either.
    out.call::<()>("logout", ()).await.unwrap();
    sleep(Duration::from_secs(8)).await;
    assert_eq!(whoami(&renewed).await, Some(scene.ada.clone()));
    assert_eq!(whoami(&out).await, None);
    renewed.closed().await;
}

#[tokio::test]
async fn a_resumption_after_the_end_is_an_expired_session() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256())).await;
    let client = scene.client().await;
    let login = log_in_by(&client, &ending_in(&scene.ada, 2)).await.unwrap();
    client.closed().await;
    let again = scene.client().await;
    let error = resume(&again, &login.token).await.unwrap_err();
    assert_eq!(error.to_string(), "Your session has expired. Please log in again. [403]");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_resumed_ends_as_well() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256())).await;
    let first = scene.client().await;
    let login = log_in_by(&first, &ending_in(&scene.ada, 9)).await.unwrap();
    let second = scene.client().await;
    resume(&second, &login.token).await.unwrap();
    let third = scene.client().await;
    resume(&third, &login.token).await.unwrap();
    third.call::<LoggedIn>("getNewToken", ()).await.unwrap();
    sleep(Duration::from_secs(4)).await;
    for client in [&first, &second, &third] {
        assert_eq!(whoami(client).await, Some(scene.ada.clone()));
    }
    futures::join!(first.closed(), second.closed(), third.closed());
}
