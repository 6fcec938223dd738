//! Each example is started as a program and does what it promises.

use std::path::{Path, PathBuf};

use ddp_tests::Client;
use ddp_tests::database::{create_database, psql};
use ddp_tests::program::{Program, http};
use serde_json::json;

#[tokio::test]
async fn minimal_shows_a_task_until_it_is_checked() {
    let url = create_database("example_minimal", "");
    let variables = [("DATABASE_URL", url.as_str())];
    let mut example = Program::start(env!("CARGO_BIN_EXE_minimal"), &variables);
    let mut client = Client::connect(example.address()).await;
    client.subscribe("tasks.open", json!([])).await;
    psql("example_minimal", "INSERT INTO tasks VALUES ('a', 'Water the plants')");
    client.until("the task", |client| client.documents("tasks").contains_key("a")).await;
    assert_eq!(client.documents("tasks")["a"]["text"], "Water the plants");
    assert_eq!(client.call("tasks.check", json!(["a"])).await["result"], 1);
    assert!(client.documents("tasks").is_empty());
}

#[tokio::test]
async fn in_memory_messages_reach_others_with_their_origin() {
    let mut example = Program::start(env!("CARGO_BIN_EXE_in_memory"), &[]);
    let address = example.address();
    let mut reader = Client::connect(address).await;
    reader.subscribe("messages", json!([])).await;
    let mut writer = Client::connect(address).await;
    let sent = writer.call("messages.send", json!(["Hello"])).await;
    let id = sent["result"].as_str().unwrap().to_owned();
    reader.until("the message", |client| client.documents("messages").contains_key(&id)).await;
    let message = &reader.documents("messages")[&id];
    assert_eq!((&message["text"], &message["from"]), (&json!("Hello"), &json!("127.0.0.1")));

    let empty = writer.call("messages.send", json!([" "])).await;
    assert_eq!(empty["error"]["error"], "empty-text");
    let number = writer.call("messages.send", json!([1])).await;
    assert_eq!(number["error"]["error"], 400);
    example.logs(&["WARN", "messages.send"]);
}

#[tokio::test]
async fn accounts_give_each_user_notes_of_their_own() {
    let mut example = Program::start(env!("CARGO_BIN_EXE_accounts"), &[]);
    let address = example.address();
    let mut ada = Client::connect(address).await;
    let stranger = ada.call("notes.add", json!(["Hello"])).await;
    assert_eq!(stranger["error"]["error"], "not-authorized");
    let user = json!({"username": "ada", "password": "analytical engine"});
    let login = ada.call("createUser", json!([user])).await["result"].clone();
    assert_eq!(ada.documents("users").values().next().unwrap()["username"], "ada");
    ada.subscribe("notes.mine", json!([])).await;
    ada.call("notes.add", json!(["Water the plants"])).await;
    let texts = |client: &Client| -> Vec<serde_json::Value> {
        client.documents("notes").values().map(|note| note["text"].clone()).collect()
    };
    assert_eq!(texts(&ada), ["Water the plants"]);

    let mut other = Client::connect(address).await;
    let resumed = other.call("login", json!([{"resume": login["token"]}])).await;
    assert_eq!(resumed["result"]["id"], login["id"]);
    other.subscribe("notes.mine", json!([])).await;
    assert_eq!(texts(&other), ["Water the plants"]);
    let wrong = json!([{"user": {"username": "ada"}, "password": "difference engine"}]);
    assert_eq!(other.call("login", wrong).await["error"]["error"], 403);
}

#[tokio::test]
async fn accounts_in_a_database_outlive_the_program() {
    let url = create_database("example_accounts", "");
    let variables = [("DATABASE_URL", url.as_str())];
    let start = || Program::start(env!("CARGO_BIN_EXE_accounts"), &variables);
    let mut example = start();
    let mut ada = Client::connect(example.address()).await;
    let user = json!({"username": "ada", "password": "analytical engine"});
    let login = ada.call("createUser", json!([user])).await["result"].clone();
    drop(example);
    let mut example = start();
    let mut ada = Client::connect(example.address()).await;
    let resumed = ada.call("login", json!([{"resume": login["token"]}])).await;
    assert_eq!(resumed["result"]["id"], login["id"]);
    psql("example_accounts", "UPDATE accounts.users SET username = 'Ada'");
    let name =
        |client: &Client| client.documents("users").values().next().unwrap()["username"].clone();
    ada.until("the new name", |client| name(client) == "Ada").await;
}

#[tokio::test]
async fn by_hand_counts_down_and_ends() {
    let mut example = Program::start(env!("CARGO_BIN_EXE_by_hand"), &[]);
    let mut client = Client::connect(example.address()).await;
    let left = |client: &Client| client.documents("countdowns")["from-2"]["left"].as_u64();
    let id = client.subscribe("countdown", json!([2])).await;
    assert_eq!(left(&client), Some(2));
    client.until("the first second", |client| left(client) == Some(1)).await;
    client.until("the second one", |client| left(client) == Some(0)).await;
    client.until("the end", |client| client.nosub.contains_key(&id)).await;
    assert!(client.documents("countdowns").is_empty());
    example.prints("the countdown from 2 has ended");

    let id = client.subscribe("countdown", json!([1000])).await;
    client.unsubscribe(&id).await;
    example.prints("the countdown from 1000 has ended");
}

#[tokio::test]
async fn inside_axum_a_message_by_http_is_live() {
    let mut example = Program::start(env!("CARGO_BIN_EXE_inside_axum"), &[]);
    let address = example.address();
    let mut client = Client::connect(address).await;
    client.subscribe("messages", json!([])).await;
    assert!(http(address, "GET", "/health", "").ends_with("\r\n\r\nok"));
    let answer = http(address, "POST", "/messages", "Hello");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    client.until("the message", |client| !client.documents("messages").is_empty()).await;
    let messages = client.documents("messages");
    assert_eq!(messages.values().next().unwrap()["text"], "Hello");
}

#[tokio::test]
async fn a_plugin_tells_who_is_online() {
    let mut example = Program::start(env!("CARGO_BIN_EXE_plugin"), &[]);
    let address = example.address();
    let mut ada = Client::connect(address).await;
    let names = |client: &Client| {
        let guests = client.documents("guests");
        guests.values().map(|guest| guest["name"].to_string()).collect::<Vec<_>>()
    };
    ada.until("herself", |client| names(client).len() == 1).await;
    let alan = Client::connect(address).await;
    ada.until("both", |client| names(client).len() == 2).await;
    assert_eq!(ada.call("online.rename", json!(["Ada"])).await["result"], true);
    assert!(names(&ada).contains(&"\"Ada\"".to_owned()));
    assert!(http(address, "GET", "/online", "").ends_with("\r\n\r\n2"));
    alan.close().await;
    ada.until("herself alone", |client| names(client) == ["\"Ada\""]).await;
}

#[tokio::test]
async fn a_membership_that_ends_ends_the_subscription() {
    let url = create_database("example_membership", "");
    let mut example =
        Program::start(env!("CARGO_BIN_EXE_membership"), &[("DATABASE_URL", url.as_str())]);
    let mut client = Client::connect(example.address()).await;
    let error =
        |client: &Client, id: &str| client.nosub.get(id)?["error"].as_str().map(str::to_owned);
    let id = client.send_sub("room", json!(["garden"])).await;
    client.until("a refusal", |client| error(client, &id).is_some()).await;
    assert_eq!(error(&client, &id).unwrap(), "not-authorized");
    client.call("login", json!(["ada"])).await;
    let id = client.send_sub("room", json!(["garden"])).await;
    client.until("another refusal", |client| error(client, &id).is_some()).await;
    assert_eq!(error(&client, &id).unwrap(), "not-a-member");

    psql("example_membership", "INSERT INTO memberships VALUES ('ada', 'garden')");
    let id = client.subscribe("room", json!(["garden"])).await;
    psql("example_membership", "INSERT INTO messages VALUES ('m', 'garden', 'It rains')");
    client.until("the message", |client| client.documents("messages").contains_key("m")).await;
    psql("example_membership", "DELETE FROM memberships");
    client.until("the end", |client| error(client, &id).is_some()).await;
    assert_eq!(error(&client, &id).unwrap(), "not-a-member");
    assert!(client.documents("messages").is_empty());
}

#[tokio::test]
async fn rate_limits_refuse_those_who_guess_passwords() {
    let mut example = Program::start(env!("CARGO_BIN_EXE_rate_limits"), &[]);
    let address = example.address();
    // The limit is for the address, so a connection for each guess is of no use.
    let mut refused = None;
    // More than two intervals allow.
    for _ in 0..11 {
        let mut client = Client::connect(address).await;
        let answer = client.call("login", json!(["open"])).await;
        if answer["error"]["error"] != 403 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the eleventh guess at the latest is refused");
    assert_eq!(refused["error"]["error"], "too-many-requests");
    let reason = refused["error"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("Try again in ") && reason.ends_with(" s"), "{reason}");
    example.logs(&["too many logins", "127.0.0.1"]);
}

#[tokio::test]
async fn two_servers_see_each_others_changes() {
    let url = create_database("example_two_servers", "");
    let variables = [("DATABASE_URL", url.as_str()), ("SECOND_PORT", "0")];
    let mut example = Program::start(env!("CARGO_BIN_EXE_two_servers"), &variables);
    let mut first = Client::connect(example.address()).await;
    let mut second = Client::connect(example.address()).await;
    second.subscribe("tasks", json!([])).await;
    let answer = first.call("tasks.insert", json!(["Water the plants"])).await;
    let id = answer["result"].as_str().unwrap();
    second.until("the task", |client| client.documents("tasks").contains_key(id)).await;
    assert_eq!(second.documents("tasks")[id]["text"], "Water the plants");
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    for (program, variables, said) in [
        (env!("CARGO_BIN_EXE_minimal"), &[][..], "DATABASE_URL is not set"),
        (env!("CARGO_BIN_EXE_two_servers"), &[], "DATABASE_URL is not set"),
        (env!("CARGO_BIN_EXE_in_memory"), &[("PORT", "99999")], "PORT=99999"),
        (env!("CARGO_BIN_EXE_in_memory"), &[("BIND", "nowhere")], "BIND=nowhere"),
        (env!("CARGO_BIN_EXE_in_memory"), &[("BIND", "192.0.2.1")], "set PORT or BIND"),
    ] {
        let text = Program::start(program, variables).refuses();
        assert!(text.contains(said), "{program}: {text}");
        assert_eq!(text.lines().count(), 1, "{program}: {text}");
    }
}

/// Where the examples' code is: single files, and packages of their own.
fn sources() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let packages = paths(folder).into_iter().filter(|path| path.join("Cargo.toml").exists());
    (paths(&folder.join("src/bin")), packages.collect())
}

fn index() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(folder.join("README.md")).unwrap()
}

/// Nobody finds an example that the index does not have.
#[test]
fn the_index_has_every_example() {
    let (programs, packages) = sources();
    assert!(!packages.is_empty(), "the package examples/tls has moved");
    for (paths, command) in [(programs, "--bin "), (packages, "--package ddp-example-")] {
        for path in paths {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(index().contains(&format!("{command}{name}`")), "README.md lacks {name}");
        }
    }
}

#[test]
fn the_index_says_how_long_they_are() {
    let (programs, packages) = sources();
    let files = programs.into_iter().filter(|path| path.is_file());
    let files = files.chain(packages.iter().map(|path| path.join("src/main.rs")));
    let lines = files.map(|path| std::fs::read_to_string(path).unwrap().lines().count());
    let lines: Vec<_> = lines.collect();
    let (shortest, longest) = (lines.iter().min().unwrap(), lines.iter().max().unwrap());
    let said = format!("of {shortest} to {longest} lines");
    assert!(index().contains(&said), "README.md does not say {said:?}");
}
