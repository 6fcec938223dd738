//! Another table, or a view, that has the table's name between two looks at the catalogs.

use ddp_postgres::{Feed, Table};
use ddp_tests::{Client, database};
use serde_json::json;

use super::{Fixture, NEVER, sees, shown};

const SETUP: &str = "CREATE TABLE tasks (id int PRIMARY KEY, v text);
    INSERT INTO tasks VALUES (1, 'a'), (2, 'a');
    CREATE SCHEMA s; CREATE TABLE s.tasks (LIKE tasks INCLUDING ALL);
    INSERT INTO s.tasks VALUES (2, 'b'), (3, 'b');
    CREATE TABLE other (LIKE tasks INCLUDING ALL);
    INSERT INTO other SELECT * FROM s.tasks";
const BEFORE: &str = r#"~1 v:"a"; ~2 v:"a""#;
const SWAPPED: &str = r#"~2 v:"b"; ~3 v:"b""#;

/// How another relation gets the name, and how the table gets it back. Meanwhile it is `hidden.mine`.
const SWAPS: [(&str, &str, &str); 4] = [
    ("renamed", "ALTER TABLE other RENAME TO tasks", "ALTER TABLE tasks RENAME TO other"),
    (
        "made",
        "CREATE TABLE tasks (LIKE other INCLUDING ALL); INSERT INTO tasks TABLE other",
        "DROP TABLE tasks",
    ),
    ("moved", "ALTER TABLE s.tasks SET SCHEMA public", "ALTER TABLE tasks SET SCHEMA s"),
    (
        "parted",
        "CREATE TABLE tasks (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
        CREATE TABLE part PARTITION OF tasks DEFAULT; INSERT INTO tasks TABLE other",
        "DROP TABLE tasks",
    ),
];
const HIDE: &str = "CREATE SCHEMA hidden; ALTER TABLE tasks RENAME TO mine;
    ALTER TABLE mine SET SCHEMA hidden;";
const UNHIDE: &str = "ALTER TABLE hidden.mine SET SCHEMA public; ALTER TABLE mine RENAME TO tasks;
    DROP SCHEMA hidden";

/// Rows that a query read by the name are gone when the table has it again.
async fn is_noticed(fixture: &Fixture, client: &mut Client, hide: &str, back: &str, touch: &str) {
    let query = |value: &'static str| async move {
        let mut client = Client::connect(fixture.address).await;
        client.subscribe("tasks.where", json!(["v", value])).await;
        client
    };
    // A connection has prepared the statement by then.
    query("c").await.close().await;
    sees(client, BEFORE).await;
    fixture.psql(hide);
    let mut late = query("b").await;
    assert_eq!(shown(&late), SWAPPED);
    fixture.psql(touch);
    sees(client, SWAPPED).await;
    fixture.psql(back);
    fixture.checks_until(&mut late, "").await;
    sees(client, BEFORE).await;
    late.close().await;
}

async fn another_relation_that_has_the_name_for_a_moment(feed: Feed) {
    let fixture = Fixture::unwatched(&database::name("swapped", feed), SETUP, feed).await;
    let mut client = fixture.client().await;
    let touch = "UPDATE hidden.mine SET v = v WHERE id = 1";
    for (how, swap, back) in SWAPS {
        println!("{how}");
        let (hide, back) = (format!("{HIDE} {swap}"), format!("{back}; {UNHIDE}"));
        is_noticed(&fixture, &mut client, &hide, &back, touch).await;
    }
    let hide = "ALTER SCHEMA public RENAME TO hidden; ALTER SCHEMA s RENAME TO public";
    let back = "ALTER SCHEMA public RENAME TO s; ALTER SCHEMA hidden RENAME TO public";
    let touch = "UPDATE hidden.tasks SET v = v WHERE id = 1";
    is_noticed(&fixture, &mut client, hide, back, touch).await;
    // What has its name back is told by itself.
    fixture.db.check().await.unwrap();
    let requeries = fixture.db.stats().requeries;
    fixture.psql("UPDATE tasks SET v = 'c' WHERE id = 1");
    sees(&mut client, r#"~1 v:"c"; ~2 v:"a""#).await;
    assert_eq!(fixture.db.stats().requeries, requeries);
}

/// That ends subscriptions, if a look falls into that moment. Else they are as before.
async fn a_view_that_has_the_name_for_a_moment(feed: Feed) {
    let fixture = Fixture::unwatched(&database::name("swapped_view", feed), SETUP, feed).await;
    let mut client = fixture.client().await;
    sees(&mut client, BEFORE).await;
    fixture.psql(&format!("{HIDE} CREATE VIEW tasks AS TABLE other"));
    let mut late = Client::connect(fixture.address).await;
    let id = late.send_sub("tasks.where", json!(["v", "b"])).await;
    late.until("its rows, or an end", |client| {
        shown(client) == SWAPPED || client.nosub.contains_key(&id)
    })
    .await;
    fixture.psql(&format!("DROP VIEW tasks; {UNHIDE}"));
    fixture.checks_until(&mut late, "").await;
    sees(&mut fixture.checks_until_available().await, BEFORE).await;
}

/// Rows are read by their keys after what had told them has lost its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_read_from_another_table_of_the_name() {
    let table = Table::new("tasks").all_columns().keys_only();
    let fixture = Fixture::every(NEVER, "swapped_keys", SETUP, table, Feed::Notify).await;
    fixture.db.check().await.unwrap();
    let mut client = fixture.client().await;
    sees(&mut client, BEFORE).await;
    let (_, swap, back) = SWAPS[0];
    fixture.psql(&format!("BEGIN; UPDATE tasks SET v = 'c'; {HIDE} {swap}; COMMIT"));
    sees(&mut client, r#"~2 v:"b""#).await;
    fixture.psql(&format!("{back}; {UNHIDE}"));
    fixture.checks_until(&mut client, r#"~1 v:"c"; ~2 v:"c""#).await;
}

ddp_tests::over_both_feeds!(
    another_relation_that_has_the_name_for_a_moment,
    a_view_that_has_the_name_for_a_moment,
);
