//! The application's functions.

use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

type Seen = Arc<Mutex<Vec<String>>>;

#[tokio::test]
async fn attempts_are_validated_and_told() {
    let seen = Seen::default();
    let notes = [Arc::clone(&seen), Arc::clone(&seen), Arc::clone(&seen), Arc::clone(&seen)];
    let scene = Scene::with(move |accounts| {
        let [validate, login, failure, logout] = notes;
        accounts
            .validate_login_attempt(move |attempt| {
                let validate = Arc::clone(&validate);
                async move {
                    let user = attempt.user.and_then(|user| user.username);
                    let (allowed, name) = (attempt.allowed, attempt.method_name);
                    validate.lock().push(format!("{name} {} {allowed} {user:?}", attempt.r#type));
                    match user.as_deref() {
                        Some("hidden") => Err(Error::client(403, "hide actual error")),
                        user => Ok(user != Some("refused")),
                    }
                }
            })
            // It cannot allow again what another refuses.
            .validate_login_attempt(async |_| Ok(true))
            .on_login(move |attempt| {
                let login = Arc::clone(&login);
                async move { login.lock().push(format!("in {:?}", attempt.user.unwrap().username)) }
            })
            .on_login_failure(move |attempt| {
                let failure = Arc::clone(&failure);
                async move { failure.lock().push(format!("failed {}", attempt.error.unwrap())) }
            })
            .on_logout(move |gone| {
                let logout = Arc::clone(&logout);
                let user = gone.user.and_then(|user| user.username);
                async move { logout.lock().push(format!("out {user:?}")) }
            })
    })
    .await;
    for user in ["refused", "hidden"] {
        let user = json!({"username": user, "password": PASSWORD});
        scene.accounts.create_user(&user).await.unwrap();
    }
    let (client, _) = scene.ada().await;
    client.call::<()>("logout", ()).await.unwrap();
    client.call::<()>("logout", ()).await.unwrap();
    let login = |user, password| json!({"user": {"username": user}, "password": password});
    for (user, password, text) in [
        ("ada", "x", "Incorrect password [403]"),
        ("refused", PASSWORD, "Login forbidden [403]"),
        ("refused", "x", "Incorrect password [403]"),
        ("hidden", "x", "hide actual error [403]"),
    ] {
        assert_eq!(refused(&client, "login", (login(user, password),)).await, text);
    }
    assert_eq!(whoami(&client).await, None);
    let expected = [
        "login password true Some(\"ada\")",
        "in Some(\"ada\")",
        "out Some(\"ada\")",
        "out None",
        "login password false Some(\"ada\")",
        "failed Incorrect password [403]",
        "login password true Some(\"refused\")",
        "failed Login forbidden [403]",
        "login password false Some(\"refused\")",
        "failed Incorrect password [403]",
        "login password false Some(\"hidden\")",
        "failed hide actual error [403]",
    ];
    assert_eq!(*seen.lock(), expected);
}

#[tokio::test]
async fn new_users_are_completed_and_validated() {
    let scene = Scene::with(|accounts| {
        accounts
            .on_create_user(async |creation| {
                let options = creation.options.as_object().expect("an object").clone();
                assert!(!options.contains_key("password"), "no secret is handed on");
                let mut user = creation.user;
                user.id = "another".to_owned();
                let touched = options.get("touch").cloned().unwrap_or_default();
                user.profile = Some([("touched".to_owned(), touched)].into_iter().collect());
                Ok(user)
            })
            .validate_new_user(async |user| {
                let touched = user.profile.and_then(|profile| profile.get("touched").cloned());
                match touched.as_ref().and_then(Ejson::as_str) {
                    Some("throw") => Err(Error::client(403, "An exception thrown")),
                    touched => Ok(touched != Some("invalid")),
                }
            })
    })
    .await;
    let client = scene.client().await;
    for (touch, text) in
        [("invalid", "User validation failed [403]"), ("throw", "An exception thrown [403]")]
    {
        let user = json!({"username": "alan", "password": "x", "touch": touch});
        assert_eq!(refused(&client, "createUser", (user,)).await, text);
    }
    let user = json!({"username": "alan", "password": "x", "touch": "yes"});
    let login: LoggedIn = client.call("createUser", (user,)).await.unwrap();
    assert_eq!(login.id.len(), 17, "the id stays");
    let alan = scene.accounts.find_user(&login.id).await.unwrap().unwrap();
    assert_eq!(Ejson::Object(alan.profile.unwrap()).to_text(), r#"{"touched":"yes"}"#);
}

#[tokio::test]
async fn hooks_see_arguments_and_logs_do_not() {
    let seen = Seen::default();
    let note = Arc::clone(&seen);
    let scene = Scene::with(move |accounts| {
        accounts.on_login(move |attempt| {
            let note = Arc::clone(&note);
            async move {
                let shown = format!("{attempt:?}");
                assert!(!shown.contains(PASSWORD), "{shown}");
                let arguments = Ejson::Array(attempt.method_arguments());
                note.lock().push(arguments.to_text());
            }
        })
    })
    .await;
    let login = json!({"user": {"username": "ada"}, "password": PASSWORD});
    scene.client().await.call::<LoggedIn>("login", (&login,)).await.unwrap();
    assert_eq!(*seen.lock(), [json!([login]).to_string()]);
}
