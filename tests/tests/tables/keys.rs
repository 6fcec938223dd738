//! Keys of all kinds, names of all kinds.

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::Params;
use ddp_server::query::ascending;
use ddp_server::{Server, State, field};
use ddp_tests::{Client, database};
use serde_json::json;

use super::{Fixture, sees, shown};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_each_type_become_ids() {
    const UUID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    for (name, key, value, id) in [
        ("smallint", "smallint", "7", "~7"),
        ("integer", "integer", "-7", "~-7"),
        ("bigint", "bigint", "9007199254740991", "~9007199254740991"),
        ("big", "bigint", "9007199254740993", "9007199254740993"),
        ("uuid", "uuid", UUID, UUID),
        ("text", "text", "~a", "-~a"),
        ("varchar", "varchar(30)", "507f1f77bcf86cd799439011", "-507f1f77bcf86cd799439011"),
    ] {
        let setup = format!("CREATE TABLE tasks (id {key} PRIMARY KEY, n int)");
        let fixture =
            Fixture::start(&format!("key_{name}"), &setup, Table::new("tasks").all_columns()).await;
        let mut client = fixture.client().await;
        fixture.psql(&format!("INSERT INTO tasks VALUES ('{value}', 1)"));
        sees(&mut client, &format!("{id} n:1")).await;
        fixture.psql("UPDATE tasks SET n = 2");
        sees(&mut client, &format!("{id} n:2")).await;
        let mut later = fixture.client().await;
        assert_eq!(shown(&later), format!("{id} n:2"));
        fixture.psql("DELETE FROM tasks");
        sees(&mut client, "").await;
        sees(&mut later, "").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_several_columns_become_one_id() {
    several_columns("composite", Table::new("tasks").all_columns()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_several_columns_without_their_rows() {
    several_columns("composite_keys", Table::new("tasks").all_columns().keys_only()).await;
}

async fn several_columns(name: &str, table: Table) {
    let setup = "CREATE TABLE tasks (title text, name text, list_id int,
            CONSTRAINT k PRIMARY KEY (list_id, name));
        INSERT INTO tasks VALUES ('x', 'a', 1)";
    let fixture = Fixture::start(name, setup, table.camel_case()).await;
    let mut all = fixture.client().await;
    let mut one = Client::connect(fixture.address).await;
    one.subscribe("tasks.where", json!(["listId", 1])).await;
    sees(&mut all, r#"[1,"a"] listId:1,name:"a",title:"x""#).await;
    fixture.psql("UPDATE tasks SET list_id = 2");
    sees(&mut all, r#"[2,"a"] listId:2,name:"a",title:"x""#).await;
    sees(&mut one, "").await;
    fixture.psql("INSERT INTO tasks VALUES ('y', 'b', 1); DELETE FROM tasks WHERE list_id = 2");
    sees(&mut one, r#"[1,"b"] listId:1,name:"b",title:"y""#).await;
    sees(&mut all, r#"[1,"b"] listId:1,name:"b",title:"y""#).await;

    let id = one.send_sub("tasks.where", json!(["_id", "[1,\"b\"]"])).await;
    one.until("nosub", |client| client.nosub.contains_key(&id)).await;
    // The reason is only in the log, for developers.
    assert_eq!(one.nosub[&id]["error"], 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_any_kind_reach_the_client() {
    let setup = r#"CREATE SCHEMA "My Schema";
        CREATE TABLE "My Schema"."Task List" ("Id" serial PRIMARY KEY, "List Id" int,
            created_by text, "createdBy" text, "quo""te" text,
            twice int GENERATED ALWAYS AS ("List Id" * 2) STORED);"#;
    let table =
        Table::new("Task List").all_columns().schema("My Schema").collection("tasks").camel_case();
    let clash = super::builder(&ddp_tests::database::create_database("tables_clash", setup));
    let error = clash.table(table.clone()).connect().await.unwrap_err().to_string();
    assert!(error.contains("become the field \"createdBy\""), "{error}");

    let table = table.rename("created_by", "author").rename("List Id", "list");
    let fixture = Fixture::start("names", setup, table).await;
    let mut client = fixture.client().await;
    fixture.psql(
        r#"INSERT INTO "My Schema"."Task List" ("List Id", created_by, "createdBy", "quo""te")
            VALUES (4, 'a', 'b', 'c')"#,
    );
    let fields = |list: u32| {
        let twice = 2 * list;
        format!(r#"~1 author:"a",createdBy:"b",list:{list},quo"te:"c",twice:{twice}"#)
    };
    sees(&mut client, &fields(4)).await;
    fixture.psql(r#"UPDATE "My Schema"."Task List" SET "List Id" = 5"#);
    sees(&mut client, &fields(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_string_finds_the_row_with_that_number() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, code uuid); \
                 INSERT INTO tasks VALUES (1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), (2, NULL)";
    let table = Table::new("tasks").all_columns().string_ids();
    let fixture = super::Fixture::start("keys_strings", setup, table).await;
    for (field, value, found) in [
        ("_id", "2", vec!["2"]),
        ("_id", "x", vec![]),
        ("_id", "02", vec![]),
        ("code", "A0EEBC999C0B4EF8BB6D6BB9BD380A11", vec!["1"]),
        ("code", "no uuid", vec![]),
    ] {
        let mut client = ddp_tests::Client::connect(fixture.address).await;
        client.subscribe("tasks.where", serde_json::json!([field, value])).await;
        assert_eq!(client.documents("tasks").keys().collect::<Vec<_>>(), found, "{field} {value}");
    }
    let mut client = ddp_tests::Client::connect(fixture.address).await;
    client.subscribe("tasks.where", serde_json::json!(["_id", "3"])).await;
    fixture.psql("INSERT INTO tasks VALUES (3)");
    client.until("the row", |client| client.documents("tasks").contains_key("3")).await;
}

fn foreign_keys(db: Db) -> Server {
    Server::builder()
        .publish("of", async |State(db): State<Db>, Params((list,)): Params<(String,)>| {
            db.find(&super::TASKS).filter(field("list").eq(list))
        })
        .publish("among", async |State(db): State<Db>, Params((lists,)): Params<(Vec<String>,)>| {
            db.find(&super::TASKS).filter(field("list").is_in(lists))
        })
        .publish("below", async |State(db): State<Db>, Params((list,)): Params<(String,)>| {
            db.find(&super::TASKS).filter(field("list").lt(list))
        })
        .publish("first", async |State(db): State<Db>| {
            db.find(&super::TASKS).sort([ascending("list")]).limit(2)
        })
        .publish("watched", async |State(db): State<Db>, Params((user,)): Params<(String,)>| {
            db.find(&super::TASKS).filter(field("watchers").contains(user))
        })
        .publish("like", async |State(db): State<Db>| {
            db.find(&super::TASKS).filter(field("list").starts_with("1"))
        })
        .with_state(db)
}

/// Foreign keys are strings to clients, and what they are compared with are strings.
async fn foreign_keys_are_strings_to_clients_and_compared_with_strings(feed: Feed) {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, list_id bigint, watchers int[]);
        INSERT INTO tasks VALUES (1, 5, '{7,8}'), (2, 10, '{}'), (3, NULL, NULL),
            (4, 9007199254740993, '{{7},{NULL}}')";
    let table =
        Table::new("tasks").all_columns().string_ids().string_id_columns(["list_id", "watchers"]);
    let name = database::name("keys_foreign", feed);
    let db = super::Fixture::over(&name, setup, table.rename("list_id", "list"), feed).await;
    let server = foreign_keys(db.db.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    let client = async |name: &str, params: serde_json::Value| {
        let mut client = Client::connect(address).await;
        client.subscribe(name, params).await;
        client
    };
    let one = r#"1 list:"5",watchers:["7","8"]"#;
    let big = r#"4 list:"9007199254740993",watchers:[["7"],[null]]"#;
    let mut of = client("of", json!(["5"])).await;
    let mut among = client("among", json!([["10", "x", "05"]])).await;
    let mut below = client("below", json!(["9"])).await;
    let mut first = client("first", json!([])).await;
    let mut watched = client("watched", json!(["7"])).await;
    let mut of_big = client("of", json!(["9007199254740993"])).await;
    let mut none = client("of", json!(["05"])).await;
    let two = |list: u32| format!(r#"2 list:"{list}",watchers:[]"#);
    sees(&mut of, one).await;
    sees(&mut among, &two(10)).await;
    sees(&mut below, one).await;
    sees(&mut first, &format!("{one}; {}", two(10))).await;
    sees(&mut watched, &format!("{one}; {big}")).await;
    sees(&mut of_big, big).await;

    // Into a predicate, and out of it.
    db.psql("UPDATE tasks SET list_id = 5 WHERE id = 2");
    sees(&mut of, &format!("{one}; {}", two(5))).await;
    sees(&mut among, "").await;
    sees(&mut below, &format!("{one}; {}", two(5))).await;
    db.psql("UPDATE tasks SET list_id = 10, watchers = '{8}' WHERE id = 1");
    let moved = r#"1 list:"10",watchers:["8"]"#;
    sees(&mut of, &two(5)).await;
    sees(&mut among, moved).await;
    sees(&mut below, &two(5)).await;
    sees(&mut watched, big).await;
    // By number: as text, "10" would come before "5", and "9" after both.
    db.psql("INSERT INTO tasks VALUES (5, 9, '{7}')");
    let five = r#"5 list:"9",watchers:["7"]"#;
    sees(&mut first, &format!("{}; {five}", two(5))).await;
    sees(&mut watched, &format!("{big}; {five}")).await;
    db.psql("DELETE FROM tasks WHERE id = 4");
    sees(&mut of_big, "").await;
    sees(&mut watched, five).await;
    sees(&mut none, "").await;
    let id = none.send_sub("like", json!([])).await;
    none.until("nosub", |client| client.nosub.contains_key(&id)).await;
}

ddp_tests::over_both_feeds!(foreign_keys_are_strings_to_clients_and_compared_with_strings);

#[tokio::test]
async fn only_columns_of_integers_can_be_named_as_ids() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text, list_id smallint)";
    let url = database::create_database("tables_keys_refused", setup);
    for (column, message) in [
        (
            "title",
            r#"column "title" of table "public"."tasks" is named in .string_id_columns(…), but"#,
        ),
        ("lists_id", r#"has no column "lists_id"; did you mean "list_id"?"#),
    ] {
        let table = Table::new("tasks").all_columns().string_id_columns(["list_id", column]);
        let error = super::builder(&url).table(table).connect().await.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    // The key itself may be named as well.
    let table = Table::new("tasks").all_columns().string_id_columns(["id"]);
    let fixture = super::Fixture::start("keys_named", setup, table).await;
    let mut client = fixture.client().await;
    fixture.psql("INSERT INTO tasks VALUES (1)");
    sees(&mut client, "1 list_id:null,title:null").await;
}
