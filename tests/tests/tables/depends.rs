//! What documents depend on besides their table: types, policies, privileges.

use ddp_postgres::{Feed, Table};
use ddp_tests::{Client, database};
use serde_json::json;

use super::{Fixture, builder, sees, serve};

const MOOD: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok');";
const RENAME_LABEL: &str = "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'";

/// A name, types, a column's type, its value, what happens, and the field before and after.
type Case = [&'static str; 7];

const CASES: &[Case] = &[
    ["array", "", "mood[]", "{sad,ok}", RENAME_LABEL, r#"["sad","ok"]"#, r#"["blue","ok"]"#],
    [
        "domains",
        "CREATE DOMAIN feeling AS mood; CREATE DOMAIN inner_feeling AS feeling",
        "inner_feeling",
        "sad",
        RENAME_LABEL,
        r#""sad""#,
        r#""blue""#,
    ],
    [
        "range",
        "CREATE TYPE moods AS RANGE (subtype = mood)",
        "moods",
        "[sad,ok]",
        RENAME_LABEL,
        r#""[sad,ok]""#,
        r#""[blue,ok]""#,
    ],
    [
        "label_far_away",
        "CREATE TYPE person AS (moods mood[]); CREATE DOMAIN people AS person[]",
        "people",
        r#"{"({sad})"}"#,
        RENAME_LABEL,
        r#"[{"moods":["sad"]}]"#,
        r#"[{"moods":["blue"]}]"#,
    ],
    [
        "attribute",
        "CREATE TYPE address AS (street text, city text)",
        "address",
        "(a,b)",
        "ALTER TYPE address RENAME ATTRIBUTE city TO town",
        r#"{"street":"a","city":"b"}"#,
        r#"{"street":"a","town":"b"}"#,
    ],
    [
        "attribute_of_an_element",
        "CREATE TYPE address AS (city text); CREATE TYPE person AS (home address)",
        "person[]",
        r#"{"(\"(b)\")"}"#,
        "ALTER TYPE address ADD ATTRIBUTE zip int",
        r#"[{"home":{"city":"b"}}]"#,
        r#"[{"home":{"city":"b","zip":null}}]"#,
    ],
    [
        "row",
        "CREATE TABLE other (a int)",
        "other",
        "(1)",
        "ALTER TABLE other RENAME COLUMN a TO b",
        r#"{"a":1}"#,
        r#"{"b":1}"#,
    ],
];

async fn types_wherever_they_are_reached(feed: Feed) {
    for [name, types, column, value, change, before, after] in CASES {
        let setup = format!(
            "{MOOD} {types}; CREATE TABLE tasks (id int PRIMARY KEY, v {column});
            INSERT INTO tasks VALUES (1, '{value}')"
        );
        let name = database::name(&format!("type_{name}"), feed);
        let fixture = Fixture::over(&name, &setup, Table::new("tasks").all_columns(), feed).await;
        let mut client = fixture.client().await;
        // JSON objects are shown by their keys.
        let show = |value: &str| {
            format!("~1 v:{}", serde_json::from_str::<serde_json::Value>(value).unwrap())
        };
        sees(&mut client, &show(before)).await;
        fixture.psql(change);
        sees(&mut client, &show(after)).await;
    }
}

async fn types_that_are_renamed_or_moved_still_compare(feed: Feed) {
    let setup = format!(
        "{MOOD} CREATE SCHEMA one; CREATE TABLE tasks (id int PRIMARY KEY, v mood);
        INSERT INTO tasks VALUES (1, 'ok'), (2, 'sad')"
    );
    let name = database::name("type_moved", feed);
    let fixture = Fixture::over(&name, &setup, Table::new("tasks").all_columns(), feed).await;
    for change in [
        "ALTER TYPE mood RENAME TO feeling",
        "ALTER TYPE feeling SET SCHEMA one",
        "ALTER SCHEMA one RENAME TO two",
    ] {
        fixture.psql(change);
        let mut client = Client::connect(fixture.address).await;
        client.subscribe("tasks.where", json!(["v", "ok"])).await;
        sees(&mut client, r#"~1 v:"ok""#).await;
        fixture.psql("UPDATE tasks SET v = 'ok' WHERE id = 2");
        sees(&mut client, r#"~1 v:"ok"; ~2 v:"ok""#).await;
        fixture.psql("UPDATE tasks SET v = 'sad' WHERE id = 2");
        sees(&mut client, r#"~1 v:"ok""#).await;
    }
}

/// What one server cannot publish, another can: of another role, or with another key.
async fn triggers_stay_for_others_when_this_server_may_not_read(feed: Feed) {
    let name = database::name("tables_others", feed);
    let role = format!("{name}_reader");
    let replication = if feed == Feed::Wal { "REPLICATION" } else { "" };
    let setup = format!(
        "CREATE TABLE tasks (id int PRIMARY KEY, v text); INSERT INTO tasks VALUES (1, 'a');
        CREATE UNIQUE INDEX ON tasks (id);
        CREATE ROLE {role} LOGIN {replication}; GRANT SELECT ON tasks TO {role}"
    );
    let url = database::create_database(&name, &setup);
    let table = || Table::new("tasks").all_columns();
    let (address, other) = serve(builder(&url).table(table().key("id")).feed(feed)).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    let by_role = url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    let lesser = builder(&by_role).table(table()).feed(feed).without_install();
    let without_key = builder(&url).table(table()).feed(feed);
    let take = format!("REVOKE SELECT ON tasks FROM {role}");
    for (value, builder, change) in [
        ("b", lesser, take.as_str()),
        ("c", without_key, "ALTER TABLE tasks DROP CONSTRAINT tasks_pkey"),
    ] {
        let (address, db) = serve(builder).await;
        let mut refused = Client::connect(address).await;
        refused.subscribe("tasks", json!([])).await;
        let installed =
            "SELECT array_agg(oid ORDER BY oid) FROM pg_trigger WHERE tgname LIKE '0_ddp%'";
        let before = database::psql(&name, installed);
        database::psql(&name, change);
        refused.until("nosub", |client| !client.nosub.is_empty()).await;
        let error = refused.nosub.values().next().unwrap();
        assert_eq!(error["error"], "collection-unavailable", "{change}");
        for _ in 0..3 {
            db.check().await.unwrap();
            other.check().await.unwrap();
        }
        assert_eq!(database::psql(&name, installed), before, "{change}");
        database::psql(&name, &format!("UPDATE tasks SET v = '{value}'"));
        sees(&mut client, &format!(r#"~1 v:"{value}""#)).await;
        assert!(client.nosub.is_empty(), "{change}");
        db.close().await;
    }
}

ddp_tests::over_both_feeds!(
    triggers_stay_for_others_when_this_server_may_not_read,
    types_wherever_they_are_reached,
    types_that_are_renamed_or_moved_still_compare,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_and_memberships_that_change() {
    let name = "tables_policies_change";
    let setup = format!(
        "CREATE TABLE tasks (id int PRIMARY KEY); INSERT INTO tasks SELECT generate_series(1, 5);
        CREATE ROLE watcher LOGIN; CREATE ROLE club; CREATE ROLE members;
        GRANT CREATE ON DATABASE {name} TO watcher; ALTER TABLE tasks OWNER TO watcher;
        CREATE FUNCTION shown() RETURNS int LANGUAGE sql STABLE AS 'SELECT 4';
        ALTER TABLE tasks ENABLE ROW LEVEL SECURITY; ALTER TABLE tasks FORCE ROW LEVEL SECURITY;
        CREATE POLICY first ON tasks USING (id = 1); CREATE POLICY for_club ON tasks TO club USING (id = 3)"
    );
    let url = database::create_database(name, &setup);
    let url = url.replace("postgres://postgres@", "postgres://watcher@");
    let (address, _db) =
        serve(builder(&url).table(Table::new("tasks").all_columns().keys_only())).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    sees(&mut client, "~1 ").await;
    for (change, expected) in [
        ("ALTER POLICY first ON tasks USING (id = 2)", "~2 "),
        ("GRANT club TO members; GRANT members TO watcher", "~2 ; ~3 "),
        ("REVOKE club FROM members", "~2 "),
        ("CREATE POLICY second ON tasks USING (id = shown())", "~2 ; ~4 "),
        (
            "CREATE OR REPLACE FUNCTION shown() RETURNS int LANGUAGE sql STABLE AS 'SELECT 5'",
            "~2 ; ~5 ",
        ),
        ("DROP POLICY first ON tasks", "~5 "),
        ("ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY", "~1 ; ~2 ; ~3 ; ~4 ; ~5 "),
        ("ALTER TABLE tasks FORCE ROW LEVEL SECURITY", "~5 "),
    ] {
        database::psql(name, change);
        sees(&mut client, expected).await;
    }
}

/// What was granted for the whole table, to a role that the server's is a member of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privileges_that_are_taken_away() {
    let name = "tables_privileges";
    let setup =
        "CREATE TABLE tasks (id int PRIMARY KEY, v text); INSERT INTO tasks VALUES (1, 'a');
        CREATE ROLE reader LOGIN; CREATE ROLE readers; GRANT readers TO reader;
        GRANT SELECT ON tasks TO readers";
    let url = database::create_database(name, setup);
    builder(&url).table(Table::new("tasks").all_columns()).connect().await.unwrap().close().await;
    let url = url.replace("postgres://postgres@", "postgres://reader@");
    let (address, db) =
        serve(builder(&url).table(Table::new("tasks").all_columns()).without_install()).await;
    for (take, give) in [
        ("REVOKE SELECT ON tasks FROM readers", "GRANT SELECT ON tasks TO readers"),
        ("REVOKE readers FROM reader", "GRANT readers TO reader"),
        ("REVOKE USAGE ON SCHEMA public FROM PUBLIC", "GRANT USAGE ON SCHEMA public TO PUBLIC"),
        ("REVOKE SELECT ON tasks FROM readers", "GRANT SELECT (id, v) ON tasks TO readers"),
        ("REVOKE SELECT (v) ON tasks FROM readers", "GRANT SELECT (v) ON tasks TO readers"),
        ("REVOKE SELECT (id) ON tasks FROM readers", "GRANT SELECT (id) ON tasks TO readers"),
        // Nothing about the table changes: neither its privileges nor those of its columns.
        ("REVOKE readers FROM reader", "GRANT readers TO reader"),
    ] {
        let mut client = Client::connect(address).await;
        client.subscribe("tasks", json!([])).await;
        sees(&mut client, r#"~1 v:"a""#).await;
        database::psql(name, take);
        client.until(take, |client| !client.nosub.is_empty()).await;
        let error = client.nosub.values().next().unwrap();
        assert_eq!(error["error"], "collection-unavailable", "{take}");
        database::psql(name, give);
        db.check().await.unwrap();
    }
}
