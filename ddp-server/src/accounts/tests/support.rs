//! The sessions of a user, and those as another user.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use super::*;
use crate::accounts::{AccountsStore, Revocation, Selector, User};
use crate::extract::{Invocation, Params, State};

#[tokio::test]
async fn the_sessions_of_a_user_are_listed() {
    let scene = Scene::new().await;
    let alan = json!({"username": "alan", "password": PASSWORD});
    scene.accounts.create_user(&alan).await.unwrap();
    let other = scene.client().await;
    let alan = json!({"user": "alan", "password": PASSWORD});
    other.call::<LoggedIn>("login", (alan,)).await.unwrap();
    assert!(scene.accounts.sessions(&scene.ada).is_empty());
    let begun = crate::accounts::core::now();
    let phone = Client::builder(&scene.server).remote_addr(([192, 0, 2, 7], 1));
    let phone = phone.header("user-agent", "a telephone").connect().await;
    let token = log_in(&phone).await.token;
    let desk = scene.client().await;
    resume(&desk, &token).await.unwrap();
    let sessions = scene.accounts.sessions(&scene.ada);
    assert_eq!(sessions.len(), 2);
    let shown = |session: &crate::accounts::UserSession| {
        let address = session.connection.client_address().map(str::to_owned);
        (address, session.connection.headers().get("user-agent").map(str::to_owned))
    };
    let of_phone = (Some("192.0.2.7".to_owned()), Some("a telephone".to_owned()));
    assert!(sessions.iter().any(|session| shown(session) == of_phone), "{sessions:?}");
    assert!(sessions.iter().all(|one| one.since >= begun && one.impersonated_by.is_none()));
    desk.close().await;
    assert_eq!(scene.accounts.sessions(&scene.ada).len(), 1);
    phone.call::<()>("logout", ()).await.unwrap();
    assert!(scene.accounts.sessions(&scene.ada).is_empty());
    assert!(!scene.accounts.logout_session(sessions[0].connection.id()).await.unwrap());
}

#[tokio::test]
async fn one_session_or_all_are_logged_out_on_every_server() {
    let store = MemoryAccounts::new();
    let scene = Scene::of(store.clone(), |accounts| accounts).await;
    let other_server = Accounts::new(store).build();
    let other_server = Server::builder().plugin(other_server).build();
    let (first, login) = scene.ada().await;
    let (second, _) = scene.ada().await;
    let elsewhere = Client::connect(&other_server).await;
    resume(&elsewhere, &login.token).await.unwrap();
    let apart = Client::connect(&other_server).await;
    log_in(&apart).await;

    let sessions = scene.accounts.sessions(&scene.ada);
    let id = sessions.iter().map(|session| session.connection.id().to_owned());
    let mut ids: Vec<String> = id.collect();
    ids.retain(|id| scene.accounts.core.held.of_id(id).unwrap().hash == token_hash(&login.token));
    let [id] = ids.as_slice() else { panic!("{ids:?}") };
    assert!(scene.accounts.logout_session(id).await.unwrap());
    let second_long = Duration::from_secs(1);
    for gone in [&first, &elsewhere] {
        timeout(second_long, gone.closed()).await.expect("within a second");
    }
    assert!(resume(&scene.client().await, &login.token).await.is_err());
    assert_eq!(whoami(&second).await, Some(scene.ada.clone()));

    assert_eq!(scene.accounts.logout_user(&scene.ada).await.unwrap(), 2);
    for gone in [&second, &apart] {
        timeout(second_long, gone.closed()).await.expect("within a second");
    }
}

fn token_hash(token: &str) -> crate::accounts::TokenHash {
    crate::accounts::token::Token::sent(token.to_owned()).hash()
}

type Seen = Arc<Mutex<Vec<String>>>;

/// A server whose method `loginAs` anybody may call, and what its hooks saw.
async fn help_desk() -> (Server, AccountsHandle, MemoryAccounts, Seen) {
    let (store, seen) = (MemoryAccounts::new(), Seen::default());
    let [asked, told] = [Arc::clone(&seen), Arc::clone(&seen)];
    let accounts = Accounts::new(store.clone())
        .password_algorithm(PasswordAlgorithm::Bcrypt { cost: 4 })
        .ambiguous_error_messages(false)
        .remove_default_rate_limit()
        .validate_login_attempt(move |attempt| {
            let name = attempt.user.and_then(|user| user.username).unwrap_or_default();
            let by = attempt.impersonated_by.as_deref().unwrap_or("nobody").to_owned();
            asked.lock().push(format!("{} {name} by {by}", attempt.r#type));
            async move { Ok(!(name == "boss" && by != "nobody")) }
        })
        .on_login(move |attempt| {
            told.lock().push(format!("in by {:?}", attempt.impersonated_by));
            async {}
        })
        .two_factor_authentication()
        .build();
    async fn login_as(
        State(accounts): State<AccountsHandle>,
        invocation: Invocation,
        Params((user_id,)): Params<(String,)>,
    ) -> Result<Option<String>, Error> {
        accounts.login_as(&invocation, &user_id).await?;
        Ok(invocation.user_id().map(String::from))
    }
    async fn login_as_late(
        State(accounts): State<AccountsHandle>,
        invocation: Invocation,
        Params((user_id,)): Params<(String,)>,
    ) -> Result<(), Error> {
        invocation.unblock();
        accounts.login_as(&invocation, &user_id).await
    }
    async fn who_is_it(
        State(accounts): State<AccountsHandle>,
        connection: crate::extract::Connection,
    ) -> Result<Option<String>, Error> {
        Ok(accounts.impersonated_by(&connection))
    }
    let server = Server::builder()
        .plugin(accounts.clone())
        .method("loginAs", login_as)
        .method("loginAsLate", login_as_late)
        .method("whoIsIt", who_is_it)
        .method("whoami", async |user: Option<UserId>| Ok::<_, Error>(user.map(String::from)))
        .method("myName", async |user: User| Ok::<_, Error>(user.username))
        .method("maybeName", async |user: Option<User>| {
            Ok::<_, Error>(user.and_then(|user| user.username))
        })
        .with_state(accounts.clone());
    (server, accounts, store, seen)
}

async fn create(accounts: &AccountsHandle, name: &str) -> String {
    let user = json!({"username": name, "password": PASSWORD});
    accounts.create_user(&user).await.unwrap()
}

#[tokio::test]
async fn support_is_another_user_until_it_goes() {
    let (server, accounts, store, seen) = help_desk().await;
    let (ada, desk) = (create(&accounts, "ada").await, create(&accounts, "desk").await);
    let client = Client::connect(&server).await;
    assert_eq!(refused(&client, "loginAs", (&ada,)).await, "Must be logged in [401]");
    let login = json!({"user": "desk", "password": PASSWORD});
    let own: LoggedIn = client.call("login", (login,)).await.unwrap();
    seen.lock().clear();
    assert_eq!(client.call::<String>("loginAs", (&ada,)).await.unwrap(), ada);
    assert_eq!(whoami(&client).await, Some(ada.clone()));
    assert_eq!(client.call::<String>("whoIsIt", ()).await.unwrap(), desk);
    let expected =
        [format!("impersonation ada by {desk}"), format!("in by {:?}", Some(desk.as_str()))];
    assert_eq!(*seen.lock(), expected);
    let sessions = accounts.sessions(&ada);
    assert_eq!(sessions[0].impersonated_by.as_deref(), Some(desk.as_str()));
    // Neither gets a token of the user, nor ends one.
    let (no_params, passwords) = (json!([]), json!([PASSWORD, "another"]));
    for (method, params) in [
        ("getNewToken", &no_params),
        ("logoutOtherClients", &no_params),
        ("removeOtherTokens", &no_params),
        ("logoutAllClients", &no_params),
        ("changePassword", &passwords),
        ("generate2faActivationQrCode", &json!(["app"])),
        ("enableUser2fa", &json!(["123456"])),
        ("disableUser2fa", &no_params),
    ] {
        assert_eq!(refused(&client, method, params).await, "Not as another user [403]", "{method}");
    }
    // As one user after another, it is still the same who does it.
    let alan = create(&accounts, "alan").await;
    client.call::<String>("loginAs", (&alan,)).await.unwrap();
    assert_eq!(accounts.sessions(&alan)[0].impersonated_by.as_deref(), Some(desk.as_str()));
    assert!(accounts.sessions(&ada).is_empty());
    // It goes back by its own token.
    resume(&client, &own.token).await.unwrap();
    assert_eq!(whoami(&client).await, Some(desk));
    assert_eq!(client.call::<Option<String>>("whoIsIt", ()).await.unwrap(), None);
    client.call::<Value>("getNewToken", ()).await.unwrap();
    // When it goes, nothing of the others' is left behind.
    let (gone, mut is_gone) = unbounded_channel();
    store.on_revocation(Arc::new(move |revocation| {
        if let Revocation::Token(_) = revocation {
            let _ = gone.send(());
        }
    }));
    client.close().await;
    for _ in [&ada, &alan] {
        is_gone.recv().await.unwrap();
    }
    assert_eq!(accounts.logout_user(&ada).await.unwrap(), 0);
    assert_eq!(accounts.logout_user(&alan).await.unwrap(), 0);
}

#[tokio::test]
async fn not_everybody_can_be_another_user() {
    let (server, accounts, _, _) = help_desk().await;
    let (ada, boss) = (create(&accounts, "ada").await, create(&accounts, "boss").await);
    create(&accounts, "desk").await;
    let client = Client::connect(&server).await;
    let login = json!({"user": "desk", "password": PASSWORD});
    let own: LoggedIn = client.call("login", (login,)).await.unwrap();
    accounts.deactivate(&ada).await.unwrap();
    for (user, error) in [
        (ada.as_str(), "Login forbidden [403]"),
        (boss.as_str(), "Login forbidden [403]"),
        ("nobody", "User not found [403]"),
    ] {
        assert_eq!(refused(&client, "loginAs", (user,)).await, error);
        assert_eq!(whoami(&client).await, Some(own.id.clone()));
    }
    // Whoever is deactivated is gone for support, too.
    accounts.activate(&ada).await.unwrap();
    client.call::<String>("loginAs", (&ada,)).await.unwrap();
    accounts.deactivate(&ada).await.unwrap();
    client.closed().await;
    // A method that lets others go on cannot, and does not leave a session that nobody can end.
    let client = Client::connect(&server).await;
    resume(&client, &own.token).await.unwrap();
    accounts.activate(&ada).await.unwrap();
    let late = async {
        // The error comes before the end, or does not come at all.
        assert!(client.call::<Value>("loginAsLate", (&ada,)).await.is_err());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        _ = client.closed() => {}
        () = late => {}
    }
    // The server itself is nobody.
    assert!(server.call::<Value>("loginAs", (&ada,)).await.is_err());
}

#[tokio::test]
async fn support_ends_with_who_does_it() {
    for chained in [false, true] {
        let (server, accounts, _, _) = help_desk().await;
        let (ada, alan) = (create(&accounts, "ada").await, create(&accounts, "alan").await);
        let desk = create(&accounts, "desk").await;
        let login = json!({"user": "desk", "password": PASSWORD});
        let (client, other) = (Client::connect(&server).await, Client::connect(&server).await);
        let own: LoggedIn = client.call("login", (&login,)).await.unwrap();
        client.call::<String>("loginAs", (&ada,)).await.unwrap();
        if chained {
            client.call::<String>("loginAs", (&alan,)).await.unwrap();
        }
        // Another token of the same person has nothing to do with it.
        other.call::<LoggedIn>("login", (&login,)).await.unwrap();
        other.call::<()>("logout", ()).await.unwrap();
        assert!(whoami(&client).await.is_some());
        if chained {
            accounts.logout_user(&desk).await.unwrap();
        } else {
            accounts.deactivate(&desk).await.unwrap();
        }
        client.closed().await;
        assert!(resume(&other, &own.token).await.is_err());
        assert_eq!(accounts.core.held.count(), 0);
    }
}

#[tokio::test]
async fn the_user_is_an_argument() {
    let (server, accounts, store, _) = help_desk().await;
    let ada = create(&accounts, "ada").await;
    let client = Client::connect(&server).await;
    let error = refused(&client, "myName", ()).await;
    assert_eq!(error, "You must be logged in [not-authorized]");
    assert_eq!(client.call::<Option<String>>("maybeName", ()).await.unwrap(), None);
    let login = json!({"user": "ada", "password": PASSWORD});
    client.call::<LoggedIn>("login", (login,)).await.unwrap();
    accounts.set_username(&ada, "countess").await.unwrap();
    assert_eq!(client.call::<String>("myName", ()).await.unwrap(), "countess");
    assert_eq!(client.call::<String>("maybeName", ()).await.unwrap(), "countess");
    assert!(store.find_user(&Selector::Id(ada)).await.unwrap().is_some());
}
