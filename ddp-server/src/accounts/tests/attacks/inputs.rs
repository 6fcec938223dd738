//! Attacks by what a server is given. Each fails.

use futures::future::join_all;

use super::super::*;

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
async fn arguments_that_are_read_by_nobody() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    for method in ["login", "createUser", "changePassword", "resetPassword", "verifyEmail"] {
        let error = refused(&client, method, json!([{"resume": "x"}, 1, 2])).await;
        assert_eq!(error, "Match failed [400]", "{method}");
    }
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
