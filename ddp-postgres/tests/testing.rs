//! The client for tests, against tables.

mod support;

use ddp_postgres::{Db, Table};
use ddp_server::extract::Params;
use ddp_server::testing::Client;
use ddp_server::{Collection, Cursor, Error, Server, State, WriteFence, field};
use serde::{Deserialize, Serialize};
use support::{Database, cluster};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    list_id: String,
    text: String,
}

const TASKS: Collection<Task> = Collection::new("tasks");

async fn by_list(State(db): State<Db>, Params((list_id,)): Params<(String,)>) -> Cursor<Task> {
    db.find(&TASKS).filter(field("listId").eq(list_id))
}

async fn rename(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id, text)): Params<(i64, String)>,
) -> Result<u64, Error> {
    let transaction = db.begin(&fence).await?;
    let sql = "UPDATE tasks SET text = $2 WHERE id = $1";
    let rows = transaction.execute(sql, &[&id, &text]).await?;
    transaction.commit().await?;
    Ok(rows)
}

#[tokio::test]
async fn clients_see_what_methods_and_others_write() {
    let database = Database::new().await;
    database.run("CREATE TABLE tasks (id bigint PRIMARY KEY, list_id text, text text)").await;
    database.run("INSERT INTO tasks VALUES (1, 'home', 'a'), (2, 'work', 'b')").await;
    let url = cluster().database_url(&database.name);
    let table = Table::new("tasks").all_columns().camel_case();
    let db = Db::builder(url).table(table).connect().await.expect("a connection");
    let server = Server::builder()
        .publish("tasks.byList", by_list)
        .method("tasks.rename", rename)
        .with_state(db);
    let (ada, bob) = (Client::connect(&server).await, Client::connect(&server).await);
    for client in [&ada, &bob] {
        client.subscribe("tasks.byList", ("home",)).await.unwrap();
    }
    let home = |text: &str| [Task { list_id: "home".to_owned(), text: text.to_owned() }];
    assert_eq!(ada.documents(&TASKS), home("a"));
    assert_eq!(ada.call::<u64>("tasks.rename", (1, "c")).await, Ok(1));
    assert_eq!(ada.documents(&TASKS), home("c"), "it is there when the call returns");
    bob.wait_until(|bob| bob.documents(&TASKS) == home("c")).await;

    database.run("UPDATE tasks SET list_id = 'home' WHERE id = 2").await;
    for client in [&ada, &bob] {
        client.wait_until(|client| client.documents(&TASKS).len() == 2).await;
        let ids: Vec<String> = client.documents_by_id(&TASKS).into_keys().collect();
        assert_eq!(ids, ["1", "2"], "keys are numbers, and text here");
    }
    server.close().await;
}
