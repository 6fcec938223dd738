//! Attacks on the second factor. Each fails.

use futures::future::join_all;

use super::super::second_factor::{INVALID, KEY, enable, generate, second_factor, with_code};
use super::super::*;
use crate::accounts::second_factor::code_of;
use crate::accounts::{AccountsStore, Service};
use crate::log::tests::Written;

const SERVICE: &str = "twoFactorAuthentication";

/// How many of these logins, sent at once by as many connections, succeed.
async fn succeed(scene: &Scene, logins: &[Value]) -> (usize, Vec<String>) {
    let mut clients = Vec::new();
    for _ in logins {
        clients.push(scene.client().await);
    }
    let calls = clients.iter().zip(logins);
    let calls = calls.map(|(client, login)| client.call::<LoggedIn>("login", (login,)));
    let ended = join_all(calls).await;
    let errors = ended.iter().filter_map(|one| one.as_ref().err()).map(ToString::to_string);
    (ended.iter().filter(|one| one.is_ok()).count(), errors.collect())
}

#[tokio::test]
async fn a_code_that_was_overheard() {
    let scene = Scene::with_second_factor().await;
    let (client, _) = scene.ada().await;
    let secret = generate(&client).await;
    let first = code_of(&secret, 0);
    client.call::<Ejson>("enableUser2fa", (&first,)).await.unwrap();
    let other = scene.client().await;
    // What activated it, what logged in, and what was good before.
    assert_eq!(refused(&other, "login", (with_code(&first),)).await, INVALID);
    let later = with_code(&code_of(&secret, 2));
    other.call::<LoggedIn>("login", (&later,)).await.unwrap();
    assert_eq!(refused(&other, "login", (&later,)).await, INVALID);
    assert_eq!(refused(&other, "login", (with_code(&code_of(&secret, 1)),)).await, INVALID);
}

#[tokio::test]
async fn one_code_on_many_connections_at_once() {
    let scene = Scene::with_second_factor().await;
    let (client, _) = scene.ada().await;
    let (secret, codes) = enable(&client).await;
    for code in [code_of(&secret, 1), codes[0].clone()] {
        let (count, errors) = succeed(&scene, &vec![with_code(&code); 6]).await;
        assert_eq!(count, 1, "{errors:?}");
        assert!(errors.iter().all(|error| error == INVALID), "{errors:?}");
    }
}

#[tokio::test]
async fn two_who_activate_with_one_code() {
    let scene = Scene::with_second_factor().await;
    let ((one, _), (two, _)) = (scene.ada().await, scene.ada().await);
    let secret = generate(&one).await;
    let code = (code_of(&secret, 0),);
    let (first, second) = futures::join!(
        one.call::<Ejson>("enableUser2fa", &code),
        two.call::<Ejson>("enableUser2fa", &code)
    );
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1);
}

#[tokio::test]
async fn codes_of_others_and_of_secrets_that_are_gone() {
    let scene = Scene::with_second_factor().await;
    let user = json!({"username": "eve", "password": PASSWORD});
    scene.accounts.create_user(&user).await.unwrap();
    let eve = scene.client().await;
    eve.call::<LoggedIn>("login", (json!({"user": "eve", "password": PASSWORD}),)).await.unwrap();
    let (eves, eves_codes) = enable(&eve).await;
    let (client, _) = scene.ada().await;
    let before = generate(&client).await;
    let (secret, _) = enable(&client).await;
    let other = scene.client().await;
    for code in [code_of(&eves, 1), eves_codes[0].clone(), code_of(&before, 1)] {
        assert_eq!(refused(&other, "login", (with_code(&code),)).await, INVALID);
    }
    other.call::<LoggedIn>("login", (with_code(&code_of(&secret, 1)),)).await.unwrap();
}

#[tokio::test]
async fn guesses_through_many_connections() {
    let scene = Scene::with_second_factor().await;
    let (client, _) = scene.ada().await;
    let (secret, codes) = enable(&client).await;
    let right = code_of(&secret, 1);
    let mut looked_at = 0;
    for round in 0..4 {
        let guesses: Vec<Value> = (0..12)
            .map(|number| format!("{:06}", 100_000 + round * 100 + number))
            .filter(|guess| *guess != right)
            .map(|guess| with_code(&guess))
            .collect();
        let (count, errors) = succeed(&scene, &guesses).await;
        assert_eq!(count, 0);
        looked_at += errors.iter().filter(|error| *error == INVALID).count();
        let is_refused = |error: &String| error.ends_with("[too-many-requests]");
        assert!(errors.iter().all(|error| error == INVALID || is_refused(error)), "{errors:?}");
    }
    // However many there are, six are compared, and then none for 30 seconds: not the right one either.
    assert_eq!(looked_at, 6);
    let other = scene.client().await;
    let waits = refused(&other, "login", (with_code(&right),)).await;
    assert!(waits.ends_with("[too-many-requests]"), "{waits}");
    // Who has a recovery code is not locked out, and ends the wait.
    other.call::<LoggedIn>("login", (with_code(&codes[0]),)).await.unwrap();
    other.call::<LoggedIn>("login", (with_code(&right),)).await.unwrap();
}

#[tokio::test]
async fn a_right_password_does_not_forgive_wrong_codes() {
    let scene = Scene::with_second_factor().await;
    let (client, _) = scene.ada().await;
    enable(&client).await;
    let other = scene.client().await;
    let mut last = String::new();
    for number in 0..7 {
        // One without a code is refused before any is counted.
        refused(&other, "login", (by_digest(DIGEST),)).await;
        last = refused(&other, "login", (with_code(&format!("00000{number}")),)).await;
    }
    assert!(last.ends_with("[too-many-requests]"), "{last}");
}

#[tokio::test]
async fn a_secret_that_is_moved_to_another_user_or_sealed_by_another_key() {
    let store = MemoryAccounts::new();
    let scene = Scene::of(store.clone(), second_factor).await;
    let eve = json!({"username": "eve", "password": PASSWORD});
    let eve = scene.accounts.create_user(&eve).await.unwrap();
    let client = scene.client().await;
    client
        .call::<LoggedIn>("login", (json!({"user": "eve", "password": PASSWORD}),))
        .await
        .unwrap();
    let (secret, _) = enable(&client).await;
    let (service, _) = store.find_service(&eve, SERVICE).await.unwrap().unwrap();
    assert!(!Ejson::Object(service.data.clone()).to_text().contains(&secret), "it is sealed");
    store.put_service(&scene.ada, SERVICE, 0, Some(&service)).await.unwrap();
    let other = scene.client().await;
    let code = with_code(&code_of(&secret, 1));
    assert_eq!(refused(&other, "login", (code,)).await, INVALID);
    // Nor does somebody get in because a record is broken.
    let broken = [("type", "otp"), ("secret", &secret), ("lastStep", "none")];
    let broken = broken.map(|(name, value)| (name.to_owned(), value.into()));
    let broken = Service { service_id: None, data: broken.into_iter().collect() };
    store.put_service(&scene.ada, SERVICE, 1, Some(&broken)).await.unwrap();
    let error = refused(&other, "login", (with_code("123456"),)).await;
    assert!(error.ends_with("[500]"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn secrets_in_the_log() {
    let written = Written::default();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(written.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(log);
    // What another test came upon first may not be logged here, so all is gone through before.
    let before = go_through_secrets().await;
    tracing::callsite::rebuild_interest_cache();
    let secrets = go_through_secrets().await;

    let written = written.lines().join("\n");
    assert!(written.contains("a second factor cannot be read"), "{written}");
    assert!(written.contains("set Accounts::oauth_secret_key"), "{written}");
    for hidden in before.iter().chain(&secrets) {
        assert!(!written.contains(hidden), "{hidden} is in the log");
    }
}

/// Uses all that is secret, and returns it.
async fn go_through_secrets() -> Vec<String> {
    let store = MemoryAccounts::new();
    let both = |accounts: Accounts| {
        let accounts = second_factor(accounts).passwordless();
        assert!(!format!("{accounts:?}").contains(KEY));
        accounts
    };
    let mut scene = Scene::of(store.clone(), both).await;
    let (client, _) = scene.ada().await;
    let (secret, codes) = enable(&client).await;
    let request = super::super::passwordless::for_email("ada@example.com");
    client.call::<Value>("requestLoginTokenForUser", (request,)).await.unwrap();
    let (_, token) = scene.mailed_sequence().await;
    let right = code_of(&secret, 1);
    let login = super::super::passwordless::by_token("ada@example.com", &token);
    for login in [with_code("12 34 56"), with_code(&right), with_code(&codes[0]), login] {
        let _ = client.call::<LoggedIn>("login", (login,)).await;
    }
    // One that cannot be opened is told of.
    let (mut service, version) = store.find_service(&scene.ada, SERVICE).await.unwrap().unwrap();
    service.data.insert("secret".to_owned(), "superSecret0".into());
    store.put_service(&scene.ada, SERVICE, version, Some(&service)).await.unwrap();
    assert_eq!(refused(&client, "login", (with_code("654321"),)).await, INVALID);
    let plain = Accounts::new(MemoryAccounts::new()).two_factor_authentication().build();
    assert!(!format!("{plain:?}{:?}", scene.accounts).contains(&secret));
    let fixed = ["654321", "superSecret0", KEY, "12 34 56"].map(str::to_owned);
    [secret, codes[0].clone(), right, token].into_iter().chain(fixed).collect()
}
