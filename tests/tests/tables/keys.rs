//! Keys of all kinds, names of all kinds.

use ddp_postgres::Table;
use ddp_tests::Client;
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
