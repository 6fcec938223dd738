//! Who logs in.

use super::*;

#[tokio::test]
async fn a_token_logs_in_the_user_with_this_id() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256())).await;
    let client = scene.client().await;
    let expires = seconds_from_now(600);
    let token = Signer::secret(SECRET).sign(&json!({"sub": scene.ada, "exp": expires}));
    let login = log_in_by(&client, &token).await.unwrap();
    assert_eq!((&login.id, login.r#type.as_str()), (&scene.ada, "jwt"));
    assert_eq!(login.token_expires, Date::from_millis(expires * 1000));
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    assert_eq!(client.documents(&USERS).len(), 1);
    // The token of a reload, which is no JWT.
    let again = scene.client().await;
    let resumed = resume(&again, &login.token).await.unwrap();
    assert_eq!(resumed.token_expires, login.token_expires);
    // One of its own that is made of it lasts no longer.
    let new: LoggedIn = again.call("getNewToken", ()).await.unwrap();
    assert_eq!(new.token_expires, login.token_expires);
}

#[tokio::test]
async fn who_is_not_there_or_not_active_is_refused() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256())).await;
    let client = scene.client().await;
    let signer = Signer::secret(SECRET);
    assert_eq!(refusal(&client, &signer.sign(&claims("nobody"))).await, "User not found [403]");
    scene.accounts.deactivate(&scene.ada).await.unwrap();
    let ada = signer.sign(&claims(&scene.ada));
    assert_eq!(refusal(&client, &ada).await, "Login forbidden [403]");
    assert_eq!(whoami(&client).await, None);
}

#[tokio::test]
async fn a_user_without_a_field_has_a_document() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256().create_users())).await;
    let client = scene.client().await;
    let login = log_in_by(&client, &Signer::secret(SECRET).sign(&claims("7"))).await.unwrap();
    let documents: Vec<_> = client.documents(&USERS).iter().map(Ejson::to_text).collect();
    assert_eq!(documents, [format!(r#"{{"_id":"{}"}}"#, login.id)]);
}

#[tokio::test]
async fn users_are_created_at_their_first_login_and_once() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256().create_users())).await;
    let (one, other) = (scene.client().await, scene.client().await);
    let signer = Signer::secret(SECRET);
    // An id of the other backend, which is not that of a user here.
    let token = signer.sign(&json!({"sub": 7, "exp": seconds_from_now(60), "name": "Grace"}));
    let logins = futures::join!(log_in_by(&one, &token), log_in_by(&other, &token));
    let (first, second) = (logins.0.unwrap(), logins.1.unwrap());
    assert_eq!(first.id, second.id);
    let grace = scene.accounts.find_user(&first.id).await.unwrap().unwrap();
    assert_eq!(Ejson::Object(grace.profile.unwrap()).to_text(), r#"{"name":"Grace"}"#);
    assert_ne!(first.id, "7");
    // The id of a user here is not one there.
    let ada = log_in_by(&one, &signer.sign(&claims(&scene.ada))).await.unwrap();
    assert_ne!(ada.id, scene.ada);
}

#[tokio::test]
async fn a_service_knows_its_users_and_creates_none_unasked() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256().service("acme"))).await;
    let client = scene.client().await;
    let token = Signer::secret(SECRET).sign(&claims("7"));
    assert_eq!(refusal(&client, &token).await, "User not found [403]");
    let record =
        crate::accounts::Service { service_id: Some("7".to_owned()), data: <_>::default() };
    let store = &scene.accounts.core.store;
    assert!(store.put_service(&scene.ada, "acme", 0, Some(&record)).await.unwrap());
    assert_eq!(log_in_by(&client, &token).await.unwrap().id, scene.ada);
}

#[tokio::test]
async fn new_users_are_completed_by_their_claims_and_validated() {
    let scene = Scene::with(|accounts| {
        accounts
            .jwt(hs256().create_users())
            .on_create_user(async |creation| {
                let mut user = creation.user;
                if let Some(claims) = creation.options.get("claims") {
                    user.username = claims.get("nick").and_then(Ejson::as_str).map(str::to_owned);
                }
                Ok(user)
            })
            .validate_new_user(async |user| Ok(user.username.is_some()))
    })
    .await;
    let client = scene.client().await;
    let signer = Signer::secret(SECRET);
    let token = signer.sign(&claims_with("7", "nick", json!("grace")));
    let login = log_in_by(&client, &token).await.unwrap();
    let user = scene.accounts.find_user(&login.id).await.unwrap().unwrap();
    assert_eq!(user.username.as_deref(), Some("grace"));
    let nameless = refusal(&client, &signer.sign(&claims("8"))).await;
    assert_eq!(nameless, "User validation failed [403]");
    // A name that another user has does not make a user of this one.
    let taken = signer.sign(&claims_with("9", "nick", json!("ada")));
    assert_eq!(refusal(&client, &taken).await, "Username already exists. [403]");
}

#[tokio::test]
async fn another_claim_can_be_the_id() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256().claim("user_id"))).await;
    let client = scene.client().await;
    let token = json!({"user_id": scene.ada, "sub": "other", "exp": seconds_from_now(60)});
    let login = log_in_by(&client, &Signer::secret(SECRET).sign(&token)).await.unwrap();
    assert_eq!(login.id, scene.ada);
}

#[tokio::test]
async fn of_several_the_first_that_fits_counts_and_the_nearest_tells_why() {
    let rsa = Signer::rsa();
    let scene = Scene::with(|accounts| {
        let other = Jwt::public_key(rsa.pem()).unwrap().audience("todos").issuer("https://rsa");
        accounts.jwt(hs256()).jwt(other)
    })
    .await;
    let client = scene.client().await;
    let right = json!({
        "sub": scene.ada, "aud": ["x", "todos"], "iss": "https://rsa", "exp": seconds_from_now(60)
    });
    assert_eq!(log_in_by(&client, &rsa.sign(&right)).await.unwrap().id, scene.ada);
    let mut wrong = right;
    wrong["iss"] = json!("https://other");
    let error = refusal(&client, &rsa.sign(&wrong)).await;
    assert_eq!(error, "This token is of another issuer [403]");
}

#[tokio::test]
async fn hooks_see_a_login_and_no_text_shows_a_key() {
    let (seen, mut attempts) = unbounded_channel();
    let scene = Scene::with(|accounts| {
        let accounts = accounts.jwt(hs256());
        accounts.validate_login_attempt(move |attempt| {
            let shown = format!("{attempt:?}");
            seen.send((attempt.r#type.to_string(), shown)).expect("a test that goes on");
            std::future::ready(Ok(false))
        })
    })
    .await;
    let token = Signer::secret(SECRET).sign(&claims(&scene.ada));
    assert_eq!(refusal(&scene.client().await, &token).await, "Login forbidden [403]");
    let (kind, shown) = attempts.recv().await.unwrap();
    assert_eq!(kind, "jwt");
    assert!(!shown.contains(&token[..40]), "{shown}");
    assert!(!format!("{:?}", hs256()).contains("secret"));
}

#[tokio::test]
async fn without_such_tokens_it_is_no_login() {
    let scene = Scene::new().await;
    let token = Signer::secret(SECRET).sign(&claims(&scene.ada));
    let error = refusal(&scene.client().await, &token).await;
    assert_eq!(error, "Unrecognized options for login request [400]");
}
