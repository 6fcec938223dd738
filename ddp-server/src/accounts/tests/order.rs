//! The order of messages around logins and logouts.

use super::*;

/// What the server has sent since a number of messages, without what differs from run to run.
fn tape(client: &Client, from: usize) -> Vec<String> {
    let messages = client.messages();
    messages[from..].iter().map(|text| shown(text)).collect()
}

fn shown(text: &str) -> String {
    let message: Value = serde_json::from_str(text).expect("JSON");
    let text = |name: &str| message[name].as_str().unwrap_or_default();
    match text("msg") {
        "added" | "changed" => {
            format!("{} {} {}", text("msg"), text("collection"), message["fields"])
        }
        "removed" => format!("removed {}", text("collection")),
        "result" if message["error"].is_object() => "result error".to_owned(),
        other => other.to_owned(),
    }
}

#[tokio::test]
async fn a_login_sends_the_user_and_the_difference_before_its_result() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    client.subscribe("mine", ()).await.unwrap();
    let from = client.messages().len();
    log_in(&client).await;
    let user = r#"{"profile":{"name":"Ada"},"username":"ada"}"#;
    let emails = r#"{"address":"Ada@example.com","verified":false}"#;
    let user = user.replace(r#""ada"}"#, &format!(r#""ada","emails":[{emails}]}}"#));
    let mut tape_of_login = tape(&client, from);
    // Fields are in the order in which the store has them.
    for line in &mut tape_of_login {
        if line.starts_with("added users") {
            for field in ["Ada@example.com", "\"ada\"", "\"profile\""] {
                assert!(line.contains(field), "{line} is not {user}");
            }
            "added users".clone_into(line);
        }
    }
    let owner = format!(r#"changed mine {{"owner":"{}"}}"#, scene.ada);
    let mut difference = tape_of_login[..2].to_vec();
    difference.sort();
    assert_eq!(difference, ["added users".to_owned(), owner]);
    assert_eq!(tape_of_login[2..], ["ready", "updated", "result"]);
}

#[tokio::test]
async fn a_logout_takes_the_documents_before_its_result() {
    let scene = Scene::new().await;
    let (client, _) = scene.ada().await;
    let from = client.messages().len();
    client.call::<()>("logout", ()).await.unwrap();
    assert_eq!(tape(&client, from), ["removed users", "updated", "result"]);
}

#[tokio::test]
async fn a_login_that_fails_sends_nothing_else() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    let from = client.messages().len();
    refused(&client, "login", (json!({"resume": "x"}),)).await;
    assert_eq!(tape(&client, from), ["updated", "result error"]);
}

#[tokio::test]
async fn a_user_with_nothing_to_show_has_a_document() {
    let scene = Scene::new().await;
    let client = scene.client().await;
    let alan = json!({"email": "alan@example.com", "password": "bletchley"});
    let alan: LoggedIn = client.call("createUser", (alan,)).await.unwrap();
    scene.accounts.remove_email(&alan.id, "alan@example.com").await.unwrap();
    client.wait_until(|client| client.documents(&USERS)[0].as_object().unwrap().len() == 1).await;
    let other = scene.client().await;
    let from = other.messages().len();
    resume(&other, &alan.token).await.unwrap();
    // As in Meteor, no fields are sent if there are none.
    assert_eq!(tape(&other, from), ["added users null", "updated", "result"]);
}

#[tokio::test]
async fn what_changes_about_the_user_arrives() {
    let scene = Scene::with(|accounts| accounts.default_field_selector(["createdAt"])).await;
    let (client, _) = scene.ada().await;
    let document = || client.documents(&USERS).remove(0);
    assert!(document().as_object().unwrap()["createdAt"].as_date().is_some());
    scene.accounts.set_username(&scene.ada, "lovelace").await.unwrap();
    client.wait_until(|_| document().to_text().contains("lovelace")).await;
    scene.accounts.set_profile(&scene.ada, Some(&json!({"name": "Countess"}))).await.unwrap();
    client.wait_until(|_| document().to_text().contains("Countess")).await;
    scene.accounts.set_profile(&scene.ada, None::<&()>).await.unwrap();
    client.wait_until(|_| !document().to_text().contains("profile")).await;
}

#[tokio::test]
async fn login_services_are_told_without_secrets() {
    let fields = json!({"clientId": "x", "secret": "y", "loginStyle": "popup"});
    let fields = crate::ejson::to_value(&fields).unwrap().as_object().unwrap().clone();
    let scene = Scene::with(|accounts| accounts.login_service("google", fields)).await;
    let client = scene.client().await;
    client.subscribe("meteor.loginServiceConfiguration", ()).await.unwrap();
    let services = Collection::<Value>::new("meteor_accounts_loginServiceConfiguration");
    let expected = json!({
        "_id": "google", "service": "google", "clientId": "x", "loginStyle": "popup"
    });
    assert_eq!(client.documents(&services), [expected]);
}
