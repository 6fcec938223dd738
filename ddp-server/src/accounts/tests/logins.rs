//! Logging in and creating users.

use super::*;
use crate::accounts::Login;

#[tokio::test]
async fn a_password_logs_in_by_each_selector_and_in_each_form() {
    let scene = Scene::new().await;
    let digest = json!({"digest": DIGEST, "algorithm": "sha-256"});
    for user in [
        json!({"username": "ada"}),
        json!({"username": "ADA"}),
        json!({"email": "ada@example.com"}),
        json!({"id": scene.ada}),
        json!("ada"),
        json!("ada@EXAMPLE.com"),
    ] {
        for password in [&digest, &json!(PASSWORD)] {
            let client = scene.client().await;
            let login = json!({"user": user, "password": password});
            let login: LoggedIn = client.call("login", (login,)).await.expect("a login");
            assert_eq!((&login.id, login.r#type.as_str()), (&scene.ada, "password"));
            assert_eq!(login.token.len(), 43);
            assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
        }
    }
}

#[tokio::test]
async fn refusals_have_meteors_texts() {
    let scene = Scene::new().await;
    scene.accounts.create_user(&json!({"username": "bare"})).await.unwrap();
    let client = scene.client().await;
    for (user, password, text) in [
        ("ada", "x", "Incorrect password [403]"),
        ("nobody", PASSWORD, "User not found [403]"),
        ("bare", PASSWORD, "User has no password set [403]"),
    ] {
        let login = json!({"user": {"username": user}, "password": password});
        assert_eq!(refused(&client, "login", (login,)).await, text);
    }
    let other = "Unrecognized options for login request [400]";
    assert_eq!(refused(&client, "login", (json!({"a": 1}),)).await, other);
    for argument in [json!(null), json!("ada"), json!([]), json!({"password": "x"})] {
        assert_eq!(refused(&client, "login", (argument,)).await, "Match failed [400]");
    }
    assert_eq!(whoami(&client).await, None);
}

#[tokio::test]
async fn one_text_for_all_reasons_is_the_default() {
    let scene = Scene::with(|accounts| accounts.ambiguous_error_messages(true)).await;
    let client = scene.client().await;
    for (user, password) in [("ada", "x"), ("nobody", "x")] {
        let login = json!({"user": {"username": user}, "password": password});
        assert_eq!(refused(&client, "login", (login,)).await, format!("{AMBIGUOUS} [403]"));
    }
    let ada = json!({"username": "Ada", "password": "x"});
    assert_eq!(refused(&client, "createUser", (ada,)).await, format!("{AMBIGUOUS} [403]"));
}

#[tokio::test]
async fn a_token_resumes_and_comes_back() {
    let scene = Scene::new().await;
    let (first, login) = scene.ada().await;
    drop(first);
    let client = scene.client().await;
    let resumed = resume(&client, &login.token).await.unwrap();
    assert_eq!(resumed, LoggedIn { r#type: "resume".to_owned(), ..login });
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    let error = resume(&client, "no such token").await.unwrap_err();
    assert_eq!(error.to_string(), format!("{LOGGED_OUT} [403]"));
    // A resumption that fails leaves the connection as it was.
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    assert_eq!(scene.accounts.core.held.count(), 1);
}

#[tokio::test]
async fn users_in_memory_can_outlive_the_program() {
    let store = MemoryAccounts::new();
    let scene = Scene::of(store.clone(), |accounts| accounts).await;
    let (_client, login) = scene.ada().await;
    let store = MemoryAccounts::load(&store.save().unwrap()).unwrap();
    let accounts = Accounts::new(store).build();
    let client = Client::connect(&Server::builder().plugin(accounts).build()).await;
    assert_eq!(resume(&client, &login.token).await.unwrap().id, scene.ada);
    let documents = client.documents(&USERS);
    assert_eq!(documents[0].as_object().unwrap()["profile"].to_text(), r#"{"name":"Ada"}"#);
}

#[tokio::test]
async fn a_client_creates_a_user_and_is_logged_in() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    let alan = json!({
        "username": "alan", "email": "alan@example.com", "profile": {"name": "Alan"},
        "password": {"digest": DIGEST, "algorithm": "sha-256"}, "more": [1]
    });
    let login: LoggedIn = client.call("createUser", (alan,)).await.unwrap();
    assert_eq!(login.r#type, "password");
    assert_eq!(whoami(&client).await, Some(login.id.clone()));
    let document = client.documents(&USERS).remove(0).to_text();
    let expected = json!({
        "_id": login.id, "username": "alan",
        "emails": [{"address": "alan@example.com", "verified": false}],
        "profile": {"name": "Alan"}
    });
    assert_eq!(serde_json::from_str::<Value>(&document).unwrap(), expected);
    for (user, text) in [
        (json!({"username": "ALAN"}), "Username already exists. [403]"),
        (json!({"email": "Alan@Example.com"}), "Email already exists. [403]"),
        (json!({}), "Need to set a username or email [400]"),
        (json!({"username": ""}), "Match failed [400]"),
        (json!({"username": "b", "profile": "x"}), "Match failed [400]"),
    ] {
        assert_eq!(refused(&client, "createUser", (user,)).await, text);
    }
}

#[tokio::test]
async fn who_creates_users_can_be_restricted() {
    let scene = Scene::with(Accounts::forbid_client_account_creation).await;
    let client = scene.client().await;
    let alan = json!({"username": "alan", "password": "x"});
    assert_eq!(refused(&client, "createUser", (&alan,)).await, "Signups forbidden [403]");

    let scene =
        Scene::with(|accounts| accounts.restrict_creation_by_email_domain("example.com")).await;
    let client = scene.client().await;
    for (user, ends) in [
        (&alan, Some("@example.com email required [403]")),
        (
            &json!({"email": "alan@other.com", "password": "x"}),
            Some("@example.com email required [403]"),
        ),
        (&json!({"email": "alan@EXAMPLE.com", "password": "x"}), None),
    ] {
        let ended = client.call::<LoggedIn>("createUser", (user,)).await;
        assert_eq!(ended.err().map(|error| error.to_string()).as_deref(), ends);
    }
}

#[tokio::test]
async fn a_handler_of_ones_own_logs_in() {
    const END: Date = Date::from_millis(2_000_000_000_000);
    let scene = Scene::with(|accounts| {
        // For ever, so that only the end of its own counts.
        let accounts = accounts.login_expiration(None);
        accounts.register_login_handler("door", async |request| {
            let Some(code) = request.text("door") else { return Ok(None) };
            if code != "1234" {
                return Err(Error::client(403, "Wrong code"));
            }
            let options = [("floor".to_owned(), Ejson::from(3.0))].into_iter().collect();
            let user = request.text("id").unwrap_or_default();
            let is_late = request.text("late").is_some();
            let expires = if is_late { Date::from_millis(1) } else { END };
            Ok(Some(Login::user(user).options(options).expires(expires)))
        })
    })
    .await;
    let client = scene.client().await;
    let wrong = json!({"door": "0"});
    assert_eq!(refused(&client, "login", (wrong,)).await, "Wrong code [403]");
    let nobody = json!({"door": "1234", "id": "nobody"});
    assert_eq!(refused(&client, "login", (nobody,)).await, "User not found [403]");
    let right = json!({"door": "1234", "id": scene.ada});
    let login: Ejson = client.call("login", (right,)).await.unwrap();
    let login = login.as_object().unwrap();
    assert_eq!(login["type"].as_str(), Some("door"));
    assert_eq!(login["floor"].as_f64(), Some(3.0));
    // The token has an end of its own.
    assert_eq!(login["tokenExpires"].as_date(), Some(END));
    let late = json!({"door": "1234", "id": scene.ada, "late": "yes"});
    let error = refused(&scene.client().await, "login", (late,)).await;
    assert_eq!(error, "Your session has expired. Please log in again. [403]");
}

#[tokio::test]
async fn the_rate_of_logins_is_limited_unless_that_is_lifted() {
    let accounts = Accounts::new(MemoryAccounts::new())
        .password_algorithm(PasswordAlgorithm::Bcrypt { cost: 4 })
        .build();
    let client = Client::connect(&Server::builder().plugin(accounts).build()).await;
    let login = || json!({"resume": "no such token"});
    for _ in 0..5 {
        assert!(refused(&client, "login", (login(),)).await.contains("logged out"));
    }
    assert!(refused(&client, "login", (login(),)).await.ends_with("[too-many-requests]"));
    // Each method has a count of its own, and logout has none.
    assert!(refused(&client, "createUser", (json!({}),)).await.ends_with("[400]"));
    client.call::<()>("logout", ()).await.unwrap();
}

#[tokio::test]
async fn a_client_configures_no_login_service() {
    let scene = Scene::with(|accounts| {
        accounts.login_service("github", [("clientId".to_owned(), "x".into())].into())
    })
    .await;
    let (client, _) = scene.ada().await;
    for (options, text) in [
        (json!({"service": "github", "secret": "x"}), "Service github already configured [403]"),
        (json!({"service": "gitlab", "secret": "x"}), "Service unknown [403]"),
        (json!({"service": {"$ne": ""}}), "Match failed [400]"),
        (json!({}), "Match failed [400]"),
    ] {
        assert_eq!(refused(&client, "configureLoginService", (options,)).await, text);
    }
}
