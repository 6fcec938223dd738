//! Tables that get a foreign partition or child, which triggers with transition tables cannot have.

mod support;

use ddp_postgres::Table;
use ddp_postgres::testing::schema::{describe, install, install_sql, uninstall};
use support::{Database, cluster};

/// Foreign tables that are tables of the same database. False if PostgreSQL came without them.
async fn with_foreign_tables(database: &Database) -> bool {
    let known = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'";
    if database.client.query_one(known, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        println!("postgres_fdw is not installed");
        return false;
    }
    let (name, port) = (&database.name, cluster().port());
    database
        .run(&format!(
            "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
                OPTIONS (host '127.0.0.1', port '{port}', dbname '{name}');
            CREATE USER MAPPING FOR postgres SERVER far OPTIONS (user 'postgres');
            CREATE TABLE kept (id int, title text); INSERT INTO kept VALUES (12, 'kept')"
        ))
        .await;
    true
}

async fn triggers(database: &Database) -> i64 {
    let sql = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '0_ddp%'
        AND (tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL)";
    database.client.query_one(sql, &[]).await.unwrap().get(0)
}

const WRITES: &str = "INSERT INTO tasks VALUES (1, 'a'); UPDATE tasks SET title = 'b'; \
     UPDATE tasks SET title = 'c' WHERE id = 12; DELETE FROM tasks WHERE id = 1; TRUNCATE ONLY tasks";

#[tokio::test]
async fn the_statements_of_a_table_go_on_when_it_gets_a_foreign_part() {
    for (parts, command) in [
        ("", "CREATE FOREIGN TABLE far_tasks () INHERITS (tasks) SERVER far OPTIONS (table_name 'kept')"),
        ("far", "ALTER TABLE far_tasks INHERIT tasks"),
        ("far", "ALTER FOREIGN TABLE far_tasks INHERIT tasks"),
        (
            "far",
            "CREATE TABLE between (id int NOT NULL, title text); ALTER TABLE far_tasks INHERIT between;
            ALTER TABLE between INHERIT tasks",
        ),
        ("far", "SET session_replication_role = replica; ALTER TABLE far_tasks INHERIT tasks"),
    ] {
        let mut database = Database::new().await;
        if !with_foreign_tables(&database).await {
            return;
        }
        database.run("CREATE TABLE tasks (id int PRIMARY KEY, title text)").await;
        if parts == "far" {
            database
                .run("CREATE FOREIGN TABLE far_tasks (id int NOT NULL, title text) SERVER far
                    OPTIONS (table_name 'kept')")
                .await;
        }
        database.publish(&Table::new("tasks").all_columns()).await;
        assert_eq!(triggers(&database).await, 3);
        database.run(command).await;
        assert_eq!(triggers(&database).await, 0, "{command}");
        database.run(WRITES).await;
        database.run("DROP SCHEMA ddp CASCADE").await;
        database.run("CREATE FOREIGN TABLE unwatched () INHERITS (tasks) SERVER far").await;
    }
}

#[tokio::test]
async fn foreign_partitions_of_all_levels_take_the_triggers_away() {
    let mut database = Database::new().await;
    if !with_foreign_tables(&database).await {
        return;
    }
    database
        .run(
            "CREATE TABLE tasks (id int, title text) PARTITION BY RANGE (id);
            CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10);
            CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
            CREATE TABLE eleven PARTITION OF high FOR VALUES IN (11);
            CREATE UNIQUE INDEX ON low (id); ALTER TABLE low ALTER id SET NOT NULL;
            ALTER TABLE tasks ADD PRIMARY KEY (id);
            CREATE TABLE others (id int PRIMARY KEY, title text)",
        )
        .await;
    database.publish(&Table::new("tasks").all_columns()).await;
    database.publish(&Table::new("others").all_columns()).await;
    // A foreign table cannot have the primary key's index.
    database.run("ALTER TABLE tasks DROP CONSTRAINT tasks_pkey").await;
    assert_eq!(triggers(&database).await, 15);
    let foreign = "CREATE FOREIGN TABLE twelve PARTITION OF high FOR VALUES IN (12) SERVER far
        OPTIONS (table_name 'kept')";
    database.run(foreign).await;
    // Those of the partitions that have no foreign part cannot fail, nor those of another table.
    assert_eq!(triggers(&database).await, 9);
    let writes =
        "INSERT INTO tasks VALUES (1, 'a'), (11, 'b'), (12, 'c'); UPDATE tasks SET title = 'd';
        UPDATE high SET title = 'e'; DELETE FROM tasks; INSERT INTO low VALUES (2, 'f');
        INSERT INTO others VALUES (1, 'g'); UPDATE others SET title = 'h'";
    database.run(writes).await;
}

/// Its rows are not among those of the table that is published.
#[tokio::test]
async fn a_foreign_sibling_changes_nothing() {
    let mut database = Database::new().await;
    if !with_foreign_tables(&database).await {
        return;
    }
    database
        .run(
            "CREATE TABLE tasks (id int PRIMARY KEY, title text);
            CREATE TABLE urgent (PRIMARY KEY (id)) INHERITS (tasks); INSERT INTO urgent VALUES (1, 'a')",
        )
        .await;
    let layout = database.publish(&Table::new("urgent").all_columns()).await;
    let mut listener = database.listen(&[&layout]).await;
    let foreign =
        "CREATE FOREIGN TABLE far_tasks () INHERITS (tasks) SERVER far OPTIONS (table_name 'kept')";
    database.run(foreign).await;
    for (sql, expected) in [
        ("UPDATE tasks SET title = 'b'", "requery"),
        ("UPDATE urgent SET title = 'c'", r#"~1="c""#),
        ("DELETE FROM tasks", "requery"),
    ] {
        database.run(sql).await;
        assert_eq!(listener.net(&layout).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn what_looks_for_foreign_parts_is_installed_once_and_goes_with_the_rest() {
    let mut database = Database::new().await;
    database.run("CREATE TABLE tasks (id int PRIMARY KEY, title text)").await;
    let layout = database.publish(&Table::new("tasks").all_columns()).await;
    let state = "SELECT coalesce(string_agg(concat_ws(' ', e.evtname, e.evtenabled, e.xmin, p.xmin), ''), '')
        FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid";
    let state = async |database: &Database| {
        database.client.query_one(state, &[]).await.unwrap().get::<_, String>(0)
    };
    let before = state(&database).await;
    assert!(before.starts_with("ddp_foreign_parts A "), "{before}");
    database.publish(&Table::new("tasks").all_columns()).await;
    assert_eq!(state(&database).await, before, "nothing is done twice");
    for damage in
        ["ALTER EVENT TRIGGER ddp_foreign_parts DISABLE", "DROP EVENT TRIGGER ddp_foreign_parts"]
    {
        database.run(damage).await;
        database.publish(&Table::new("tasks").all_columns()).await;
        assert!(state(&database).await.starts_with("ddp_foreign_parts A "), "{damage}");
    }
    uninstall(&mut database.client, std::slice::from_ref(&layout)).await.unwrap();
    assert_eq!(state(&database).await, "");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'ddp'";
    assert_eq!(database.client.query_one(schemas, &[]).await.unwrap().get::<_, i64>(0), 0);

    // With psql, whose own commands are no SQL.
    let sql = install_sql(&database.client, std::slice::from_ref(&layout)).await.unwrap();
    database.run(&sql.replace("\\set ON_ERROR_STOP on", "")).await;
    assert!(state(&database).await.starts_with("ddp_foreign_parts A "));
}

/// A role that may not create event triggers installs all the rest.
#[tokio::test]
async fn without_the_right_to_create_event_triggers_nothing_fails() {
    let database = Database::new().await;
    let name = &database.name;
    database
        .run(&format!(
            "CREATE ROLE modest; GRANT CREATE ON DATABASE {name} TO modest;
            CREATE TABLE tasks (id int PRIMARY KEY); ALTER TABLE tasks OWNER TO modest"
        ))
        .await;
    let mut modest = database.connect().await;
    modest.batch_execute("SET ROLE modest").await.unwrap();
    let layout = describe(&modest, &Table::new("tasks").all_columns()).await.unwrap();
    let layouts = std::slice::from_ref(&layout);
    for _ in 0..2 {
        install(&mut modest, layouts).await.unwrap();
    }
    assert_eq!(triggers(&database).await, 3);
    uninstall(&mut modest, layouts).await.unwrap();
    let left =
        "SELECT count(*) FROM pg_proc WHERE proname LIKE 'tasks%' OR proname = 'foreign_parts'";
    assert_eq!(database.client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}
