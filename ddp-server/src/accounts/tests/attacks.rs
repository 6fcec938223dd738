//! Attacks. Each fails.

use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::Notify;

use super::*;
use crate::accounts::core::Core;
use crate::accounts::handlers::{PasswordCheck, find_and_check};
use crate::accounts::store::{
    AccountsStore, LoginToken, PasswordHash, Revocation, Selector, TokenGuard,
};
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
async fn objects_arrays_and_numbers_where_strings_are_expected() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    let deep = (0..100).fold(json!("x"), |inner, _| json!([inner]));
    let cases =
        [json!({"$gt": ""}), json!({"$ne": null}), json!(["ada"]), json!(7), json!(true), deep];
    for bad in cases {
        let digest = json!({"digest": bad, "algorithm": "sha-256"});
        let algorithm = json!({"digest": DIGEST, "algorithm": bad});
        for (method, params) in [
            ("login", json!([bad])),
            ("login", json!([{"resume": bad}])),
            ("login", json!([{"user": bad, "password": PASSWORD}])),
            ("login", json!([{"user": {"username": bad}, "password": PASSWORD}])),
            ("login", json!([{"user": {"email": bad}, "password": PASSWORD}])),
            ("login", json!([{"user": {"id": bad}, "password": PASSWORD}])),
            ("login", json!([{"user": {"username": "ada", "id": bad}, "password": PASSWORD}])),
            ("login", json!([{"user": {"username": "ada"}, "password": bad}])),
            ("login", json!([{"user": {"username": "ada"}, "password": digest}])),
            ("login", json!([{"user": {"username": "ada"}, "password": algorithm}])),
            ("login", json!([{"user": {"username": "ada"}, "password": PASSWORD, "code": bad}])),
            ("createUser", json!([bad])),
            ("createUser", json!([{"username": bad}])),
            ("createUser", json!([{"email": bad}])),
            ("createUser", json!([{"username": "eve", "password": bad}])),
            ("changePassword", json!([bad, PASSWORD])),
            ("changePassword", json!([PASSWORD, bad])),
            ("forgotPassword", json!([bad])),
            ("forgotPassword", json!([{"email": bad}])),
            ("resetPassword", json!([bad, PASSWORD])),
            ("resetPassword", json!(["token", bad])),
            ("verifyEmail", json!([bad])),
        ] {
            let error = refused(&client, method, &params).await;
            // An object is what these take, and this one has nothing in it that they know.
            let is_object = bad.is_object() && params == json!([bad]);
            let fits = is_object && method == "login" && error.contains("Unrecognized options")
                || is_object && method == "createUser" && error.contains("Need to set a username");
            assert!(fits || error == "Match failed [400]", "{method} {params}: {error}");
        }
    }
    assert_eq!(scene.accounts.find_user_by_username("eve").await.unwrap(), None);
}

#[tokio::test]
async fn a_nul_or_a_text_without_end() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    for bad in ["ada\0".to_owned(), "\0".to_owned(), "x".repeat(60_000)] {
        for (method, params) in [
            ("login", json!([{"resume": bad}])),
            ("login", json!([{"user": {"username": bad}, "password": PASSWORD}])),
            ("login", json!([{"user": {"username": "ada"}, "password": bad}])),
            ("createUser", json!([{"username": bad, "password": PASSWORD}])),
            ("createUser", json!([{"email": bad, "password": PASSWORD}])),
            ("createUser", json!([{"username": "eve", "password": bad}])),
            ("forgotPassword", json!([{"email": bad}])),
            ("resetPassword", json!([bad, "x"])),
            ("verifyEmail", json!([bad])),
        ] {
            let error = refused(&client, method, &params).await;
            assert_eq!(error, "Match failed [400]", "{method}");
        }
    }
    let long = json!([{"a": "x".repeat(70_000)}]);
    assert_eq!(refused(&client, "login", long).await, "Match failed [400]");
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
async fn racing_for_one_name() {
    let scene = Scene::new().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(scene.client().await);
    }
    let calls = clients.iter().zip(["alan", "Alan", "ALAN", "aLan"].iter().cycle());
    let calls = calls.map(|(client, name)| {
        client.call::<LoggedIn>("createUser", (json!({"username": name, "password": "x"}),))
    });
    let ended = join_all(calls).await;
    assert_eq!(ended.iter().filter(|one| one.is_ok()).count(), 1);
    let texts = ended.iter().filter_map(|one| one.as_ref().err()).map(ToString::to_string);
    assert!(texts.into_iter().all(|text| text == "Username already exists. [403]"));
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

/// Whether a password is right, and how many tenths of a second that took.
async fn check(core: &Core, by: &Selector, password: &str) -> (bool, u128) {
    let begun = tokio::time::Instant::now();
    let password = crate::accounts::input::password(password.into()).unwrap();
    let (_, checked) = find_and_check(core, by, password, None).await.unwrap();
    (matches!(checked, PasswordCheck::Right(_)), begun.elapsed().as_millis() / 100)
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
async fn arguments_that_are_read_by_nobody() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    for method in ["login", "createUser", "changePassword", "resetPassword", "verifyEmail"] {
        let error = refused(&client, method, json!([{"resume": "x"}, 1, 2])).await;
        assert_eq!(error, "Match failed [400]", "{method}");
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
async fn a_digest_that_is_sent_as_a_text_becomes_no_password() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    let login = json!({"user": {"username": "ada"}, "password": DIGEST});
    client.call::<Ejson>("login", (login,)).await.unwrap_err();
    log_in(&client).await;
}

#[tokio::test]
async fn a_profile_that_is_read_again_at_each_login() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    let profile = json!({"bio": "x".repeat(20_000)});
    let user = json!({"username": "eve", "password": PASSWORD, "profile": profile});
    let error = refused(&client, "createUser", (user,)).await;
    assert!(error.contains("Match failed"), "{error}");
}

#[tokio::test]
async fn an_address_that_a_mailer_takes_for_two() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    for address in ["evil@x.example,a@company.example", "a b@x.example", "A <a@x.example>"] {
        let user = json!({"email": address, "password": PASSWORD});
        let error = refused(&client, "createUser", (user,)).await;
        assert!(error.contains("Match failed"), "{error}");
    }
}
