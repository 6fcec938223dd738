//! What the server itself does with its users.

use super::*;

#[tokio::test]
async fn users_are_found_by_meteors_rule_of_case() {
    let scene = Scene::new().await;
    let (accounts, ada) = (&scene.accounts, Some(scene.ada.clone()));
    let id =
        |found: Result<Option<crate::accounts::User>, Error>| found.unwrap().map(|user| user.id);
    assert_eq!(id(accounts.find_user(&scene.ada).await), ada);
    assert_eq!(id(accounts.find_user_by_username("aDa").await), ada);
    assert_eq!(id(accounts.find_user_by_email("ADA@EXAMPLE.COM").await), ada);
    for pattern in ["a.a", "ad%", "ad_", "ada ", ""] {
        assert_eq!(id(accounts.find_user_by_username(pattern).await), None, "{pattern}");
    }
}

#[tokio::test]
async fn names_and_addresses_stay_unique() {
    let scene = Scene::new().await;
    let accounts = &scene.accounts;
    let alan = json!({"username": "alan", "email": "alan@example.com"});
    let alan = accounts.create_user(&alan).await.unwrap();
    let text = |result: Result<(), Error>| result.unwrap_err().to_string();
    let error = text(accounts.set_username(&alan, "ADA").await);
    assert_eq!(error, "Username already exists. [403]");
    let error = text(accounts.add_email(&alan, "ada@example.com", true).await);
    assert_eq!(error, "Email already exists. [403]");
    let replaced = accounts.replace_email(&alan, "alan@example.com", "ADA@example.com", true).await;
    assert_eq!(text(replaced), "Email already exists. [403]");
    // One's own in another case is no other.
    accounts.set_username(&alan, "Alan").await.unwrap();
    accounts.add_email(&alan, "ALAN@example.com", true).await.unwrap();
    accounts.replace_email(&alan, "ALAN@example.com", "turing@example.com", false).await.unwrap();
    let user = accounts.find_user(&alan).await.unwrap().unwrap();
    assert_eq!(user.username.as_deref(), Some("Alan"));
    assert_eq!(user.emails, [crate::accounts::Email::new("turing@example.com")]);
    // What is free can be had by others.
    accounts.add_email(&scene.ada, "alan@example.com", false).await.unwrap();
    let error = text(accounts.set_username("nobody", "x").await);
    assert_eq!(error, "User not found [403]");
    assert!(accounts.set_username(&alan, "").await.is_err());
    assert!(accounts.add_email(&alan, "a\nb", false).await.is_err());
}

#[tokio::test]
async fn setting_a_password_logs_out_unless_told_otherwise() {
    let scene = Scene::new().await;
    let (client, _) = scene.ada().await;
    scene.accounts.set_password(&scene.ada, "second", false).await.unwrap();
    assert_eq!(whoami(&client).await, Some(scene.ada.clone()));
    scene.accounts.set_password(&scene.ada, "third", true).await.unwrap();
    client.closed().await;
    let login = json!({"user": "ada", "password": "third"});
    scene.client().await.call::<LoggedIn>("login", (login,)).await.unwrap();
    assert!(scene.accounts.set_password(&scene.ada, "", true).await.is_err());
}

#[test]
#[should_panic(expected = "`services` holds secrets")]
fn services_are_never_published() {
    let _ = Accounts::new(MemoryAccounts::new()).default_field_selector(["services.password"]);
}

#[test]
#[should_panic(expected = "not within its limits")]
fn parameters_of_hashes_have_limits() {
    let algorithm = PasswordAlgorithm::Bcrypt { cost: 30 };
    let _ = Accounts::new(MemoryAccounts::new()).password_algorithm(algorithm);
}
