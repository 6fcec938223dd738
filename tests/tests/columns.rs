//! Publications of several collections, and columns that nobody may see.

use std::sync::{Arc, Mutex};

use ddp_postgres::{Db, Table};
use ddp_server::extract::{Params, State};
use ddp_server::query::{ascending, descending};
use ddp_server::{AnyCursor, Collection, Error, Server, WriteFence, field};
use ddp_tests::{Client, database};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio_postgres::{AsyncMessage, NoTls};

const PEOPLE: Collection<Value> = Collection::new("people");
const GROUPS: Collection<Value> = Collection::new("groups");

/// What must not leave the database.
const SECRET: &str = "hunter2";

const SETUP: &str = "
    CREATE TABLE people (
        id integer PRIMARY KEY, name text, \"group\" integer, password text, salary numeric,
        profile jsonb
    );
    CREATE TABLE groups (id integer PRIMARY KEY, title text, notes text);
    INSERT INTO groups SELECT n, 'group ' || n, 'hunter2' FROM generate_series(1, 3) AS n;
    INSERT INTO people SELECT n, 'person ' || n, n % 3 + 1, 'hunter2' || n, 424242, '{\"a\": 1}'
        FROM generate_series(1, 30) AS n;
";

async fn team(State(db): State<Db>, Params((group,)): Params<(i32,)>) -> Vec<AnyCursor> {
    vec![
        db.find(&GROUPS).filter(field("_id").eq(group)).into(),
        db.find(&PEOPLE).filter(field("group").eq(group)).into(),
    ]
}

async fn start(url: &str) -> (std::net::SocketAddr, Db) {
    let db = Db::builder(url)
        .table(Table::new("people").columns(["name", "group", "profile"]))
        .table(Table::new("groups").columns(["title"]))
        .connect()
        .await
        .unwrap();
    let server = Server::builder()
        .publish("team", team)
        .publish("top", async |State(db): State<Db>| {
            db.find(&PEOPLE).sort([descending("name")]).limit(5)
        })
        .publish("twice", async |State(db): State<Db>| {
            (db.find(&PEOPLE).filter(field("group").eq(1)), db.find(&PEOPLE).limit(3))
        })
        .publish("bySalary", async |State(db): State<Db>| {
            db.find(&PEOPLE).filter(field("salary").gt(1))
        })
        .publish("sortedBySalary", async |State(db): State<Db>| {
            db.find(&PEOPLE).sort([ascending("salary")]).limit(1)
        })
        .publish("passwords", async |State(db): State<Db>| db.find(&PEOPLE).fields(["password"]))
        .publish("wrongPattern", async |State(db): State<Db>| {
            db.find(&PEOPLE).filter(field("name").like("a\\"))
        })
        .method("barrier", async |State(db): State<Db>, fence: WriteFence| -> Result<(), Error> {
            Ok(db.begin(&fence).await?.commit().await?)
        })
        .with_state(db.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    (address, db)
}

/// Collects every payload on the channels that the server listens on.
async fn eavesdrop(
    url: &str,
    channels: &[String],
) -> (tokio_postgres::Client, Arc<Mutex<Vec<String>>>) {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let payloads = Arc::clone(&heard);
    tokio::spawn(
        async move {
            let mut messages =
                futures::stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(notification) = message {
                    payloads.lock().unwrap().push(notification.payload().to_owned());
                }
            }
        }
        .boxed(),
    );
    for channel in channels {
        client.batch_execute(&format!("LISTEN \"{channel}\"")).await.unwrap();
    }
    (client, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_cursors_over_one_collection_are_refused() {
    let url = database::create_database("columns_refused", SETUP);
    let (address, _db) = start(&url).await;
    let mut client = Client::connect(address).await;
    for name in ["twice", "bySalary", "sortedBySalary", "passwords", "wrongPattern"] {
        let id = client.send_sub(name, json!([])).await;
        client.until("nosub", |client| client.nosub.contains_key(&id)).await;
        assert_eq!(client.nosub[&id]["error"], 500, "{name}");
        assert!(client.documents("people").is_empty(), "{name}");
    }
    // One cursor on each of two collections is fine, and both are live.
    client.subscribe("team", json!([2])).await;
    assert_eq!(client.documents("groups").len(), 1);
    assert_eq!(client.documents("people").len(), 10);
    database::psql(
        "columns_refused",
        "UPDATE groups SET title = 'new'; UPDATE people SET \"group\" = 2 WHERE id = 3",
    );
    client.call("barrier", json!([])).await;
    assert_eq!(client.documents("groups")["~2"]["title"], "new");
    assert_eq!(client.documents("people").len(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_not_published_leaves_the_database_nowhere() {
    let url = database::create_database("columns_secret", SETUP);
    let (address, _db) = start(&url).await;
    let mut client = Client::connect(address).await;
    let mut texts = Vec::new();
    for (name, params) in [("team", json!([1])), ("team", json!([2])), ("top", json!([]))] {
        let id = client.send_sub(name, params).await;
        while !client.ready.contains(&id) {
            let text = client.next().await;
            client.handle(&text).await;
            texts.push(text);
        }
    }
    let channels = database::psql(
        "columns_secret",
        "SELECT DISTINCT substring(prosrc FROM '''(ddp_[^'']*)''') FROM pg_proc \
         WHERE pronamespace = 'ddp'::regnamespace AND prosrc LIKE '%pg_notify%'",
    );
    let channels: Vec<String> = channels.lines().map(str::to_owned).collect();
    assert_eq!(channels.len(), 2, "{channels:?}");
    let (listener, heard) = eavesdrop(&url, &channels).await;
    for sql in [
        "INSERT INTO people VALUES (100, 'new', 1, 'hunter2', 424242, '{}')",
        "UPDATE people SET password = 'hunter2!', name = name || '!', salary = 424243",
        "UPDATE people SET password = repeat('hunter2', 5000) WHERE id < 10",
        "UPDATE people SET id = id + 1000 WHERE id < 4",
        "DELETE FROM people WHERE id BETWEEN 5 AND 8",
        "UPDATE groups SET notes = 'hunter2', title = 'a'",
        "BEGIN; INSERT INTO groups VALUES (9, 'b', 'hunter2'); UPDATE groups SET id = 10 WHERE id = 9; COMMIT",
        "COPY people FROM PROGRAM 'printf \"200\\tcopied\\t1\\thunter2\\t424242\\t{}\\n\"'",
        "TRUNCATE groups",
        "INSERT INTO people SELECT n, 'many', 1, 'hunter2', 424242, '{}' FROM generate_series(5000, 17000) AS n",
    ] {
        database::psql("columns_secret", sql);
    }
    // Everything committed earlier arrives before this.
    let id = "barrier";
    client.send(&json!({"msg": "method", "id": id, "method": "barrier", "params": []})).await;
    while !client.updated.contains(id) {
        let text = client.next().await;
        client.handle(&text).await;
        texts.push(text);
    }
    listener.batch_execute("SELECT 1").await.unwrap();
    let heard = heard.lock().unwrap().clone();
    assert!(heard.iter().any(|payload| payload.contains("copied")), "{heard:?}");
    assert!(texts.iter().any(|text| text.contains("copied")), "the client saw the changes");
    assert!(heard.len() >= 10, "{}", heard.len());
    for text in texts.iter().chain(&heard) {
        for secret in [SECRET, "424242", "424243", "password", "salary", "notes"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
