//! What others do to tables and triggers while the server is running.

use ddp_postgres::{Feed, Table};
use ddp_tests::Client;
use serde_json::json;

use super::{Fixture, sees};

const SETUP: &str = "CREATE TABLE tasks (id int PRIMARY KEY, title text, n int);
    INSERT INTO tasks VALUES (1, 'a', 1)";

async fn fixture(name: &str, setup: &str, feed: Feed) -> Fixture {
    let name = ddp_tests::database::name(&format!("alter_{name}"), feed);
    Fixture::over(&name, setup, Table::new("tasks").all_columns(), feed).await
}

async fn start(name: &str, feed: Feed) -> (Fixture, Client) {
    let fixture = fixture(name, SETUP, feed).await;
    let client = fixture.client().await;
    (fixture, client)
}

/// The client sees the effect, and goes on seeing changes.
async fn goes_on(fixture: &Fixture, client: &mut Client, before: &str, insert: &str, row: &str) {
    sees(client, before).await;
    fixture.psql(&format!("INSERT INTO tasks VALUES {insert}"));
    let separator = if before.is_empty() { "" } else { "; " };
    sees(client, &format!("{before}{separator}{row}")).await;
}

async fn columns_that_are_added_renamed_retyped_and_dropped(feed: Feed) {
    let (fixture, mut client) = start("columns", feed).await;
    fixture.psql("ALTER TABLE tasks ADD COLUMN due date DEFAULT '2024-02-29'");
    let before = r#"~1 due:"2024-02-29",n:1,title:"a""#;
    let row = r#"~2 due:null,n:2,title:"b""#;
    goes_on(&fixture, &mut client, before, "(2, 'b', 2, NULL)", row).await;

    fixture.psql("DELETE FROM tasks WHERE id = 2; ALTER TABLE tasks RENAME COLUMN title TO text");
    let before = r#"~1 due:"2024-02-29",n:1,text:"a""#;
    client.until("the new name", |client| super::shown(client).contains("text:")).await;
    sees(&mut client, before).await;

    fixture.psql("ALTER TABLE tasks ALTER COLUMN n TYPE text USING 'n' || n");
    let before = r#"~1 due:"2024-02-29",n:"n1",text:"a""#;
    let row = r#"~2 due:null,n:"2",text:"b""#;
    goes_on(&fixture, &mut client, before, "(2, 'b', '2', NULL)", row).await;

    fixture.psql("DELETE FROM tasks WHERE id = 2; ALTER TABLE tasks DROP COLUMN n");
    let before = r#"~1 due:"2024-02-29",text:"a""#;
    goes_on(&fixture, &mut client, before, "(2, 'b', NULL)", r#"~2 due:null,text:"b""#).await;
    // An expression rewrites the rows, while the type stays.
    fixture.psql("ALTER TABLE tasks ALTER COLUMN text TYPE text USING upper(text)");
    sees(&mut client, r#"~1 due:"2024-02-29",text:"A"; ~2 due:null,text:"B""#).await;
}

async fn a_word_that_the_enum_gets_later(feed: Feed) {
    let setup = "CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE tasks (id int PRIMARY KEY, mood mood); INSERT INTO tasks VALUES (1, 'ok')";
    let fixture = fixture("word", setup, feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks.where", json!(["mood", "new"])).await;
    sees(&mut client, "").await;
    fixture.psql("ALTER TYPE mood ADD VALUE 'new' BEFORE 'ok'");
    fixture.psql("INSERT INTO tasks VALUES (2, 'new'), (3, 'sad'); UPDATE tasks SET mood = 'new' WHERE id = 1");
    sees(&mut client, r#"~1 mood:"new"; ~2 mood:"new""#).await;
    // So does one who comes now.
    let mut other = Client::connect(fixture.address).await;
    other.subscribe("tasks.where", json!(["mood", "new"])).await;
    sees(&mut other, r#"~1 mood:"new"; ~2 mood:"new""#).await;
}

async fn a_key_that_is_retyped_or_renamed(feed: Feed) {
    let (fixture, mut client) = start("retyped", feed).await;
    fixture.psql("ALTER TABLE tasks ALTER COLUMN id TYPE bigint");
    let before = r#"~1 n:1,title:"a""#;
    let (insert, row) = ("(9007199254740993, 'b', 2)", r#"9007199254740993 n:2,title:"b""#);
    fixture.psql(&format!("INSERT INTO tasks VALUES {insert}"));
    sees(&mut client, &format!("{row}; {before}")).await;
    fixture.psql("DELETE FROM tasks WHERE id > 1; ALTER TABLE tasks ALTER COLUMN id TYPE text");
    goes_on(&fixture, &mut client, r#"1 n:1,title:"a""#, "('b', 'b', 2)", r#"b n:2,title:"b""#)
        .await;
    fixture.psql(
        "ALTER TABLE tasks RENAME COLUMN id TO key; UPDATE tasks SET key = 'c' WHERE key = 'b'",
    );
    sees(&mut client, r#"1 n:1,title:"a"; c n:2,title:"b""#).await;
    fixture.psql("UPDATE tasks SET key = 'd' WHERE key = 'c'");
    sees(&mut client, r#"1 n:1,title:"a"; d n:2,title:"b""#).await;
}

async fn a_query_on_a_column_that_is_gone_ends_and_comes_back(feed: Feed) {
    let (fixture, mut all) = start("gone_column", feed).await;
    let mut client = Client::connect(fixture.address).await;
    let id = client.subscribe("tasks.where", json!(["n", 1])).await;
    fixture.psql("ALTER TABLE tasks DROP COLUMN n");
    client.until("nosub", |client| client.nosub.contains_key(&id)).await;
    assert_eq!(client.nosub[&id]["error"], "collection-changed");
    assert!(client.nosub[&id]["reason"].as_str().unwrap().contains("no published field \"n\""));
    sees(&mut all, r#"~1 title:"a""#).await;

    fixture.psql("ALTER TABLE tasks ADD COLUMN n text DEFAULT 'x'");
    sees(&mut all, r#"~1 n:"x",title:"a""#).await;
    client.subscribe("tasks.where", json!(["n", "x"])).await;
    sees(&mut client, r#"~1 n:"x",title:"a""#).await;
}

async fn a_table_that_is_dropped_and_made_anew(feed: Feed) {
    let (fixture, mut client) = start("recreated", feed).await;
    fixture.psql(
        "BEGIN; DROP TABLE tasks; CREATE TABLE tasks (id int PRIMARY KEY, title text, n int);
        INSERT INTO tasks VALUES (3, 'c', 3); COMMIT",
    );
    let before = r#"~3 n:3,title:"c""#;
    goes_on(&fixture, &mut client, before, "(4, 'd', 4)", r#"~4 n:4,title:"d""#).await;

    fixture.psql("DROP TABLE tasks");
    sees(&mut client, "").await;
    let mut later = fixture.client().await;
    fixture.psql(SETUP);
    let before = r#"~1 n:1,title:"a""#;
    goes_on(&fixture, &mut client, before, "(2, 'b', 2)", r#"~2 n:2,title:"b""#).await;
    sees(&mut later, r#"~1 n:1,title:"a"; ~2 n:2,title:"b""#).await;
}

async fn a_table_that_takes_the_place_of_another(feed: Feed) {
    let (fixture, mut client) = start("swapped", feed).await;
    fixture.psql("CREATE TABLE next (id int PRIMARY KEY, title text, n int)");
    fixture
        .psql("BEGIN; ALTER TABLE tasks RENAME TO old; ALTER TABLE next RENAME TO tasks; COMMIT");
    goes_on(&fixture, &mut client, "", "(4, 'd', 4)", r#"~4 n:4,title:"d""#).await;
    fixture.psql("INSERT INTO old VALUES (5); INSERT INTO tasks VALUES (6)");
    client.until("the row", |client| client.documents("tasks").contains_key("~6")).await;
    assert!(!client.documents("tasks").contains_key("~5"));
}

async fn triggers_that_somebody_disables_or_drops_are_repaired(feed: Feed) {
    let (fixture, mut client) = start("triggers", feed).await;
    for (number, damage) in [
        r#"ALTER TABLE tasks DISABLE TRIGGER "0_ddp_tasks_insert""#,
        r#"DROP TRIGGER "0_ddp_tasks_insert" ON tasks"#,
        "ALTER TABLE tasks DISABLE TRIGGER ALL",
        "DROP SCHEMA ddp CASCADE",
    ]
    .iter()
    .enumerate()
    {
        let (first, second) = (10 * number + 11, 10 * number + 12);
        // Nobody hears of this row until the damage is noticed.
        fixture.psql(&format!("{damage}; INSERT INTO tasks VALUES ({first})"));
        let seen = |id: usize| {
            move |client: &Client| client.documents("tasks").contains_key(&format!("~{id}"))
        };
        client.until(damage, seen(first)).await;
        fixture.psql(&format!("INSERT INTO tasks VALUES ({second})"));
        client.until(damage, seen(second)).await;
    }
}

async fn partitions_that_are_attached_and_detached(feed: Feed) {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10);
        CREATE TABLE high (id int PRIMARY KEY, title text); INSERT INTO high VALUES (11, 'h')";
    let fixture = fixture("partitions", setup, feed).await;
    let mut client = fixture.client().await;
    fixture.psql("ALTER TABLE tasks ATTACH PARTITION high FOR VALUES FROM (10) TO (20)");
    sees(&mut client, r#"~11 title:"h""#).await;
    fixture.psql("INSERT INTO high VALUES (12, 'i')");
    sees(&mut client, r#"~11 title:"h"; ~12 title:"i""#).await;
    fixture.psql("ALTER TABLE tasks DETACH PARTITION high");
    sees(&mut client, "").await;
    fixture.psql("INSERT INTO high VALUES (13, 'j'); INSERT INTO low VALUES (1, 'k')");
    sees(&mut client, r#"~1 title:"k""#).await;
}

async fn a_key_that_becomes_another(feed: Feed) {
    let (fixture, mut client) = start("key", feed).await;
    fixture.psql(
        "ALTER TABLE tasks DROP CONSTRAINT tasks_pkey; ALTER TABLE tasks ADD PRIMARY KEY (id, title)",
    );
    let before = r#"[1,"a"] id:1,n:1,title:"a""#;
    goes_on(&fixture, &mut client, before, "(1, 'b', 2)", r#"[1,"b"] id:1,n:2,title:"b""#).await;
    fixture.psql("ALTER TABLE tasks DROP CONSTRAINT tasks_pkey");
    client.until("nosub", |client| !client.nosub.is_empty()).await;
    let nosub = client.nosub.values().next().unwrap();
    assert_eq!(nosub["error"], "collection-unavailable");
    fixture.psql("DELETE FROM tasks WHERE title = 'b'; ALTER TABLE tasks ADD PRIMARY KEY (id)");
    let mut client = Client::connect(fixture.address).await;
    loop {
        let id = client.send_sub("tasks", json!([])).await;
        client.until("an answer", |c| c.ready.contains(&id) || c.nosub.contains_key(&id)).await;
        if client.ready.contains(&id) {
            break;
        }
    }
    sees(&mut client, r#"~1 n:1,title:"a""#).await;
}

async fn an_enum_label_that_is_renamed(feed: Feed) {
    let setup = "CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE tasks (id int PRIMARY KEY, mood mood); INSERT INTO tasks VALUES (1, 'ok')";
    let fixture = fixture("enum", setup, feed).await;
    let mut client = fixture.client().await;
    sees(&mut client, r#"~1 mood:"ok""#).await;
    fixture.psql("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'");
    sees(&mut client, r#"~1 mood:"fine""#).await;
}

ddp_tests::over_both_feeds!(
    a_word_that_the_enum_gets_later,
    columns_that_are_added_renamed_retyped_and_dropped,
    a_key_that_is_retyped_or_renamed,
    a_query_on_a_column_that_is_gone_ends_and_comes_back,
    a_table_that_is_dropped_and_made_anew,
    a_table_that_takes_the_place_of_another,
    triggers_that_somebody_disables_or_drops_are_repaired,
    partitions_that_are_attached_and_detached,
    a_key_that_becomes_another,
    an_enum_label_that_is_renamed,
);
