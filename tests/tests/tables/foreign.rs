//! Collections that are given up: what was installed for them stops.

use ddp_postgres::{Feed, Table};
use ddp_tests::{Client, database};
use serde_json::json;

use super::{builder, sees, serve};

/// A table of a role that may not create event triggers, and a foreign table to be its child. None if
/// PostgreSQL came without what it takes.
fn create(name: &str, role: &str) -> Option<String> {
    let url = database::create_database(name, "");
    let known = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'";
    if database::psql(name, known).trim() == "0" {
        println!("postgres_fdw is not installed");
        return None;
    }
    let feed = if name.ends_with("wal") { "REPLICATION" } else { "" };
    let setup = format!(
        "CREATE ROLE {role} LOGIN {feed}; GRANT CREATE ON DATABASE {name} TO {role};
        CREATE TABLE tasks (id int PRIMARY KEY, title text); INSERT INTO tasks VALUES (1, 'a');
        ALTER TABLE tasks OWNER TO {role}; CREATE EXTENSION postgres_fdw;
        CREATE TABLE kept (id int, title text); INSERT INTO kept VALUES (2, 'cold');
        DO $$ BEGIN EXECUTE format('CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (host %L, port %L, dbname %L)', '127.0.0.1', current_setting('port'), current_database()); END $$;
        CREATE USER MAPPING FOR postgres SERVER far OPTIONS (user 'postgres');
        CREATE FOREIGN TABLE cold (id int NOT NULL, title text) SERVER far OPTIONS (table_name 'kept')"
    );
    database::psql(name, &setup);
    Some(url.replace("postgres://postgres@", &format!("postgres://{role}@")))
}

/// Whether PostgreSQL refuses an UPDATE because of our triggers.
fn is_refused(name: &str) -> bool {
    let sql = "DO $$ BEGIN UPDATE tasks SET title = 'b';
        EXCEPTION WHEN OTHERS THEN PERFORM set_config('test.refusal', SQLERRM, false);
        END $$; SELECT current_setting('test.refusal', true)";
    let refusal = database::psql(name, sql);
    assert!(refusal.trim().is_empty() || refusal.contains("transition tuples"), "{refusal}");
    !refusal.trim().is_empty()
}

fn triggers(name: &str) -> String {
    database::psql(name, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '0_ddp%'")
        .trim()
        .to_owned()
}

async fn a_foreign_child_takes_the_triggers_away(feed: Feed) {
    let name = database::name("tables_foreign_child", feed);
    let Some(url) = create(&name, &format!("{name}_role")) else { return };
    let (address, db) =
        serve(builder(&url).table(Table::new("tasks").all_columns()).feed(feed)).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    sees(&mut client, r#"~1 title:"a""#).await;
    database::psql(&name, "ALTER TABLE cold INHERIT tasks");
    client.until("nosub", |client| !client.nosub.is_empty()).await;
    let error = client.nosub.values().next().unwrap();
    assert_eq!(error["error"], "collection-unavailable");
    assert_eq!((triggers(&name).as_str(), is_refused(&name)), ("0", false));

    database::psql(&name, "ALTER TABLE cold NO INHERIT tasks");
    let mut client = Client::connect(address).await;
    loop {
        db.check().await.unwrap();
        let id = client.send_sub("tasks", json!([])).await;
        client.until("an answer", |c| c.ready.contains(&id) || c.nosub.contains_key(&id)).await;
        if client.ready.contains(&id) {
            break;
        }
    }
    database::psql(&name, "UPDATE tasks SET title = 'c'");
    sees(&mut client, r#"~1 title:"c""#).await;
    db.close().await;

    // While no server runs, nobody sees it come. The next one that starts takes the triggers away.
    database::psql(&name, "ALTER TABLE cold INHERIT tasks");
    assert!(is_refused(&name), "it is by these triggers that PostgreSQL refuses an UPDATE");
    let error = builder(&url)
        .table(Table::new("tasks").all_columns())
        .feed(feed)
        .connect()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("\"cold\", a part of table"), "{error}");
    assert_eq!((triggers(&name).as_str(), is_refused(&name)), ("0", false));
}

/// One role installs, a lesser one runs and sees the foreign child.
async fn a_role_that_may_not_drop_triggers_says_who_may(feed: Feed) {
    let name = database::name("tables_foreign_lesser", feed);
    let Some(url) = create(&name, &format!("{name}_role")) else { return };
    let tasks = || Table::new("tasks").all_columns();
    builder(&url).table(tasks()).feed(feed).connect().await.unwrap().close().await;
    let lesser = format!("{name}_lesser");
    let replication = if feed == Feed::Wal { "REPLICATION" } else { "" };
    database::psql(
        &name,
        &format!(
            "CREATE ROLE {lesser} LOGIN {replication}; GRANT SELECT ON tasks TO {lesser};
            ALTER TABLE cold INHERIT tasks"
        ),
    );
    let url = url.replace(&format!("{name}_role@"), &format!("{lesser}@"));
    let error = builder(&url).table(tasks()).feed(feed).without_install().connect().await;
    let error = error.unwrap_err().to_string();
    for words in ["0_ddp_… of table", "must be owner", "DROP SCHEMA ddp CASCADE"] {
        assert!(error.contains(words), "{error}");
    }
    assert!(is_refused(&name));
}

async fn a_table_that_is_renamed_loses_its_triggers(feed: Feed) {
    let name = database::name("tables_foreign_renamed", feed);
    let Some(url) = create(&name, &format!("{name}_role")) else { return };
    let (address, _db) =
        serve(builder(&url).table(Table::new("tasks").all_columns()).feed(feed)).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    sees(&mut client, r#"~1 title:"a""#).await;
    database::psql(&name, "ALTER TABLE tasks RENAME TO archive");
    sees(&mut client, "").await;
    assert_eq!(triggers(&name), "0");
    database::psql(&name, "UPDATE archive SET title = 'b'; ALTER TABLE archive RENAME TO tasks");
    sees(&mut client, r#"~1 title:"b""#).await;
    database::psql(&name, "UPDATE tasks SET title = 'c'");
    sees(&mut client, r#"~1 title:"c""#).await;
}

ddp_tests::over_both_feeds!(
    a_foreign_child_takes_the_triggers_away,
    a_role_that_may_not_drop_triggers_says_who_may,
    a_table_that_is_renamed_loses_its_triggers,
);
