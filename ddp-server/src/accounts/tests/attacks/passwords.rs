//! Attacks by passwords. Each fails.

use super::super::*;
use crate::accounts::core::Core;
use crate::accounts::handlers::{PasswordCheck, find_and_check};
use crate::accounts::store::{AccountsStore, LoginToken, PasswordHash, Selector, TokenGuard};
use crate::accounts::token::Token;

/// Whether a password is right, and how many tenths of a second that took.
async fn check(core: &Core, by: &Selector, password: &str) -> (bool, u128) {
    let begun = tokio::time::Instant::now();
    let password = crate::accounts::input::password(password.into()).unwrap();
    let (_, checked) = find_and_check(core, by, password, None).await.unwrap();
    (matches!(checked, PasswordCheck::Right(_)), begun.elapsed().as_millis() / 100)
}

#[tokio::test]
async fn the_hash_of_a_password_in_its_place() {
    let store = MemoryAccounts::new();
    let scene = Scene::of(store.clone(), |accounts| accounts).await;
    let by = Selector::Id(scene.ada.clone());
    let stored = store.find_login_user(&by).await.unwrap().unwrap().password.unwrap();
    let client = scene.client().await;
    let login = json!({"user": "ada", "password": stored.as_str()});
    assert_eq!(refused(&client, "login", (login,)).await, "Incorrect password [403]");
}

#[tokio::test]
async fn who_exists_by_text() {
    let mut scene = Scene::with(|accounts| accounts.ambiguous_error_messages(true)).await;
    scene.accounts.create_user(&json!({"username": "bare"})).await.unwrap();
    let client = scene.client().await;
    for user in [json!("ada"), json!("nobody"), json!("bare"), json!({"id": scene.ada})] {
        let login = json!({"user": user, "password": "x"});
        assert_eq!(refused(&client, "login", (login,)).await, format!("{AMBIGUOUS} [403]"));
    }
    for email in ["ada@example.com", "nobody@example.com"] {
        client.call::<()>("forgotPassword", (json!({"email": email}),)).await.unwrap();
    }
    assert_eq!(scene.mails.recv().await.unwrap().to, "Ada@example.com");
    for taken in [json!({"username": "ADA"}), json!({"email": "ada@example.com"})] {
        let error = refused(&client, "createUser", (taken,)).await;
        assert_eq!(error, format!("{AMBIGUOUS} [403]"));
    }
}

#[tokio::test]
async fn a_second_factor_is_not_passed_by() {
    let store = MemoryAccounts::new();
    let scene = Scene::of(store.clone(), |accounts| accounts).await;
    let data = [("type".to_owned(), Ejson::from("otp"))].into_iter().collect();
    let second = crate::accounts::Service { service_id: None, data };
    let put = store.put_service(&scene.ada, "twoFactorAuthentication", 0, Some(&second)).await;
    assert!(put.is_ok_and(|is_put| is_put));
    let client = scene.client().await;
    let code = |error: DdpError| error.error;
    let login = |code: Option<&str>| {
        let mut login = json!({"user": "ada", "password": PASSWORD});
        if let Some(code) = code {
            login["code"] = code.into();
        }
        client.call::<Ejson>("login", (login,))
    };
    assert_eq!(code(login(None).await.unwrap_err()), "no-2fa-code".into());
    assert_eq!(code(login(Some("123456")).await.unwrap_err()), "invalid-2fa-code".into());
    let wrong = json!({"user": "ada", "password": "x"});
    assert_eq!(refused(&client, "login", (wrong,)).await, "Incorrect password [403]");
    let token = scene.accounts.generate_reset_token(&scene.ada, None).await.unwrap();
    let reset = client.call::<Ejson>("resetPassword", (token, "second")).await;
    assert_eq!(code(reset.unwrap_err()), "2fa-enabled".into());
    let token = scene.accounts.generate_verification_token(&scene.ada, Some("ada@example.com"));
    let verified = client.call::<Ejson>("verifyEmail", (token.await.unwrap(),)).await;
    assert_eq!(code(verified.unwrap_err()), "2fa-enabled".into());
    assert_eq!(whoami(&client).await, None);
}

#[tokio::test]
async fn a_password_that_others_can_read_on_its_way() {
    let scene = Scene::new().await;
    let far = Client::builder(&scene.server).remote_addr(([192, 0, 2, 1], 4000));
    // What a client says of itself counts only where a proxy is trusted.
    let far = far.header("x-forwarded-proto", "https").connect().await;
    let plain = json!({"user": "ada", "password": PASSWORD});
    let text = "Authentication refused without SSL. [403]";
    assert_eq!(refused(&far, "login", (&plain,)).await, text);
    let user = json!({"username": "alan", "password": "x"});
    assert_eq!(refused(&far, "createUser", (user,)).await, text);
    assert_eq!(refused(&far, "resetPassword", ("token", "x")).await, text);
    log_in(&far).await;
    assert_eq!(refused(&far, "changePassword", (PASSWORD, "x")).await, text);

    // A proxy on this machine that nobody has told of.
    let behind = Client::builder(&scene.server).header("x-forwarded-for", "192.0.2.1, 127.0.0.1");
    assert_eq!(refused(&behind.connect().await, "login", (&plain,)).await, text);
    let behind = Client::builder(&scene.server).header("x-forwarded-for", "::1, 127.0.0.1");
    behind.connect().await.call::<Ejson>("login", (&plain,)).await.unwrap();

    let config = crate::ServerConfig { forwarded_count: 1, ..Default::default() };
    let server = Server::builder().config(config).plugin(scene.accounts.clone()).build();
    for (proto, is_taken) in [("https", true), ("http", false), ("https, http", false), ("", false)]
    {
        let client = Client::builder(&server)
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-forwarded-proto", proto)
            .connect()
            .await;
        let ended = client.call::<Ejson>("login", (&plain,)).await;
        assert_eq!(ended.is_ok(), is_taken, "{proto}");
    }
}

#[tokio::test]
async fn a_login_under_way_while_the_password_changes() {
    let store = MemoryAccounts::new();
    let scene = Scene::of(store.clone(), |accounts| accounts).await;
    let by = Selector::Id(scene.ada.clone());
    let old: PasswordHash = store.find_login_user(&by).await.unwrap().unwrap().password.unwrap();
    // The old password has been found right, and then it is changed.
    scene.accounts.set_password(&scene.ada, "second", true).await.unwrap();
    let token = LoginToken {
        hash: Token::random().hash(),
        when: crate::accounts::core::now(),
        expires: None,
    };
    let guard = TokenGuard::Password(old);
    assert!(!store.add_login_token(&scene.ada, &token, &guard).await.unwrap());
    // The same for a token that makes another one, and is removed.
    let first = LoginToken { hash: Token::random().hash(), ..token.clone() };
    assert!(store.add_login_token(&scene.ada, &first, &TokenGuard::Active).await.unwrap());
    let guard = TokenGuard::Token(first.hash.clone());
    scene.accounts.logout_user(&scene.ada).await.unwrap();
    assert!(!store.add_login_token(&scene.ada, &token, &guard).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn many_wrong_passwords() {
    let scene = Scene::new().await;
    let (core, by) = (&scene.accounts.core, Selector::Username("ada".to_owned()));
    let begun = tokio::time::Instant::now();
    for number in 0..30 {
        assert!(!check(core, &by, &format!("guess {number}")).await.0);
    }
    // They take minutes, and the right password still works after the longest wait.
    let took = begun.elapsed();
    assert!(took.as_secs() > 300, "{took:?}");
    let begun = tokio::time::Instant::now();
    assert!(check(core, &by, PASSWORD).await.0);
    assert!(begun.elapsed() <= crate::accounts::delays::DELAY_MAX);
}

#[tokio::test(start_paused = true)]
async fn who_exists_by_how_long_it_takes() {
    let scene = Scene::new().await;
    let core = &scene.accounts.core;
    let mut waits = Vec::new();
    for text in ["Ada@example.com", "nobody@example.com"] {
        // As many wrong passwords as cost something, by a name that nobody has.
        let (name, address) = (Selector::Username(text.into()), Selector::Email(text.into()));
        for by in [&name; 9].into_iter().chain([&address; 9]) {
            waits.push(check(core, by, "a guess").await);
        }
    }
    let (ada, nobody) = waits.split_at(18);
    assert_eq!(ada, nobody);
    assert!(ada[8].1 > 0 && ada[9].1 == 0, "{ada:?}");
}

#[tokio::test]
async fn a_digest_that_is_sent_as_a_text_becomes_no_password() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    let login = json!({"user": {"username": "ada"}, "password": DIGEST});
    client.call::<Ejson>("login", (login,)).await.unwrap_err();
    log_in(&client).await;
}
