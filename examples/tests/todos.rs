//! The todos program as its user starts it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ddp_cluster::{Cluster, ClusterOptions};
use ddp_postgres::Db;
use ddp_tests::Client;
use serde_json::{Value, json};

/// A running todos server, killed when the test fails.
struct Todos {
    child: Child,
    /// What it printed up to its URL.
    printed: Vec<String>,
}

impl Todos {
    fn start(set: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_todos"));
        command.env("PORT", "0").env_remove("DATABASE_URL").stdout(Stdio::piped());
        set(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = Vec::new();
        while !printed.last().is_some_and(|line: &String| line.starts_with("open ")) {
            printed.push(lines.next().expect("it prints its URL").unwrap());
        }
        Self { child, printed }
    }

    fn address(&self) -> SocketAddr {
        let url = self.printed.last().unwrap().strip_prefix("open http://").unwrap();
        url.trim_end_matches('/').parse().unwrap()
    }

    fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.address()).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks it to end, as a service manager does. Returns what it logged, if that is piped.
    fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut logged = String::new();
        if let Some(mut log) = self.child.stderr.take() {
            log.read_to_string(&mut logged).unwrap();
        }
        assert!(self.child.wait().unwrap().success());
        logged
    }
}

impl Drop for Todos {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
    }
}

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_a_database_it_starts_one_names_it_and_stops_it() {
    let folder = std::env::temp_dir().join(format!("ddp-todos-test-{}", std::process::id()));
    let folder = Folder(folder);
    let todos = Todos::start(|command| {
        command.env("TODOS_DATA", &folder.0);
    });
    assert_eq!(todos.printed[0], format!("private PostgreSQL in {}", folder.0.display()));
    let psql = todos.printed.iter().find_map(|line| line.split_once("look into the database:"));
    let psql: Vec<String> = psql.unwrap().1.split_whitespace().map(str::to_owned).collect();
    let update = todos.printed.iter().find_map(|line| line.split_once("and try:")).unwrap().1;
    let run = |sql: &str| {
        let output = Command::new(&psql[0]).args(&psql[1..]).args(["-XAtc", sql]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (done, printed) = run(update.trim());
    assert!(done && printed.starts_with("UPDATE "), "{printed}");
    let (done, id) = run("INSERT INTO tasks (text) VALUES ('plain') RETURNING id");
    assert!(done && id.lines().next().unwrap().len() == 17, "{id}");
    assert!(todos.get("/").contains("<title>"));
    assert!(todos.get("/sockjs/info").contains("\"websocket\":true"));
    todos.stop();
    assert!(!run("SELECT 1").0, "the cluster has been stopped");

    // The data are still there the next time.
    let todos = Todos::start(|command| {
        command.env("TODOS_DATA", &folder.0);
    });
    let psql = todos.printed.iter().find_map(|line| line.split_once("look into the database:"));
    let psql: Vec<&str> = psql.unwrap().1.split_whitespace().collect();
    let sql = "SELECT count(*) FROM tasks WHERE text = 'plain'";
    let output = Command::new(psql[0]).args(&psql[1..]).args(["-XAtc", sql]).output().unwrap();
    assert_eq!(output.stdout, b"1\n");
    todos.stop();
}

#[test]
fn without_postgresql_the_tasks_are_in_memory() {
    let todos = Todos::start(|command| {
        command.env("PG_BIN", "/nonexistent");
    });
    assert_eq!(todos.printed.len(), 2, "{:?}", todos.printed);
    assert!(todos.printed[0].contains("tasks live in memory only"));
    assert!(todos.get("/").contains("<title>"));
    todos.stop();
}

/// In memory as in a database, also in one of a version that knew no users.
#[tokio::test]
async fn a_user_has_lists_that_nobody_else_sees() {
    let cluster = Cluster::start(ClusterOptions::temporary().without_durability()).unwrap();
    let before = "CREATE TABLE tasks (id text PRIMARY KEY, list_id text, text text,
            checked boolean NOT NULL DEFAULT false, created_at timestamptz NOT NULL DEFAULT now());
        INSERT INTO tasks (id, list_id, text) VALUES ('old', 'home', 'From before')";
    Db::run_script(&cluster.url(), before).await.unwrap();
    for (name, value) in [("PG_BIN", "/nonexistent"), ("DATABASE_URL", cluster.url().as_str())] {
        let todos = Todos::start(|command| {
            command.env(name, value);
        });
        keeps_lists_apart(todos.address()).await;
        todos.stop();
    }
}

async fn keeps_lists_apart(address: SocketAddr) {
    let texts = |client: &Client| -> Vec<String> {
        let tasks = client.documents("tasks");
        assert!(tasks.values().all(|task| !task.contains_key("owner")), "{tasks:?}");
        let mut texts: Vec<String> =
            tasks.values().map(|task| task["text"].as_str().unwrap().to_owned()).collect();
        texts.retain(|text| text != "From before");
        texts
    };
    let insert = |text: &str| json!([{"listId": "home", "text": text}]);
    let mut everybody = Client::connect(address).await;
    everybody.subscribe("tasks", json!([])).await;
    let shared = everybody.call("tasks.insert", insert("For everybody")).await["result"].clone();
    assert_eq!(texts(&everybody), ["For everybody"]);

    let user = json!([{"username": "ada", "password": "analytical engine"}]);
    let mut ada = Client::connect(address).await;
    ada.subscribe("tasks", json!([])).await;
    let login = ada.call("createUser", user).await["result"].clone();
    assert!(ada.documents("tasks").is_empty(), "{:?}", ada.documents("tasks"));
    let own = ada.call("tasks.insert", insert("Only for Ada")).await["result"].clone();
    let mut tab = Client::connect(address).await;
    tab.call("login", json!([{"resume": login["token"]}])).await;
    tab.subscribe("tasks.byList", json!(["home"])).await;
    for client in [&ada, &tab] {
        assert_eq!(texts(client), ["Only for Ada"]);
    }
    // Nobody reaches what is not theirs, by its id either.
    let is_refused = |answer: &Value| answer["error"]["error"] == "not-found";
    for (client, id) in [(&mut everybody, &own), (&mut ada, &shared)] {
        assert!(is_refused(&client.call("tasks.setChecked", json!([id, true])).await));
        assert!(is_refused(&client.call("tasks.remove", json!([id])).await));
    }
    ada.call("tasks.setChecked", json!([own, true])).await;
    let own = own.as_str().unwrap().to_owned();
    tab.until("the check", |tab| tab.documents("tasks")[&own]["checked"] == true).await;
    assert_eq!(texts(&everybody), ["For everybody"]);
    ada.call("logout", json!([])).await;
    assert_eq!(texts(&ada), ["For everybody"]);
    everybody.call("tasks.remove", json!([shared])).await;
}

#[test]
fn settings_that_cannot_be_are_refused_clearly() {
    for (name, value, complaint) in [
        ("PORT", "99999", "PORT=99999"),
        ("BIND", "nowhere", "BIND=nowhere"),
        ("DATABASE_URL", "postgres://127.0.0.1:1/none", "connect"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_todos"))
            .env("PORT", "0")
            .env("PG_BIN", "/nonexistent")
            .env(name, value)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(stderr.contains(complaint), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

/// Neither when it goes well nor when it fails.
#[test]
fn a_password_in_the_database_s_url_is_never_printed() {
    let cluster = Cluster::start(ClusterOptions::temporary().without_durability()).unwrap();
    let url = cluster.url().replace("postgres@", "postgres:s3cret@");
    let todos = Todos::start(|command| {
        command.env("DATABASE_URL", &url).env("RUST_LOG", "debug").stderr(Stdio::piped());
    });
    assert!(todos.get("/").contains("<title>"));
    let printed = todos.printed.join("\n");
    assert!(printed.contains("look into the database") && !printed.contains("s3cret"), "{printed}");
    let logged = todos.stop();
    assert!(!logged.is_empty() && !logged.contains("s3cret"), "{logged}");
    for url in
        [url.replace("/postgres", "/none"), "postgres://me:s3cret@127.0.0.1:1/none".to_owned()]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_todos"))
            .env("PORT", "0")
            .env("RUST_LOG", "debug")
            .env("DATABASE_URL", &url)
            .output()
            .unwrap();
        assert!(!output.status.success());
        for printed in [output.stdout, output.stderr] {
            let printed = String::from_utf8(printed).unwrap();
            assert!(!printed.contains("s3cret"), "{printed}");
        }
    }
}
